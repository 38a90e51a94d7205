//! Plans of key spaces of every shape.

use jiff::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::store::{ETag, Listed};

fn object(key: &str, size: u64) -> Listed {
    Listed {
        key: key.to_owned(),
        size,
        etag: ETag("e".to_owned()),
        modified: Timestamp::UNIX_EPOCH,
        storage_class: None,
    }
}

/// Chunks of sorted keys, as several listings abreast would give them.
fn chunks(keys: &[String], size: u64, lacking: impl Fn(usize) -> bool) -> Vec<Chunk> {
    let parts: Vec<_> = keys.chunks(keys.len().div_ceil(4).max(1)).collect();
    let mut all = Vec::new();
    let mut at = 0;
    for (n, part) in parts.iter().enumerate() {
        let last = part.last().filter(|_| n + 1 < parts.len());
        let mut sampler = Sampler::new(last.cloned());
        for key in *part {
            sampler.push(&object(key, size), lacking(at));
            at += 1;
        }
        all.extend(sampler.finish());
    }
    if all.is_empty() {
        all.extend(Sampler::new(None).finish());
    }
    all
}

fn plan(keys: &[String], size: u64) -> Encoded {
    Plan::encoded("here to there", &chunks(keys, size, |_| true)).unwrap()
}

fn flat(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{n:08}")).collect()
}

fn deep(count: usize) -> Vec<String> {
    let mut keys: Vec<_> =
        (0..count).map(|n| format!("logs/{:02}/{}/{n}", n % 7, "d/".repeat(n % 50))).collect();
    keys.sort();
    keys
}

#[test]
fn c04_flat_and_deep_key_spaces_split_into_even_ranges() {
    for keys in [flat(30_000), deep(30_000)] {
        let Encoded { plan, .. } = plan(&keys, 4096);
        assert!(plan.ranges.len() == 64, "{}", plan.ranges.len());
        let sizes: Vec<_> = plan.ranges.iter().map(|range| range.lacking.objects).collect();
        let (least, most) = (*sizes.iter().min().unwrap(), *sizes.iter().max().unwrap());
        assert!(most <= 2 * 30_000 / 64 && least >= 30_000 / 64 / 3, "{sizes:?}");
    }
}

#[test]
fn c04_millions_of_objects_become_at_most_1024_ranges() {
    let Encoded { plan, file } = plan(&flat(1_000_000), 1 << 20);
    assert!((512..=1024).contains(&plan.ranges.len()), "{}", plan.ranges.len());
    assert!(file.len() < 32 << 10, "{}", file.len());
}

#[test]
fn c04_what_is_there_already_is_not_planned() {
    let keys = flat(100_000);
    let chunks = chunks(&keys, 10, |n| (40_000..50_000).contains(&n));
    let Encoded { plan, .. } = Plan::encoded("", &chunks).unwrap();
    assert_eq!((plan.held.objects, plan.lacking().objects), (100_000, 10_000));
    let first = plan.ranges.first().unwrap().range.after.clone().unwrap();
    let last = plan.ranges.last().unwrap().range.until.clone().unwrap();
    assert!(first.as_str() >= "00024998" && last.as_str() < "00075000", "{first} {last}");
}

#[test]
fn c04_little_is_not_worth_a_job() {
    let of = |objects, bytes| Volume { objects, bytes };
    assert!(of(19_999, 1 << 30).is_small() && of(0, 0).is_small());
    assert!(!of(20_000, 0).is_small() && !of(3, 10 << 30).is_small());
}

/// Pairs of keys of 1,024 bytes whose beginnings nobody can guess, parted by their last bytes only.
#[test]
fn c04_a_plan_fits_into_one_object_whatever_the_keys() {
    let mut rng = fastrand::Rng::with_seed(7);
    let mut random = |length| -> String { (0..length).map(|_| rng.alphanumeric()).collect() };
    let mut worst: Vec<String> = Vec::new();
    for _ in 0..1_100 {
        let stem: String = random(1_023);
        worst.extend([format!("{stem}1"), format!("{stem}2")]);
    }
    worst.sort();
    // Large enough that every second object is a range of its own.
    let Encoded { plan, file } = plan(&worst, 1 << 30);
    assert!(file.len() <= 384 << 10, "{}", file.len());
    assert!(plan.ranges.len() >= 64, "{}", plan.ranges.len());
    let mut random: Vec<String> = (0..20_000).map(|_| random(1_024)).collect();
    random.sort();
    let Encoded { plan, file } = self::plan(&random, 64 << 20);
    assert!(plan.ranges.len() > 900 && file.len() < 64 << 10, "{} {}", plan.ranges.len(), file.len());
}

#[test]
fn a_file_that_is_no_plan_is_refused() {
    assert!(matches!(Plan::from_file(b"plan"), Err(Error::Packed(_))));
    let newer = {
        use std::io::Write;
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(br#"{"version": 2}"#).unwrap();
        packed.finish().unwrap()
    };
    assert!(matches!(Plan::from_file(&newer), Err(Error::UnknownVersion(2))));
}

proptest! {
    #[test]
    fn c04_every_lacking_key_is_in_one_range_and_counted_there(
        keys in prop::collection::btree_set("[a-cé]{1,3}(/[a-b\u{1f600}]{1,3}){0,2}", 0..200),
        size in prop_oneof![Just(0_u64), Just(1 << 20), Just(1 << 30)],
        every in 1..4_usize,
    ) {
        let keys: Vec<_> = keys.into_iter().collect();
        let Encoded { plan, file } =
            Plan::encoded("a to b", &chunks(&keys, size, |n| n % every == 0)).unwrap();
        prop_assert_eq!(&Plan::from_file(&file).unwrap(), &plan);
        prop_assert_eq!(plan.held.objects, keys.len() as u64);
        let mut lacking = vec![0; plan.ranges.len()];
        for (n, key) in keys.iter().enumerate() {
            let holding: Vec<_> =
                (0..plan.ranges.len()).filter(|at| plan.ranges[*at].range.contains(key)).collect();
            prop_assert!(holding.len() <= 1, "{} in {:?}", key, holding);
            if n % every == 0 {
                prop_assert_eq!(holding.len(), 1, "{}", key);
                lacking[holding[0]] += 1;
            }
        }
        prop_assert_eq!(plan.ranges.iter().map(|range| range.lacking.objects).collect::<Vec<_>>(), lacking);
    }
}
