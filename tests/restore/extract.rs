//! Bases fetched and unpacked, without a database: memory, and what is left behind.

use std::{path::Path, process::Command, sync::Arc};

use bytes::{Bytes, BytesMut};
use farshore::{
    backup::catalog::Format,
    restore::{self, Error, Origin, Plan, Reporter},
    store::{ObjectStore, PutOptions, memory::MemoryStore, s3::S3Store},
};

use crate::{alone, real};

const PREFIX: &str = "orders/";
const BASE: &str = "orders/physicalbackup-20261121025531.xb";
const INFO: &str = "start_time = 2026-11-21 02:55:31\nend_time = 2026-11-21 02:55:33\nbinlog_pos = filename 'mysql-bin.000008', position '385', GTID of the last change '0-101-13'\n";
const CHECKPOINTS: &str = "backup_type = full-backuped\nfrom_lsn = 0\nto_lsn = 44404\n";
/// As its tool writes them.
const CHUNK: usize = 10 << 20;

fn sum(data: &[u8]) -> u32 {
    u32::try_from(crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32IsoHdlc, data)).unwrap()
}

fn head(kind: u8, path: &str) -> BytesMut {
    let mut head = BytesMut::from(b"XBSTCK01\0".as_slice());
    head.extend([kind]);
    head.extend(u32::try_from(path.len()).unwrap().to_le_bytes());
    head.extend(path.bytes());
    head
}

fn chunk(path: &str, (data, sum): (&[u8], u32), offset: usize) -> Bytes {
    let mut chunk = head(b'P', path);
    chunk.extend((data.len() as u64).to_le_bytes());
    chunk.extend((offset as u64).to_le_bytes());
    chunk.extend(sum.to_le_bytes());
    chunk.extend(data);
    chunk.freeze()
}

/// The chunks of a base with one file of so many chunks.
fn stream(chunks: usize) -> impl Iterator<Item = Bytes> {
    let mut noise = vec![0; CHUNK];
    fastrand::Rng::with_seed(1).fill(&mut noise);
    let sum_of_noise = sum(&noise);
    let large = (0..chunks).map(move |at| chunk("shop/orders.ibd", (&noise, sum_of_noise), at * CHUNK));
    let small = CHECKPOINTS.as_bytes();
    large.chain([
        head(b'E', "shop/orders.ibd").freeze(),
        chunk("xtrabackup_checkpoints", (small, sum(small)), 0),
        head(b'E', "xtrabackup_checkpoints").freeze(),
    ])
}

async fn put_sidecars(store: &dyn ObjectStore) {
    for (suffix, text) in [("info", INFO), ("checkpoints", CHECKPOINTS)] {
        let key = BASE.replace(".xb", &format!(".{suffix}"));
        store.put(&key, Bytes::from_static(text.as_bytes()), &PutOptions::default()).await.unwrap();
    }
}

async fn planned(store: &Arc<dyn ObjectStore>) -> (Plan, Origin) {
    let (_, mut plan) = restore::look(store, PREFIX, &Format::MariaDBOperator, None).await.unwrap();
    restore::locate(store, PREFIX, &mut plan).await.unwrap();
    let reporter = Reporter::new(plan.bytes);
    (plan, Origin { store: Arc::clone(store), prefix: PREFIX.to_owned(), reporter })
}

/// More than is allowed in memory.
const CHUNKS: usize = 14;
const LARGE: &str = "extract::b08_a_large_base_is_unpacked_in_at_most_128_mib";

