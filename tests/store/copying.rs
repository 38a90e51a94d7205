//! The copier: exact copies, resumed, in the face of change and faults.

use std::sync::Arc;

use bytes::Bytes;
use farshore::{
    replicate::{Copied, Copier, CopyRequest, Error, Outcome},
    store::{
        ETag, GetOptions, ObjectStore, Precondition, PutOptions, Side, UploadedPart,
        memory::{Effect, Failure, Fault, MemoryStore, Verb},
    },
};
use jiff::Timestamp;

use crate::{
    stores,
    suite::{KEY_ZOO, assert_kept, attributes, md5, noise, read, streamed},
};

const MIB: usize = 1 << 20;

fn pair() -> (MemoryStore, MemoryStore, Copier) {
    let (source, target) = (MemoryStore::new("source"), MemoryStore::new("target"));
    let copier = Copier::new(Arc::new(source.clone()), Arc::new(target.clone()));
    (source, target, copier)
}

/// Makes an object of parts of these sizes; gives its ETag and bytes.
pub async fn put_parts(store: &dyn ObjectStore, key: &str, sizes: &[usize], seed: u64) -> (ETag, Bytes) {
    let options = PutOptions { attributes: attributes(), ..PutOptions::default() };
    let upload = store.create_upload(key, &options).await.unwrap();
    let (mut parts, mut all): (Vec<UploadedPart>, Vec<u8>) = (Vec::new(), Vec::new());
    for (number, size) in (1..).zip(sizes) {
        let body = noise(*size, seed + u64::from(number));
        parts.push(store.upload_part(key, &upload, number, *size as u64, streamed(&body)).await.unwrap());
        all.extend_from_slice(&body);
    }
    let done = store.complete_upload(key, &upload, &parts, &PutOptions::default()).await.unwrap();
    (done.etag, all.into())
}

