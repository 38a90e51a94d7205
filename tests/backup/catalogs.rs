//! Catalogs and windows of real and synthetic sets: `tests/samples` holds them with their answers.

use std::{
    io::{Read, Write},
    path::Path,
    sync::Arc,
};

use farshore::{
    backup::{
        catalog::{Answers, BaseKind, Catalog, Format, Mark, Object},
        reader::{Depth, Reader},
        window::{Basis, Timeline, timeline},
    },
    store::{ListRequest, ObjectStore, Side, memory::MemoryStore},
};
use jiff::Timestamp;

pub fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// A bucket with a sample's objects; what the sample leaves out is as long as its listing says.
pub fn bucket(sample: &str) -> MemoryStore {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples").join(sample);
    let store = MemoryStore::new("backups");
    for line in std::fs::read_to_string(folder.join("listing.jsonl")).unwrap().lines() {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        let key = row["key"].as_str().unwrap();
        let body = std::fs::read(folder.join("objects").join(key))
            .or_else(|_| std::fs::read(folder.join(key)))
            .unwrap_or_else(|_| vec![0; usize::try_from(row["size"].as_u64().unwrap()).unwrap()]);
        store.seed(key, body, time(row["lastModified"].as_str().unwrap()));
    }
    store
}

fn drop_sidecars(store: &MemoryStore) {
    let sidecar = |key: &&String| [".info", ".checkpoints"].iter().any(|suffix| key.ends_with(suffix));
    store.keys().iter().filter(sidecar).for_each(|key| store.unseed(key));
}

pub async fn catalog_at(store: &MemoryStore, format: &Format, depth: Depth) -> Catalog {
    let mut adapter = format.adapter().unwrap();
    let mut token = None;
    loop {
        let page = store.list(&ListRequest { token, ..ListRequest::default() }).await.unwrap();
        page.objects.iter().for_each(|listed| adapter.see(&Object::listed(listed, "")));
        token = page.next;
        if token.is_none() {
            break;
        }
    }
    let reader = Reader { store: Arc::new(store.clone()), prefix: String::new(), side: Side::Source, depth };
    reader.scan(adapter.as_mut(), &mut Answers::default()).await.unwrap()
}

pub async fn catalog(store: &MemoryStore, format: &Format) -> Catalog {
    catalog_at(store, format, Depth::ALL).await
}

pub fn spans(timeline: &Timeline) -> Vec<(String, String)> {
    timeline.windows.iter().map(|window| (window.from.to_string(), window.to.to_string())).collect()
}

pub fn span(from: &str, to: &str) -> (String, String) {
    (from.to_owned(), to.to_owned())
}

#[tokio::test]
async fn b14_b06_mariadb_operator_with_sidecars() {
    let store = bucket("mariadb");
    let catalog = catalog(&store, &Format::MariaDBOperator).await;
    assert_eq!(catalog.warnings, []);
    assert_eq!(catalog.rewritten, ["binlogs/index.yaml"]);
    assert_eq!(catalog.unknown.objects, 0);
    let ids: Vec<(&str, BaseKind, Option<&str>, bool)> =
        catalog.bases.iter().map(|b| (b.id.as_str(), b.kind, b.parent.as_deref(), b.complete)).collect();
    assert_eq!(
        ids,
        [
            ("physicalbackup-20261121025531", BaseKind::Full, None, true),
            (
                "incremental-20261121025535",
                BaseKind::Incremental,
                Some("physicalbackup-20261121025531"),
                true
            ),
        ]
    );
    assert_eq!(catalog.segments.len(), 9);
    let timeline = timeline(&catalog);
    // EXPECTED.json says 02:55:43, the second in which the last binlog was closed. A transaction may
    // have been committed in that second, in the next binlog: a second less is what can be promised.
    assert_eq!(spans(&timeline), [span("2026-11-21T02:55:33Z", "2026-11-21T02:55:42Z")]);
    assert_eq!(timeline.gaps, []);
    let chain = timeline.chain_for(time("2026-11-21T02:55:39Z")).unwrap();
    assert_eq!(chain.bases.len(), 2);
    let logs: Vec<&str> = chain.logs.iter().map(|&at| catalog.segments[at].name.as_str()).collect();
    assert_eq!(logs, ["mysql-bin.000008", "mysql-bin.000009"]);
}

