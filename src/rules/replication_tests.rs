use jiff::Timestamp;
use proptest::prelude::*;

use super::{super::fixtures::*, *};
use crate::api::{BucketReplicationRuleStatus, condition::Verdict};

/// Regions of these names, each with a store of its own.
fn of(name: &str) -> Region {
    region(name, "")
}

fn claim(rule: &BucketReplicationRule) -> PairClaim {
    let (source, target) = (of(&rule.spec.source.region), of(&rule.spec.target.region));
    PairClaim::new(rule, Some(&source), Some(&target))
}

fn judged(
    rule: &BucketReplicationRule,
    regions: (Option<&Region>, Option<&Region>),
    others: &[PairClaim],
) -> Result<AcceptedPair, Objection> {
    judge_rule(&RuleFacts { rule, source_region: regions.0, target_region: regions.1, others, services: &[] })
}

fn among(rule: &BucketReplicationRule, others: &[PairClaim]) -> Result<AcceptedPair, Objection> {
    let (source, target) = (of(&rule.spec.source.region), of(&rule.spec.target.region));
    judged(rule, (Some(&source), Some(&target)), others)
}

fn reason<T>(ruling: &Result<T, Objection>) -> &'static str {
    ruling.as_ref().map_or_else(|objection| objection.reason, |_| "Accepted")
}

/// What the controller writes of a rule that was accepted.
fn accepted(mut rule: BucketReplicationRule, pair: AcceptedPair) -> BucketReplicationRule {
    let mut status =
        BucketReplicationRuleStatus { pair: Some(pair), ..BucketReplicationRuleStatus::default() };
    let said = (condition::ACCEPTED, Verdict::True, "Accepted", String::new());
    condition::set(&mut status.conditions, Some(1), Timestamp::UNIX_EPOCH, said);
    rule.status = Some(status);
    rule
}

#[test]
fn c06_c12_regions_differ_are_of_one_zone_and_offer_replication() {
    let photos = rule("photos", "north/photos", "east/photos");
    let (north, east) = (of("north"), of("east"));
    let mut alias = of("alias");
    alias.spec.object_store.endpoint = "http://MINIO.north:9000/".to_owned();
    let finance = region("east", "zone: Finance");
    let without = region("east", "services: [BackupSync]");
    for (source, target, expected) in [
        (Some(&north), Some(&east), "Accepted"),
        (Some(&north), Some(&north), "SameRegion"),
        (Some(&north), Some(&alias), "SameRegion"),
        (Some(&north), Some(&finance), "ZonesDiffer"),
        (Some(&north), Some(&without), "RegionNotOffered"),
        (Some(&without), Some(&north), "RegionNotOffered"),
        (None, Some(&east), "UnknownRegion"),
        (Some(&north), None, "UnknownRegion"),
    ] {
        let ruling = judged(&photos, (source, target), &[]);
        assert_eq!(reason(&ruling), expected, "{ruling:?}");
    }
}