/// What the child process does. Answers its peak memory.
async fn unpack_in_child(bucket: &str, folder: &str) -> u64 {
    let store = S3Store::new(real::config(&real::endpoint("FARSHORE_TEST_MINIO_A"), bucket)).unwrap();
    let (plan, origin) = planned(&(Arc::new(store) as Arc<dyn ObjectStore>)).await;
    restore::extract(&plan, &origin, &Format::MariaDBOperator, Path::new(folder)).await.unwrap();
    alone::peak_rss()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b08_a_large_base_is_unpacked_in_at_most_128_mib() {
    if let (Ok(bucket), Ok(folder)) = (std::env::var("EXTRACT_FROM"), std::env::var("EXTRACT_TO")) {
        println!("rss={} KiB", unpack_in_child(&bucket, &folder).await);
        return;
    }
    let store = real::minio_a().await;
    let size = stream(CHUNKS).map(|chunk| chunk.len() as u64).sum();
    let body = Box::pin(futures::stream::iter(stream(CHUNKS).map(Ok)));
    store.put_stream(BASE, size, body, &PutOptions::default()).await.unwrap();
    put_sidecars(&store).await;
    let folder = tempfile::tempdir().unwrap();
    // Its peak memory is nobody else's.
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", LARGE, "--nocapture"])
        .env("EXTRACT_FROM", store.bucket())
        .env("EXTRACT_TO", folder.path())
        .output();
    let child = child.unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success(), "{said}{}", String::from_utf8_lossy(&child.stderr));
    let rss = said.split("rss=").nth(1).unwrap().split(' ').next().unwrap();
    println!("{rss} KiB");
    assert!(rss.parse::<u64>().unwrap() <= 128 << 10, "{rss} KiB");
    let unpacked = std::fs::read(folder.path().join("full/shop/orders.ibd")).unwrap();
    assert_eq!(unpacked.len(), CHUNKS * CHUNK);
    assert!(unpacked.chunks(CHUNK).all(|chunk| *chunk == unpacked[..CHUNK]));
    store.delete(BASE, None).await.unwrap();
}

/// A small one, whose body a test changes.
async fn small() -> (MemoryStore, Vec<u8>) {
    let store = MemoryStore::new("backups");
    put_sidecars(&store).await;
    let body = stream(1).collect::<Vec<_>>().concat();
    store.put(BASE, Bytes::from(body.clone()), &PutOptions::default()).await.unwrap();
    (store, body)
}

async fn fails(plan: &Plan, origin: &Origin, into: &Path) -> String {
    let failed = restore::extract(plan, origin, &Format::MariaDBOperator, into).await.unwrap_err();
    assert!(matches!(failed, Error::Damaged { .. }), "{failed}");
    assert_eq!(std::fs::read_dir(into).unwrap().count(), 0, "nothing half done is left");
    failed.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn b08_an_object_replaced_under_its_name_is_noticed_before_any_of_it_is_used() {
    let (memory, body) = small().await;
    let store: Arc<dyn ObjectStore> = Arc::new(memory.clone());
    let (plan, origin) = planned(&store).await;
    // As large as the other one, and whole: only its tag tells.
    let mut other = body.clone();
    let at = other.windows(4).position(|four| four == b"4440").unwrap();
    other[at] = b'5';
    memory.put(BASE, Bytes::from(other), &PutOptions::default()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let said = fails(&plan, &origin, folder.path()).await;
    assert!(said.contains(BASE) && said.contains("replaced"), "{said}");
    // The same again, planned anew.
    memory.put(BASE, Bytes::from(body), &PutOptions::default()).await.unwrap();
    let (plan, origin) = planned(&store).await;
    restore::extract(&plan, &origin, &Format::MariaDBOperator, folder.path()).await.unwrap();
    let again = restore::extract(&plan, &origin, &Format::MariaDBOperator, folder.path()).await.unwrap_err();
    assert!(again.to_string().contains("is not empty"), "{again}");
    assert!(folder.path().join("full/shop/orders.ibd").exists(), "what was there stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn b08_a_base_that_was_cut_off_is_named_and_leaves_nothing() {
    let (memory, body) = small().await;
    let store: Arc<dyn ObjectStore> = Arc::new(memory.clone());
    for (length, says) in [
        // Within a chunk, between two chunks of a file, and between two files.
        (body.len() / 2, "ends within"),
        (stream(1).next().unwrap().len(), "ends within"),
        (stream(1).take(2).map(|chunk| chunk.len()).sum(), "not whole"),
    ] {
        memory.put(BASE, Bytes::from(body[..length].to_vec()), &PutOptions::default()).await.unwrap();
        let (plan, origin) = planned(&store).await;
        let folder = tempfile::tempdir().unwrap();
        let said = fails(&plan, &origin, folder.path()).await;
        assert!(said.contains("physicalbackup-20261121025531") && said.contains(says), "{length}: {said}");
    }
    // Cut off since it was planned: its tag is another one, too.
    memory.put(BASE, Bytes::from(body.clone()), &PutOptions::default()).await.unwrap();
    let (mut plan, origin) = planned(&store).await;
    memory.unseed(BASE);
    let folder = tempfile::tempdir().unwrap();
    let said = fails(&plan, &origin, folder.path()).await;
    assert!(said.contains(BASE) && said.contains("not there any more"), "{said}");
    let gone = restore::locate(&store, PREFIX, &mut plan).await.unwrap_err();
    assert!(gone.to_string().contains("physicalbackup-20261121025531.xb"), "{gone}");
}