#[tokio::test]
async fn b14_b06_mariadb_operator_without_sidecars_reads_the_base_itself() {
    let store = bucket("mariadb");
    let with = catalog(&store, &Format::MariaDBOperator).await;
    drop_sidecars(&store);
    let without = catalog(&store, &Format::MariaDBOperator).await;
    assert_eq!(without.warnings, []);
    let essence = |catalog: &Catalog| -> Vec<_> {
        catalog
            .bases
            .iter()
            .map(|b| (b.id.clone(), b.parent.clone(), b.start, b.consistent_at, b.position.clone()))
            .collect()
    };
    assert_eq!(essence(&without), essence(&with));
    assert_eq!(spans(&timeline(&without)), spans(&timeline(&with)));
}

#[tokio::test]
async fn b06_mariadb_operator_by_time_alone_is_never_later_than_the_truth() {
    let store = bucket("mariadb");
    drop_sidecars(&store);
    let catalog = catalog_at(&store, &Format::MariaDBOperator, Depth::HEADS).await;
    // The full base counts from its upload; nothing tells the increment's parent. The last binlog was
    // not read to its end, so it vouches for nothing.
    assert_eq!(spans(&timeline(&catalog)), [span("2026-11-21T02:55:33Z", "2026-11-21T02:55:40Z")]);
    assert_eq!(catalog.warnings[0].reason, "NoParent");
}

#[tokio::test]
async fn b14_b06_walg_mysql() {
    let store = bucket("walg-mysql");
    let catalog = catalog(&store, &Format::WalGMySQL).await;
    assert_eq!(catalog.warnings, []);
    assert_eq!(catalog.rewritten, ["binlog_sentinel_005.json"]);
    assert_eq!(catalog.bases.len(), 3);
    let timeline = timeline(&catalog);
    // EXPECTED.json: closed at 02:54:25; a second less can be promised.
    assert_eq!(spans(&timeline), [span("2026-11-21T02:51:19Z", "2026-11-21T02:54:24Z")]);
    let chain = timeline.chain_for(time("2026-11-21T02:51:28Z")).unwrap();
    let logs: Vec<&str> = chain.logs.iter().map(|&at| catalog.segments[at].name.as_str()).collect();
    // The true position is mysql-bin.000002:385; the sentinel does not say, the time does.
    assert_eq!(logs[0], "mysql-bin.000002");
}

#[tokio::test]
async fn b16_walg_mysql_without_one_binlog_has_two_windows_and_names_it() {
    let store = bucket("walg-mysql");
    store.unseed("binlog_005/mysql-bin.000003.zst");
    let timeline = timeline(&catalog(&store, &Format::WalGMySQL).await);
    assert_eq!(
        spans(&timeline),
        [
            span("2026-11-21T02:51:19Z", "2026-11-21T02:51:22Z"),
            span("2026-11-21T02:54:21Z", "2026-11-21T02:54:24Z")
        ]
    );
    assert_eq!(timeline.gaps.len(), 1);
    assert_eq!(timeline.gaps[0].missing, "mysql-bin.000003");
    assert_eq!(timeline.gaps[0].before, Some(time("2026-11-21T02:54:21Z")));
}

#[tokio::test]
async fn b16_a_corrupt_sentinel_is_left_out_and_named() {
    let store = bucket("walg-mysql");
    let key = "basebackups_005/stream_20261121T025118Z_backup_stop_sentinel.json";
    store.seed(key, "{\"Tool\":", time("2026-11-21T02:51:19Z"));
    let catalog = catalog(&store, &Format::WalGMySQL).await;
    assert_eq!(catalog.bases.len(), 2);
    assert_eq!(catalog.warnings[0].reason, "CorruptMetadata");
    assert!(catalog.warnings[0].message.contains(key), "{:?}", catalog.warnings);
    assert_eq!(spans(&timeline(&catalog)), [span("2026-11-21T02:54:21Z", "2026-11-21T02:54:24Z")]);
}

