//! MySQL 9.7 with dumps and binlogs in WAL-G's layout, every moment restored; MySQL without GTIDs, and MariaDB, by
//! dump.

use std::time::Duration;

use bytes::Bytes;
use farshore::{
    restore::Error,
    store::{GetOptions, ListRequest, PutOptions},
};

use crate::{
    moments,
    mysql_source::{Backups, Kind, PREFIX, Source},
    set::Set,
};

#[tokio::test(flavor = "multi_thread")]
async fn b08_mysql_by_dump_holds_exactly_the_rows_of_its_moment() {
    let folder = tempfile::tempdir().unwrap();
    let mut source = Source::start((Kind::MySql { gtids: true }, Backups::Dumps), folder.path());
    source.live((2, &[9])).await;
    let journal = source.journal();
    assert!(source.logs().len() > 20, "{:?}", source.logs());
    let set = source.gone();
    let window = moments::window(&set.store, PREFIX, &set.format).await;
    let mut bases = Vec::new();
    for at in moments::of(window, 2) {
        let (rows, plan, reached) = set.restored(at).await;
        let moment = at.unwrap_or(window.1);
        assert_eq!(rows, moments::rows_at(&journal, moment), "{moment}, from {:?}", plan.bases.last());
        assert_eq!((reached.time_point, plan.time_point), (moment, moment));
        assert!(reached.last_commit.is_none_or(|time| time <= moment), "{reached:?}");
        bases.push(plan.bases[0].id.clone());
    }
    println!("{} moments of {} to {}", bases.len(), window.0, window.1);
    assert_ne!(bases[0], bases[1], "the second dump is begun with where it can be");
    moments::refused_outside(&set.store, PREFIX, &set.format, window).await;
}

/// A source that counts nothing writes another kind of log; MariaDB's dumps have other words.
async fn by_dump(kind: Kind) -> Set {
    let folder = tempfile::tempdir().unwrap();
    let mut source = Source::start((kind, Backups::Dumps), folder.path());
    source.write(3);
    source.rotate().await;
    source.write(2);
    source.back_up().await;
    source.write(2);
    source.rotate().await;
    source.write(2);
    // What is committed in the second of a rotation is promised with the next log only.
    std::thread::sleep(Duration::from_millis(2100));
    source.rotate().await;
    let set = source.gone();
    let (rows, _, _) = set.restored(None).await;
    assert_eq!(rows, (1..=9).collect::<Vec<_>>());
    set
}

#[tokio::test(flavor = "multi_thread")]
async fn b08_mysql_without_gtids_is_restored() {
    let set = by_dump(Kind::MySql { gtids: false }).await;
    let store = &set.store;
    // A dump that was cut off as it was taken is told, though it is packed whole.
    let page =
        store.list(&ListRequest { prefix: PREFIX.to_owned(), ..ListRequest::default() }).await.unwrap();
    let dump = page.objects.iter().find(|object| object.key.ends_with("stream.zst")).unwrap();
    let body = store.get(&dump.key, &GetOptions::default()).await.unwrap().body;
    let packed: Vec<Bytes> = futures::TryStreamExt::try_collect(body).await.unwrap();
    let text = zstd::decode_all(packed.concat().as_slice()).unwrap();
    // As large as its sentinel says.
    let mut cut = zstd::encode_all(&text[..text.len() / 2], 1).unwrap();
    let empty_frame =
        [b"\x50\x2a\x4d\x18".as_slice(), &u32::to_le_bytes(1 << 20), &vec![0; 1 << 20]].concat();
    cut.extend(empty_frame);
    store.put(&dump.key, Bytes::from(cut), &PutOptions::default()).await.unwrap();
    let plan = set.plan(None).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let failed = set.carry_out(&plan, folder.path()).await.unwrap_err();
    assert!(matches!(failed.error, Error::Damaged { .. } | Error::Tool { .. }), "{failed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn b08_mariadb_is_restored_from_a_dump() {
    by_dump(Kind::MariaDb).await;
}