#[test]
fn c06_two_regions_that_are_one_store_are_refused_until_one_is_corrected() {
    let photos = rule("photos", "north/photos", "east/photos");
    let pair = among(&photos, &[]).unwrap();
    let mut found = accepted(photos, pair);
    found.status.as_mut().unwrap().observed = serde_json::from_value(serde_json::json!({
        "runID": "20261121T080000Z-abcdef", "generation": 1, "reportedAt": "2026-11-21T08:00:05Z",
        "failure": {"reason": "SameStore", "message": "m", "permanent": true, "since": "2026-11-21T08:00:05Z"},
    }))
    .unwrap();
    let (north, east) = (of("north"), of("east"));
    assert_eq!(stays(&found, Some(&north), Some(&east)), None);
    assert_eq!(reason(&among(&found, &[])), "SameStore");
    // As the controller writes it down.
    let said = |verdict, reason: &'static str| (condition::ACCEPTED, verdict, reason, String::new());
    let mut refused = found.clone();
    let conditions = &mut refused.status.as_mut().unwrap().conditions;
    condition::set(conditions, Some(1), Timestamp::UNIX_EPOCH, said(Verdict::False, "SameStore"));
    assert_eq!(reason(&among(&refused, &[])), "SameStore", "still");
    assert!(!claim(&refused).viable, "it stands in nobody's way");
    let mut corrected = of("east");
    corrected.spec.object_store.endpoint = "http://minio.far-east:9000".to_owned();
    let again = judged(&refused, (Some(&north), Some(&corrected)), &[]);
    assert_eq!(reason(&again), "Accepted");
    // The old worker's words are still there, and mean nothing now.
    let mut anew = refused;
    let status = anew.status.as_mut().unwrap();
    status.pair = again.ok();
    let now = "2026-11-21T09:00:00Z".parse().unwrap();
    condition::set(&mut status.conditions, Some(1), now, said(Verdict::True, "Accepted"));
    assert!(stays(&anew, Some(&north), Some(&corrected)).is_some());
}

#[test]
fn c09_a_bucket_that_mirrors_back_by_its_region_s_word_is_refused_at_either_end() {
    let photos = rule("photos", "north/photos", "east/photos-copy");
    let saying = |name: &str, buckets: &str| {
        let mut region = of(name);
        region.metadata.annotations = Some([(MIRRORING_BUCKETS.to_owned(), buckets.to_owned())].into());
        region
    };
    let accepted = accepted(photos.clone(), among(&photos, &[]).unwrap());
    for (north, east, reasoned) in [
        (saying("north", "logs, photos"), of("east"), "MirrorBackToSource"),
        (of("north"), saying("east", "photos-copy"), "MirrorBackToSource"),
        (saying("north", "photos-copy"), saying("east", ""), "Accepted"),
    ] {
        let regions = (Some(&north), Some(&east));
        assert_eq!(reason(&judged(&photos, regions, &[])), reasoned);
        assert_eq!(stays(&accepted, regions.0, regions.1).is_some(), reasoned == "Accepted");
    }
}

#[test]
fn c07_a_bucket_replicates_with_one_other_bucket_only() {
    let first = rule("a-first", "north/photos", "east/photos");
    let claims = [claim(&first)];
    for (source, target, expected) in [
        ("north/photos", "east/photos", "PairTaken"),
        ("north/photos", "east/other", "BucketTaken"),
        ("north/other", "east/photos", "BucketTaken"),
        ("east/photos", "west/photos", "BucketTaken"),
        ("west/photos", "north/photos", "BucketTaken"),
        ("north/other", "east/other", "Accepted"),
        // The same name elsewhere is another bucket.
        ("west/photos", "south/photos", "Accepted"),
    ] {
        let ruling = among(&rule("b-second", source, target), &claims);
        assert_eq!(reason(&ruling), expected, "{source} {target}");
        if let Err(objection) = ruling {
            assert!(
                !objection.waiting && objection.message.contains("shop/a-first"),
                "{}",
                objection.message
            );
        }
    }
    assert_eq!(reason(&among(&first, &[claim(&rule("b", "north/photos", "east/other"))])), "Accepted");
}

#[test]
fn c07_a_suspended_rule_still_has_its_buckets_and_an_accepted_one_keeps_them() {
    let later = rule("z-later", "north/photos", "east/photos");
    let mut later = accepted(later.clone(), among(&later, &[]).unwrap());
    later.spec.suspend = true;
    let ruling = among(&rule("a-earlier", "north/photos", "west/photos"), &[claim(&later)]);
    assert_eq!(reason(&ruling), "BucketTaken");
    assert_eq!(reason(&among(&later, &[claim(&rule("a", "north/photos", "west/photos"))])), "Accepted");
}