#[tokio::test]
async fn b16_a_backup_without_sentinel_or_without_data_is_no_base() {
    let store = bucket("walg-mysql");
    store.unseed("basebackups_005/stream_20261121T025118Z_backup_stop_sentinel.json");
    store.unseed("basebackups_005/stream_20261121T025418Z/stream.zst");
    let catalog = catalog(&store, &Format::WalGMySQL).await;
    let reasons: Vec<&str> = catalog.warnings.iter().map(|warning| warning.reason).collect();
    assert_eq!(reasons, ["BackupIncomplete", "BackupWithoutData"]);
    assert_eq!(spans(&timeline(&catalog)), [span("2026-11-21T02:54:24Z", "2026-11-21T02:54:24Z")]);
}

#[tokio::test]
async fn b06_a_damaged_binlog_is_left_out_and_named() {
    let store = bucket("mariadb");
    let key = "binlogs/server-101/mysql-bin.000008.gz";
    let whole = store.bytes(key).unwrap();
    store.seed(key, whole.slice(..whole.len() / 2), time("2026-11-21T02:55:43Z"));
    let catalog = catalog(&store, &Format::MariaDBOperator).await;
    let timeline = timeline(&catalog);
    // Cut off in the middle: what follows does not go on from it.
    assert!(timeline.latest.unwrap() < time("2026-11-21T02:55:42Z"), "{:?}", timeline.windows);
    assert_eq!(timeline.gaps.len(), 1);
}

#[tokio::test]
async fn b14_b06_pbm() {
    let store = bucket("pbm");
    let catalog = catalog(&store, &Format::PerconaMongoDB).await;
    assert_eq!(catalog.warnings, []);
    assert_eq!(catalog.rewritten, [".pbm.init"]);
    let timeline = timeline(&catalog);
    // EXPECTED.txt: the fifth slice ends at 00:44:30. Another entry of that second may be in the next one.
    assert_eq!(spans(&timeline), [span("2026-11-20T00:04:30Z", "2026-11-20T00:44:29Z")]);
    assert_eq!(timeline.latest, Some(time("2026-11-20T00:44:29Z")));
    assert_eq!(timeline.gaps.len(), 1, "the sixth slice is stranded");
    assert_eq!(timeline.gaps[0].before, None);
    assert_eq!(timeline.gaps[0].missing, "oplog of rs0 from 2026-11-20T00:44:30Z to 2026-11-20T00:54:30Z");
}

#[tokio::test]
async fn b14_b06_pbm_of_a_sharded_cluster_reaches_as_far_as_its_slowest_shard() {
    let store = bucket("pbm");
    let key = "2026-11-20T00:00:00Z.pbm.json";
    let mut metadata: serde_json::Value = serde_json::from_slice(&store.bytes(key).unwrap()).unwrap();
    let mut other = metadata["replsets"][0].clone();
    other["name"] = "rs1".into();
    metadata["replsets"].as_array_mut().unwrap().push(other);
    let at = time("2026-11-20T00:04:33Z");
    store.seed(key, metadata.to_string(), at);
    store.seed("2026-11-20T00:00:00Z/rs1/metadata.json.s2", "x", at);
    let slice = "pbmPitr/rs1/20261120/20261120000400-1.20261120002000-1.oplog.s2";
    store.seed(slice, "x", at);
    let sharded = catalog(&store, &Format::PerconaMongoDB).await;
    assert_eq!(spans(&timeline(&sharded)), [span("2026-11-20T00:04:30Z", "2026-11-20T00:19:59Z")]);
    // Without any slice of one shard, the base alone is left.
    store.unseed(slice);
    let alone = catalog(&store, &Format::PerconaMongoDB).await;
    assert_eq!(spans(&timeline(&alone)), [span("2026-11-20T00:04:30Z", "2026-11-20T00:04:30Z")]);
}