async fn copied(copier: &Copier, request: &CopyRequest) -> Copied {
    match copier.copy(request).await.unwrap() {
        Outcome::Copied(done) => done,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn small_objects_cost_one_get_and_one_put_and_keep_everything() {
    let (source, target, copier) = pair();
    let options = PutOptions { attributes: attributes(), ..PutOptions::default() };
    let body = noise(300_000, 1);
    source.put("k", body.clone(), &options).await.unwrap();
    let done = copied(&copier, &CopyRequest { size: Some(300_000), ..CopyRequest::new("k") }).await;
    assert_eq!((done.target_etag, done.sent), (md5(&body), 300_000));
    assert_eq!((target.bytes("k").unwrap(), target.attributes("k").unwrap()), (body, attributes()));
    assert_eq!((source.requests(Verb::Get), source.requests(Verb::Head)), (1, 0));
    assert_eq!((target.requests(Verb::Put), target.requests(Verb::Head)), (1, 0));
}

#[tokio::test]
async fn multipart_objects_keep_their_parts_and_etag_whatever_the_layout() {
    let layouts: [&[usize]; 5] = [
        &[5 * MIB, 5 * MIB, 100],
        &[6 * MIB, 5 * MIB, 7 * MIB, 1],
        &[100],
        &[9 * MIB],
        &[5 * MIB, 5 * MIB, 5 * MIB],
    ];
    for (n, sizes) in layouts.into_iter().enumerate() {
        let (source, target, copier) = pair();
        let (etag, body) = put_parts(&source, "k", sizes, n as u64 * 100).await;
        let done = copied(&copier, &CopyRequest::new("k")).await;
        assert_eq!((&done.source_etag, &done.target_etag), (&etag, &etag), "{sizes:?}");
        assert_eq!((target.bytes("k").unwrap(), target.attributes("k").unwrap()), (body, attributes()));
    }
}

#[tokio::test]
async fn part_sizes_are_guessed_where_the_source_does_not_tell_them() {
    let (source, target, copier) = pair();
    source.set_part_heads(false);
    let (etag, body) = put_parts(&source, "k", &[8 * MIB, 8 * MIB, 3], 1).await;
    assert_eq!(copied(&copier, &CopyRequest::new("k")).await.target_etag, etag);
    let (_, odd) = put_parts(&source, "odd", &[6 * MIB, 7 * MIB, 5 * MIB], 2).await;
    assert_eq!(copied(&copier, &CopyRequest::new("odd")).await.size, odd.len() as u64);
    assert_eq!((target.bytes("k").unwrap(), target.bytes("odd").unwrap()), (body, odd));
}

#[tokio::test]
async fn parts_too_small_for_the_target_are_joined_and_the_etag_differs() {
    let (source, target, copier) = pair();
    let (etag, body) = put_parts(&source, "k", &[MIB, MIB, 10 * MIB], 1).await;
    let done = copied(&copier, &CopyRequest::new("k")).await;
    assert_ne!(done.target_etag, etag);
    assert_eq!(target.bytes("k").unwrap(), body);
}

#[tokio::test]
async fn a_copy_cut_short_sends_only_the_missing_parts_next_time() {
    let (source, target, copier) = pair();
    let copier = copier.parts_in_flight(1);
    let (etag, body) = put_parts(&source, "k", &[5 * MIB; 6], 1).await;
    target.fault(Fault::always(Verb::UploadPart, Failure::AccessDenied).after(4));
    let error = copier.copy(&CopyRequest::new("k")).await.unwrap_err();
    assert!(matches!(error, Error::Store { side: Side::Target, .. }), "{error}");
    target.heal();
    let before = target.requests(Verb::UploadPart);
    let done = copied(&copier, &CopyRequest::new("k")).await;
    assert_eq!((target.requests(Verb::UploadPart) - before, done.parts_reused), (2, 4));
    assert_eq!((done.sent, &done.target_etag), (10 * MIB as u64, &etag));
    assert_eq!(target.bytes("k").unwrap(), body);
    assert!(target.list_uploads("k").await.unwrap().is_empty());
}

#[tokio::test]
async fn parts_of_an_older_object_never_get_into_a_newer_one() {
    let (source, target, copier) = pair();
    put_parts(&source, "k", &[5 * MIB; 4], 1).await;
    target.fault(Fault::always(Verb::UploadPart, Failure::AccessDenied).after(2));
    let older = copier.clone().parts_in_flight(1).copy(&CopyRequest::new("k")).await;
    assert!(older.is_err());
    target.heal();
    let (etag, body) = put_parts(&source, "k", &[5 * MIB; 4], 50).await;
    let done = copied(&copier, &CopyRequest::new("k")).await;
    assert_eq!((&done.target_etag, target.bytes("k").unwrap()), (&etag, body));
}

#[tokio::test]
async fn headers_of_an_older_object_do_not_survive_in_a_resumed_upload() {
    let (source, target, copier) = pair();
    let (etag, _) = put_parts(&source, "k", &[5 * MIB; 3], 1).await;
    let leftover = target.create_upload("k", &PutOptions::default()).await.unwrap();
    let first = noise(5 * MIB, 2);
    target.upload_part("k", &leftover, 1, first.len() as u64, streamed(&first)).await.unwrap();
    let done = copied(&copier, &CopyRequest::new("k")).await;
    assert_eq!((&done.target_etag, target.attributes("k").unwrap()), (&etag, attributes()));
}

#[tokio::test]
async fn leftovers_that_do_not_fit_are_dropped() {
    let (source, target, copier) = pair();
    put_parts(&source, "k", &[5 * MIB; 2], 1).await;
    for _ in 0..3 {
        target.create_upload("k", &PutOptions::default()).await.unwrap();
    }
    let other = target.create_upload("k-longer", &PutOptions::default()).await.unwrap();
    copied(&copier, &CopyRequest::new("k")).await;
    let left = target.list_uploads("").await.unwrap();
    assert_eq!(
        left.iter().map(|u| &u.id).collect::<Vec<_>>(),
        [&other],
        "another key's upload is left alone"
    );
}

#[tokio::test]
async fn an_object_that_changes_meanwhile_is_copied_as_it_is_then() {
    let (source, target, copier) = pair();
    put_parts(&source, "k", &[5 * MIB; 3], 1).await;
    source.fault(Fault::once(Verb::Get, Failure::Changed).after(1));
    copied(&copier, &CopyRequest::new("k")).await;
    source.fault(Fault::always(Verb::Get, Failure::Changed));
    let error = copier.copy(&CopyRequest::new("k")).await.unwrap_err();
    assert!(matches!(error, Error::Restless { .. }), "{error}");
    assert!(target.list_uploads("k").await.unwrap().is_empty(), "parts of what is no more are dropped");
}

#[tokio::test]
async fn only_the_content_asked_for_is_copied() {
    let (source, target, copier) = pair();
    for (key, size) in [("small", 100), ("large", 9 * MIB)] {
        source.seed(key, noise(size, 1), Timestamp::now());
        let etag = Some(ETag("0".repeat(32)));
        let request = CopyRequest { etag, size: Some(size as u64), ..CopyRequest::new(key) };
        assert_eq!(copier.copy(&request).await.unwrap(), Outcome::Changed);
    }
    assert_eq!(target.keys(), Vec::<String>::new());
}

#[tokio::test]
async fn an_object_gone_in_mid_copy_is_an_outcome_not_an_error() {
    let (source, target, copier) = pair();
    assert_eq!(copier.copy(&CopyRequest::new("nothing")).await.unwrap(), Outcome::Gone);
    put_parts(&source, "k", &[5 * MIB; 3], 1).await;
    source.fault(Fault::always(Verb::Get, Failure::NotFound).after(2));
    assert_eq!(copier.copy(&CopyRequest::new("k")).await.unwrap(), Outcome::Gone);
    assert!(target.list_uploads("k").await.unwrap().is_empty() && target.keys().is_empty());
}

#[tokio::test]
async fn a_target_written_by_another_is_not_overwritten() {
    let (source, target, copier) = pair();
    source.seed("k", "ours", Timestamp::now());
    put_parts(&source, "big", &[5 * MIB; 2], 1).await;
    for key in ["k", "big"] {
        target.seed(key, "theirs", Timestamp::now());
        let request = CopyRequest { precondition: Precondition::Absent, ..CopyRequest::new(key) };
        let error = copier.copy(&request).await.unwrap_err();
        assert_eq!((error.side(), error.reason()), (Side::Target, "ChangedMeanwhile"));
        assert_eq!(target.bytes(key).unwrap(), "theirs");
    }
}

#[tokio::test]
async fn two_copies_of_one_object_at_once_both_end_well() {
    let (source, target, copier) = pair();
    source.seed("k", "x", Timestamp::now());
    let (etag, _) = put_parts(&source, "big", &[5 * MIB; 4], 1).await;
    for key in ["k", "big"] {
        let request = CopyRequest { precondition: Precondition::Absent, ..CopyRequest::new(key) };
        let (one, two) = tokio::join!(copier.copy(&request), copier.copy(&request));
        assert!(matches!((&one, &two), (Ok(Outcome::Copied(_)), Ok(Outcome::Copied(_)))), "{one:?} {two:?}");
        assert_eq!(copied(&copier, &request).await.sent, 0, "there already");
    }
    assert_eq!(target.head("big").await.unwrap().etag, etag);
    target.unseed("big");
    target.fault(Fault::once(Verb::UploadPart, Failure::NotFound).after(2));
    assert_eq!(copied(&copier, &CopyRequest::new("big")).await.target_etag, etag);
}

#[tokio::test]
async fn stores_whose_tags_are_no_md5s_are_copied_from_and_to() {
    for (at_source, at_target) in [(true, false), (false, true), (true, true)] {
        let (source, target, copier) = pair();
        source.set_opaque_tags(at_source);
        target.set_opaque_tags(at_target);
        source.seed("small", noise(1000, 1), Timestamp::now());
        source.seed("large", noise(9 * MIB, 2), Timestamp::now());
        put_parts(&source, "parts", &[5 * MIB; 4], 3).await;
        for key in ["small", "large", "parts"] {
            let request = CopyRequest { precondition: Precondition::Absent, ..CopyRequest::new(key) };
            copied(&copier, &request).await;
            assert_eq!(target.bytes(key), source.bytes(key), "{key}");
        }
        target.unseed("parts");
        target.fault(Fault::always(Verb::UploadPart, Failure::AccessDenied).after(2));
        assert!(copier.copy(&CopyRequest::new("parts")).await.is_err());
        target.heal();
        put_parts(&source, "parts", &[5 * MIB; 4], 70).await;
        copied(&copier, &CopyRequest::new("parts")).await;
        assert_eq!(target.bytes("parts"), source.bytes("parts"), "older parts stay out");
    }
}

#[tokio::test]
async fn a_full_target_is_said_to_be_full_and_a_source_that_denies_is_blamed() {
    let (source, target, copier) = pair();
    source.seed("k", "x", Timestamp::now());
    target.fault(Fault::once(Verb::Put, Failure::Full));
    let full = copier.copy(&CopyRequest::new("k")).await.unwrap_err();
    assert_eq!((full.side(), full.reason(), full.is_permanent()), (Side::Target, "StoreFull", true));
    source.fault(Fault::once(Verb::Get, Failure::AccessDenied));
    let denied = copier.copy(&CopyRequest::new("k")).await.unwrap_err();
    assert_eq!((denied.side(), denied.reason()), (Side::Source, "AccessDenied"));
}

#[tokio::test]
async fn broken_bodies_are_read_again() {
    let (source, target, copier) = pair();
    source.seed("small", noise(200_000, 1), Timestamp::now());
    source.seed("large", noise(9 * MIB, 2), Timestamp::now());
    put_parts(&source, "parts", &[5 * MIB; 3], 3).await;
    for key in ["small", "large", "parts"] {
        source.fault(Fault::once(Verb::Get, Failure::Corrupt).on(key).with(Effect::Truncate(70_000)));
        let done = copied(&copier, &CopyRequest::new(key)).await;
        assert_eq!(done.source_etag, done.target_etag);
        assert_eq!(target.bytes(key), source.bytes(key), "{key}");
    }
}

#[tokio::test]
async fn a_large_object_in_one_piece_that_breaks_twice_goes_over_in_parts() {
    let (source, target, copier) = pair();
    source.seed("k", noise(9 * MIB, 1), Timestamp::now());
    target.fault(Fault { times: 2, ..Fault::once(Verb::Put, Failure::Unreachable) });
    let done = copied(&copier, &CopyRequest::new("k")).await;
    assert_eq!((done.target_etag.parts(), target.bytes("k")), (Some(1), source.bytes("k")));
}

#[tokio::test]
async fn a_lost_reply_to_the_completion_is_no_second_copy() {
    let (source, target, copier) = pair();
    let (etag, _) = put_parts(&source, "k", &[5 * MIB; 2], 1).await;
    target.fault(
        Fault::once(Verb::CompleteUpload, Failure::Unreachable).with(Effect::LoseReply(Failure::Unreachable)),
    );
    assert!(copier.copy(&CopyRequest::new("k")).await.is_err());
    assert_eq!(target.head("k").await.unwrap().etag, etag);
}

/// A copy between real stores, both ways, of every odd key, header and layout.
async fn copies_exactly(source: Arc<dyn ObjectStore>, target: Arc<dyn ObjectStore>) {
    let copier = Copier::new(Arc::clone(&source), Arc::clone(&target));
    for key in KEY_ZOO {
        let options = PutOptions { attributes: attributes(), ..PutOptions::default() };
        if source.put(key, Bytes::from(*key), &options).await.is_err() {
            continue;
        }
        match copier.copy(&CopyRequest::new(*key)).await {
            Ok(outcome) => assert!(matches!(outcome, Outcome::Copied(_)), "{key:?}: {outcome:?}"),
            Err(error) => {
                assert_eq!((error.side(), error.reason()), (Side::Target, "Unsupported"), "{key:?}: {error}");
                continue;
            }
        }
        assert_eq!(read(&*target, key, &GetOptions::default()).await.unwrap(), Bytes::from(*key));
        assert_kept(&target.head(key).await.unwrap().attributes);
    }
    for (key, sizes) in [
        ("even", vec![5 * MIB, 5 * MIB, 100]),
        ("odd", vec![7 * MIB, 5 * MIB, 6 * MIB, 1]),
        ("one", vec![100]),
    ] {
        let (etag, body) = put_parts(&*source, key, &sizes, 9).await;
        let done = copied(&copier, &CopyRequest::new(key)).await;
        assert_eq!(done.target_etag, etag, "{key}");
        assert_eq!(read(&*target, key, &GetOptions::default()).await.unwrap(), body);
        assert_kept(&target.head(key).await.unwrap().attributes);
    }
    let body = noise(20 * MIB, 4);
    source.put("plain", body.clone(), &PutOptions::default()).await.unwrap();
    let done =
        copied(&copier, &CopyRequest { size: Some(20 * MIB as u64), ..CopyRequest::new("plain") }).await;
    assert_eq!(done.target_etag, md5(&body));
}

#[tokio::test]
async fn b01_minio_to_minio_is_exact() {
    copies_exactly(Arc::new(stores::minio_a().await), Arc::new(stores::minio_b().await)).await;
}

#[tokio::test]
async fn b01_minio_to_versity_is_exact() {
    copies_exactly(Arc::new(stores::minio_a().await), Arc::new(stores::versity().await)).await;
}

#[tokio::test]
async fn b01_versity_to_minio_is_exact() {
    copies_exactly(Arc::new(stores::versity().await), Arc::new(stores::minio_b().await)).await;
}