#[test]
fn c08_the_way_back_needs_versions_in_both_buckets() {
    let there = rule("there", "north/photos", "east/photos");
    let back = rule("z-back", "east/photos", "north/photos");
    for (versioned, mutual, expected) in [
        (None, false, "PairNotProbed"),
        (Some(false), false, "NotVersioned"),
        (Some(true), false, "PairNotMutual"),
        (Some(true), true, "Accepted"),
    ] {
        let first = claim(&accepted(there.clone(), among(&there, &[]).unwrap()));
        let other = PairClaim { versioned, mutual, ..first };
        let ruling = among(&back, std::slice::from_ref(&other));
        assert_eq!(reason(&ruling), expected);
        if let Err(objection) = ruling {
            assert_eq!(objection.waiting, versioned != Some(false));
            assert_eq!(
                objection.message.matches("put-bucket-versioning").count(),
                2 * usize::from(!objection.waiting)
            );
        }
        // The first knows of the second before that is accepted.
        let uid = other.uid.clone();
        assert_eq!(has_opposite(&uid, &[other.clone(), claim(&back)]), versioned == Some(true));
        assert!(!has_opposite(&uid, &[other]));
        // The first of the two is not judged by the second.
        assert_eq!(reason(&among(&there, &[claim(&back)])), "Accepted");
    }
}

#[test]
fn a_bucket_that_holds_backups_is_no_target() {
    let (north, east) = (of("north"), of("east"));
    let orders = instance("orders", "");
    let mut kept = Claim::new(&service("copy", "orders", "east"), Some(&orders), Some(&north), Some(&east));
    kept.accepted = true;
    let photos = rule("photos", "north/photos", "east/dr-backups");
    let facts = RuleFacts {
        rule: &photos,
        source_region: Some(&north),
        target_region: Some(&east),
        others: &[],
        services: &[kept],
    };
    assert_eq!(reason(&judge_rule(&facts)), "TargetHoldsBackups");
}

proptest! {
    /// Rules that come in any order, judged again and again: no bucket is ever with two others, nobody is
    /// turned out.
    #[test]
    fn c07_whatever_comes_each_bucket_is_with_one_other(
        ends in prop::collection::vec((0..3_usize, 0..2_usize, 0..3_usize, 0..2_usize), 1..12),
        order in prop::collection::vec(0..12_usize, 0..40),
    ) {
        let regions = ["north", "east", "west"];
        let all: Vec<_> = ends.iter().enumerate().filter(|(_, (from, _, to, _))| from != to).collect();
        let mut rules: Vec<_> = all.iter().map(|(n, (from, a, to, b))| {
            rule(&format!("r{n}"), &format!("{}/b{a}x", regions[*from]), &format!("{}/b{b}x", regions[*to]))
        }).collect();
        let mut let_in = Vec::new();
        let count = rules.len();
        for at in order.into_iter().filter(|at| *at < count) {
            let versioned = Some(true);
            let claims: Vec<_> = rules.iter().map(|r| PairClaim { versioned, mutual: true, ..claim(r) }).collect();
            let ruling = among(&rules[at], &claims);
            let was = let_in.contains(&at);
            prop_assert!(!was || ruling.is_ok(), "r{at} was let in and is turned out: {:?}", ruling);
            if let Ok(pair) = ruling && !was {
                rules[at] = accepted(rules[at].clone(), pair);
                let_in.push(at);
            }
        }
        let ends = |at: &usize| {
            let claim = claim(&rules[*at]);
            (claim.source.unwrap(), claim.target.unwrap())
        };
        for (n, one) in let_in.iter().enumerate() {
            for other in &let_in[n + 1..] {
                let ((a, b), (c, d)) = (ends(one), ends(other));
                let apart = ![&c, &d].contains(&&a) && ![&c, &d].contains(&&b);
                prop_assert!(apart || (a == d && b == c), "{a:?} {b:?} and {c:?} {d:?}");
            }
        }
    }
}