#[tokio::test]
async fn b14_pbm_chains_physical_increments_and_leaves_partial_backups_out() {
    let store = bucket("pbm");
    let at = time("2026-11-20T01:00:00Z");
    let whole: serde_json::Value =
        serde_json::from_slice(&store.bytes("2026-11-20T00:00:00Z.pbm.json").unwrap()).unwrap();
    let put = |name: &str, change: &dyn Fn(&mut serde_json::Value)| {
        let mut metadata = whole.clone();
        metadata["name"] = name.into();
        change(&mut metadata);
        store.seed(&format!("{name}.pbm.json"), metadata.to_string(), at);
        store.seed(&format!("{name}/rs0/filelist.pbm"), "x", at);
    };
    put("2026-11-20T00:10:00Z", &|m| {
        m["type"] = "incremental".into();
        m["src_backup"] = "".into();
        m["last_write_ts"]["T"] = 1_795_133_430.into();
    });
    put("2026-11-20T00:20:00Z", &|m| {
        m["type"] = "incremental".into();
        m["src_backup"] = "2026-11-20T00:10:00Z".into();
        m["last_write_ts"]["T"] = 1_795_134_030.into();
    });
    put("2026-11-20T00:30:00Z", &|m| m["nss"] = serde_json::json!(["shop.orders"]));
    put("2026-11-20T00:31:00Z", &|m| m["type"] = "external".into());
    put("2026-11-20T00:32:00Z", &|m| m["status"] = "error".into());
    let catalog = catalog(&store, &Format::PerconaMongoDB).await;
    assert_eq!(catalog.bases.len(), 3);
    let reasons: Vec<&str> = catalog.warnings.iter().map(|warning| warning.reason).collect();
    assert_eq!(reasons, ["PartialBackup", "PartialBackup", "BackupIncomplete"]);
    let timeline = timeline(&catalog);
    let chain = timeline.chain_for(time("2026-11-20T00:30:00Z")).unwrap();
    let ids: Vec<&str> = chain.bases.iter().map(|&at| catalog.bases[at].id.as_str()).collect();
    assert_eq!(ids, ["2026-11-20T00:10:00Z", "2026-11-20T00:20:00Z"]);
}

#[tokio::test]
async fn b14_files_of_any_tool_are_an_estimate() {
    let store = bucket("sqlserver");
    let format =
        Format::Files { full: r".*/FULL/.*\.bak".into(), incremental: Some(r".*/(LOG|DIFF)/.*".into()) };
    let catalog = catalog(&store, &format).await;
    assert_eq!(catalog.basis, Basis::Estimated);
    assert_eq!((catalog.bases.len(), catalog.segments.len()), (1, 10));
    assert_eq!(spans(&timeline(&catalog)), [span("2026-11-19T01:00:00Z", "2026-11-20T03:50:00Z")]);
    for pattern in ["(", ")|("] {
        assert!(Format::Files { full: pattern.into(), incremental: None }.adapter().is_err(), "{pattern}");
    }
}

#[tokio::test]
async fn b06_numbers_grow_past_six_digits() {
    let sample = bucket("mariadb");
    let store = MemoryStore::new("backups");
    for (from, to) in [("000008", "999999"), ("000009", "1000000")] {
        let body = sample.bytes(&format!("binlogs/server-101/mysql-bin.{from}.gz")).unwrap();
        store.seed(&format!("server-101/mysql-bin.{to}.gz"), body, time("2026-11-21T02:55:43Z"));
    }
    let catalog = catalog(&store, &Format::MariaDBOperator).await;
    let numbers: Vec<u64> = catalog.segments.iter().map(|segment| segment.number).collect();
    assert_eq!(numbers, [999_999, 1_000_000]);
}

#[tokio::test]
async fn b06_binlogs_read_as_the_reference_scanner_read_them() {
    let store = bucket("mariadb");
    let catalog = catalog(&store, &Format::MariaDBOperator).await;
    let scan = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples/mariadb/scan.jsonl");
    let rows = std::fs::read_to_string(scan).unwrap();
    assert_eq!(rows.lines().count(), catalog.segments.len());
    for (line, segment) in rows.lines().zip(&catalog.segments) {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(row["file"], segment.name.as_str());
        assert_eq!(time(row["first_ts"].as_str().unwrap()), segment.from);
        let closed = time(row["last_ts"].as_str().unwrap());
        assert_eq!(closed - jiff::SignedDuration::from_secs(1), segment.to);
        let Mark::Gtids(end) = &segment.end else { panic!("{segment:?}") };
        assert_eq!(row["last_gtid"], end.to_string());
        let Mark::Gtids(start) = &segment.start else { panic!("{segment:?}") };
        let before: Vec<&str> =
            row["prev"].as_array().unwrap().iter().map(|gtid| gtid.as_str().unwrap()).collect();
        assert_eq!(before.join(","), start.to_string());
    }
}

