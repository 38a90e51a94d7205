//! What an object costs us in CPU: a measurement, run by hand.
//!
//! `cargo test --release --test store cost -- --ignored --nocapture`, with `.dev/stores.env` sourced.

use std::sync::Arc;

use farshore::{
    replicate::{Copier, CopyRequest},
    store::{ListRequest, ObjectStore, PutOptions},
};
use futures::{StreamExt, stream};

use crate::{
    alone::peak_rss,
    stores,
    suite::{keys, noise},
};

const OBJECTS: u32 = 5_000;
const IN_FLIGHT: usize = 16;

/// CPU time of this process so far, in milliseconds; user and system.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    let ticks = |field: usize| fields[field].parse::<f64>().unwrap();
    (ticks(11) + ticks(12)) * 10.0
}

fn report(what: &str, before: f64, count: u32) {
    println!("{what}: {:.3} ms of CPU each", (cpu() - before) / f64::from(count));
}

#[test]
#[ignore = "a measurement"]
fn cost_of_small_objects() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.unwrap().block_on(async {
        let (source, target) = (stores::minio_a().await, stores::minio_b().await);
        let body = noise(4096, 1);
        let names: Vec<String> = (0..OBJECTS).map(|n| format!("small/{n:05}")).collect();

        let before = cpu();
        let put = |key: &String| {
            let (store, key, body) = (source.clone(), key.clone(), body.clone());
            tokio::spawn(async move { store.put(&key, body, &PutOptions::default()).await.map(drop) })
        };
        stream::iter(names.iter().map(put))
            .buffer_unordered(IN_FLIGHT)
            .for_each(|done| async { done.unwrap().unwrap() })
            .await;
        report("PUT", before, OBJECTS);

        let before = cpu();
        let copier = Arc::new(Copier::new(Arc::new(source.clone()), Arc::new(target)));
        let copy = |key: &String| {
            let request = CopyRequest { size: Some(4096), ..CopyRequest::new(key) };
            let copier = Arc::clone(&copier);
            tokio::spawn(async move { copier.copy(&request).await.map(drop) })
        };
        stream::iter(names.iter().map(copy))
            .buffer_unordered(IN_FLIGHT)
            .for_each(|done| async { done.unwrap().unwrap() })
            .await;
        report("GET and PUT", before, OBJECTS);

        let before = cpu();
        for _ in 0..10 {
            assert_eq!(keys(&source, ListRequest::default()).await.len(), OBJECTS as usize);
        }
        report("page of a listing", before, OBJECTS / 100);
        println!("peak memory: {:.1} MiB", f64::from(u32::try_from(peak_rss()).unwrap()) / 1024.0);
    });
}
