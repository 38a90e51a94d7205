//! Catalogs of the layout of Percona `XtraDB` Cluster's operator. Synthetic, after the operator's source.

use farshore::{
    backup::{
        catalog::{Format, Part, Role},
        window::timeline,
    },
    store::memory::MemoryStore,
};

use crate::catalogs::{catalog, mysql_binlog, span, spans, time};

const BASE: &str = "shop-2026-11-21-02:43:00-full";
/// 2026-11-21T02:43:20Z
const START: u32 = 1_795_229_000;

/// A chunk of an xbstream, as xbcloud makes an object of it.
fn chunk(path: &str, body: &[u8]) -> Vec<u8> {
    let mut chunk = b"XBSTCK01\0P".to_vec();
    chunk.extend(u32::try_from(path.len()).unwrap().to_le_bytes());
    chunk.extend(path.as_bytes());
    chunk.extend((body.len() as u64).to_le_bytes());
    chunk.extend(0u64.to_le_bytes());
    chunk.extend(0u32.to_le_bytes());
    chunk.extend(body);
    chunk
}

fn key_of(second: u32) -> String {
    format!("binlog_{}_5f4dcc3b5aa765d61d8327deb882cf99", START + second)
}

fn seed_log(store: &MemoryStore, second: u32, previous: (u64, u64), gtid: u64) {
    let at = time("2026-11-21T03:00:00Z");
    store.seed(&key_of(second), mysql_binlog(previous, gtid, START + second), at);
    let set = format!("abababab-abab-abab-abab-abababababab:{gtid}");
    store.seed(&format!("{}-gtid-set", key_of(second)), set, at);
}

/// A base with transactions 1 to 4, and three logs with 5, 6 and 7: numbers of files tell nothing.
fn set() -> MemoryStore {
    let store = MemoryStore::new("backups");
    let at = time("2026-11-21T02:43:10Z");
    let info = "uuid = x\nbinlog_pos = filename 'binlog.000003', position '157', GTID of the last change \
                'abababab-abab-abab-abab-abababababab:1-4,\ncdcdcdcd-cdcd-cdcd-cdcd-cdcdcdcdcdcd:1'\n";
    for (name, body) in [("ibdata1", "data"), ("xtrabackup_info", info)] {
        let key = format!("{BASE}/{name}.00000000000000000000");
        store.seed(&key, chunk(name, body.as_bytes()), at);
    }
    store.seed(&format!("{BASE}.md5"), "x", at);
    store.seed(&format!("{BASE}.sst_info/sst_info.00000000000000000000"), "x", at);
    for (second, gtid) in [(0, 5), (60, 6), (120, 7)] {
        // The third was taken from another server, which had applied the sixth already.
        seed_log(&store, second, (1, gtid), gtid);
    }
    store.seed("last-binlog-set-abababab", "x", at);
    store.seed("gtid-binlog-cache.json", "{}", at);
    store
}

#[tokio::test]
async fn b14_b06_pxc_chains_by_gtid_sets_alone() {
    let store = set();
    let found = catalog(&store, &Format::PerconaXtraDB).await;
    assert_eq!(found.warnings, []);
    assert_eq!(found.unknown.objects, 0, "{:?}", found.unknown);
    assert_eq!(found.rewritten, ["gtid-binlog-cache.json", "last-binlog-set-abababab"]);
    let line = timeline(&found);
    // The last one was closed at 02:45:20: a second less is what can be promised.
    assert_eq!(spans(&line), [span("2026-11-21T02:43:10Z", "2026-11-21T02:45:19Z")]);
    assert_eq!(line.gaps, []);
    let chain = &line.chains[0];
    assert_eq!(chain.logs.len(), 6, "three binlogs, and their GTIDs beside them");
}

#[tokio::test]
async fn b16_pxc_without_one_binlog_ends_there_however_names_go_on() {
    let store = set();
    store.unseed(&key_of(60));
    let line = timeline(&catalog(&store, &Format::PerconaXtraDB).await);
    assert_eq!(line.latest, Some(time("2026-11-21T02:43:19Z")));
    assert_eq!(line.gaps.len(), 1);
    // The same transactions, uploaded again as part of a larger one.
    let at = time("2026-11-21T03:00:00Z");
    store.seed(&format!("binlog_{}_again", START + 61), mysql_binlog((1, 6), 6, START + 61), at);
    let line = timeline(&catalog(&store, &Format::PerconaXtraDB).await);
    assert_eq!(line.latest, Some(time("2026-11-21T02:45:19Z")));
}

#[tokio::test]
async fn b06_a_pxc_base_counts_once_its_info_is_there_which_is_copied_last() {
    let store = set();
    let info = format!("{BASE}/xtrabackup_info.00000000000000000000");
    let adapter = Format::PerconaXtraDB.adapter().unwrap();
    assert_eq!(adapter.role(&info), Role::Base { id: BASE.to_owned(), part: Part::Commit });
    let found = catalog(&store, &Format::PerconaXtraDB).await;
    assert_eq!(found.bases[0].keys.commit.as_ref(), Some(&info));
    store.unseed(&info);
    let found = catalog(&store, &Format::PerconaXtraDB).await;
    assert_eq!(found.warnings[0].reason, "BackupIncomplete");
    assert_eq!(timeline(&found).windows, []);
}