#[tokio::test]
async fn b14_binlogs_read_the_same_however_they_are_packed() {
    let sample = bucket("mariadb");
    let expected = timeline(&catalog(&sample, &Format::MariaDBOperator).await);
    for packing in ["", ".bz2", ".zst", ".lz4"] {
        let store = bucket("mariadb");
        for key in sample.keys().iter().filter(|key| key.contains("/server-101/")) {
            let body = sample.bytes(key).unwrap();
            let mut plain = Vec::new();
            flate2::read::GzDecoder::new(&body[..]).read_to_end(&mut plain).unwrap();
            store.unseed(key);
            store.seed(&key.replace(".gz", packing), pack(packing, &plain), time("2026-11-21T02:55:43Z"));
        }
        let catalog = catalog(&store, &Format::MariaDBOperator).await;
        assert_eq!(catalog.warnings, [], "{packing}");
        assert_eq!(timeline(&catalog).windows, expected.windows, "{packing}");
    }
}

fn pack(packing: &str, plain: &[u8]) -> Vec<u8> {
    match packing {
        ".bz2" => {
            let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
            encoder.write_all(plain).unwrap();
            encoder.finish().unwrap()
        }
        ".zst" => zstd::encode_all(plain, 3).unwrap(),
        ".lz4" => {
            let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
            encoder.write_all(plain).unwrap();
            encoder.finish().unwrap()
        }
        _ => plain.to_vec(),
    }
}

/// A binlog as `MySQL` writes it: GTIDs of the servers before it in its head, one transaction.
pub fn mysql_binlog(previous: (u64, u64), number: u64, time: u32) -> Vec<u8> {
    let mut file = b"\xfebin".to_vec();
    let mut event = |kind: u8, body: &[u8]| {
        file.extend(time.to_le_bytes());
        file.push(kind);
        file.extend(1u32.to_le_bytes());
        file.extend(u32::try_from(19 + body.len()).unwrap().to_le_bytes());
        file.extend([0; 6]);
        file.extend(body);
    };
    event(15, &[b'8'; 100]);
    let mut sets = 1u64.to_le_bytes().to_vec();
    sets.extend([0xab; 16]);
    sets.extend(1u64.to_le_bytes());
    sets.extend(previous.0.to_le_bytes());
    sets.extend(previous.1.to_le_bytes());
    event(35, &sets);
    let mut gtid = vec![0];
    gtid.extend([0xab; 16]);
    gtid.extend(number.to_le_bytes());
    gtid.extend([0; 20]);
    event(33, &gtid);
    event(4, b"\0\0\0\0\0\0\0\0next");
    file
}

#[tokio::test]
async fn b02_binlogs_of_mysql_chain_by_their_gtid_sets() {
    let store = MemoryStore::new("backups");
    let at = time("2026-11-21T03:00:00Z");
    for (number, (previous, gtid)) in [((1, 5), 5), ((1, 6), 6), ((1, 9), 9)].into_iter().enumerate() {
        let second = 1_795_229_000 + u32::try_from(number).unwrap() * 60;
        let key = format!("binlog_005/binlog.{:06}", number + 1);
        store.seed(&key, mysql_binlog(previous, gtid, second), at);
    }
    let catalog = catalog(&store, &Format::WalGMySQL).await;
    let ends: Vec<String> = catalog
        .segments
        .iter()
        .map(|segment| match &segment.end {
            Mark::Gtids(gtids) => gtids.to_string(),
            other => panic!("{other:?}"),
        })
        .collect();
    let uuid = "abababab-abab-abab-abab-abababababab";
    assert_eq!(ends, [format!("{uuid}:1-5"), format!("{uuid}:1-6"), format!("{uuid}:1-9")]);
}
