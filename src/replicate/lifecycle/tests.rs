use super::*;
use crate::store::ETag;

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn rule(expires: Expires) -> LifecycleRule {
    let filter = LifecycleFilter { prefix: "logs/".into(), ..LifecycleFilter::default() };
    LifecycleRule { id: "r".into(), filter, expires }
}

fn of(rule: LifecycleRule) -> Lifecycle {
    Lifecycle::default().updated(vec![rule], Timestamp::UNIX_EPOCH)
}

fn after(days: u32) -> Lifecycle {
    of(rule(Expires::After { days }))
}

fn past(written: Option<&str>, gone: &str) -> Past<'static> {
    Past { key: "logs/a", size: 100, written: written.map(time), gone: time(gone) }
}

fn listed(modified: &str) -> Listed {
    Listed {
        key: "logs/a".into(),
        size: 100,
        etag: ETag("e".into()),
        modified: time(modified),
        storage_class: None,
    }
}

#[test]
fn c10_days_count_from_the_write_to_the_next_midnight() {
    let day_one = "2026-11-02T10:00:00Z";
    for (gone, answer) in [
        ("2026-11-03T10:00:00Z", Answer::No),
        ("2026-11-03T23:40:00Z", Answer::No),
        ("2026-11-03T23:46:00Z", Answer::Yes),
        ("2026-11-04T00:00:00Z", Answer::Yes),
        ("2027-11-04T00:00:00Z", Answer::Yes),
    ] {
        assert_eq!(after(1).explains(&past(Some(day_one), gone)), answer, "{gone}");
    }
    let midnight = past(Some("2026-11-02T00:00:00Z"), "2026-11-03T00:00:00Z");
    assert_eq!(after(1).explains(&midnight), Answer::Yes);
    assert_eq!(after(u32::MAX).explains(&midnight), Answer::No);
    assert_eq!(after(9999).explains(&past(None, day_one)), Answer::Yes, "nobody knows how old it was");
}

#[test]
fn c10_a_date_is_about_all_that_is_there_from_then_on() {
    let dated = of(rule(Expires::On(time("2026-11-05T00:00:00Z"))));
    assert_eq!(dated.explains(&past(None, "2026-11-04T12:00:00Z")), Answer::No);
    assert_eq!(dated.explains(&past(Some("2026-11-05T12:00:00Z"), "2026-11-05T12:00:01Z")), Answer::Yes);
}

#[test]
fn c10_a_rule_is_about_what_its_filter_says() {
    let gone = past(Some("2026-01-01T00:00:00Z"), "2026-11-01T00:00:00Z");
    let with = |filter: LifecycleFilter| {
        of(LifecycleRule { id: "r".into(), filter, expires: Expires::After { days: 1 } })
    };
    let all = LifecycleFilter::default();
    for (filter, answer) in [
        (LifecycleFilter { prefix: "log".into(), ..all.clone() }, Answer::Yes),
        (LifecycleFilter { prefix: "tmp/".into(), ..all.clone() }, Answer::No),
        (LifecycleFilter { larger_than: Some(100), ..all.clone() }, Answer::No),
        (LifecycleFilter { larger_than: Some(99), ..all.clone() }, Answer::Yes),
        (LifecycleFilter { smaller_than: Some(100), ..all.clone() }, Answer::No),
        (LifecycleFilter { smaller_than: Some(101), ..all.clone() }, Answer::Yes),
        (all.clone(), Answer::Yes),
    ] {
        assert_eq!(with(filter.clone()).explains(&gone), answer, "{filter:?}");
    }
    let tags = |pairs: &[(&str, &str)]| -> Tags {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    };
    let tagged = with(LifecycleFilter { tags: tags(&[("a", "1"), ("b", "2")]), ..all });
    assert_eq!(tagged.explains(&gone), Answer::Ask);
    assert!(tagged.explains_tagged(&gone, Some(&tags(&[("a", "1"), ("b", "2"), ("c", "3")]))));
    assert!(!tagged.explains_tagged(&gone, Some(&tags(&[("a", "1"), ("b", "3")]))));
    assert!(!tagged.explains_tagged(&gone, None), "nobody can tell: it was deleted");
}

fn pair(source: Lifecycle, target: Lifecycle) -> Expiry {
    let bucket = |lifecycle| Bucket { lifecycle, ..Bucket::default() };
    Expiry { source: bucket(source), target: bucket(target), ..Expiry::default() }
}

#[test]
fn c10_what_the_target_let_go_is_not_written_back_once_it_was_there() {
    let now = time("2026-11-21T12:00:00Z");
    let old = listed("2026-11-10T00:00:00Z");
    let expiry = pair(Lifecycle::default(), after(3));
    assert_eq!(expiry.at_target(&old, now), Answer::No, "it was never there");
    let synced =
        |until: &str| Expiry { synced_until: Some(time(until)), ..pair(Lifecycle::default(), after(3)) };
    assert_eq!(synced("2026-11-10T00:00:01Z").at_target(&old, now), Answer::Yes);
    let within = synced("2026-11-10T00:00:00.9Z");
    assert_eq!(
        within.at_target(&old, now),
        Answer::No,
        "it may have changed since: many stores tell whole seconds"
    );
    let exact = listed("2026-11-10T00:00:00.5Z");
    assert_eq!(within.at_target(&exact, now), Answer::Yes);
    assert_eq!(synced("2026-11-10T00:00:00.4Z").at_target(&exact, now), Answer::No, "it has changed since");
    let young = listed("2026-11-20T00:00:00Z");
    assert_eq!(synced("2026-11-21T00:00:00Z").at_target(&young, now), Answer::No, "somebody deleted it");
    let versioned = Bucket { versioned: true, ..pair(Lifecycle::default(), after(3)).target };
    let expiry = Expiry { target: versioned, ..Expiry::default() };
    assert_eq!(expiry.at_target(&old, now), Answer::Ask, "a marker may tell");
    assert_eq!(expiry.at_target(&young, now), Answer::No);
}

#[test]
fn c10_what_the_source_let_go_stays_at_the_target() {
    let now = time("2026-11-21T12:00:00Z");
    let (old, young) = (listed("2026-11-10T00:00:00Z"), listed("2026-11-20T00:00:00Z"));
    let migrated_at = Some(time("2026-11-01T00:00:00Z"));
    let live = Expiry { migrated_at, ..pair(after(3), Lifecycle::default()) };
    assert_eq!((live.at_source(&old, now), live.at_source(&young, now)), (Answer::Yes, Answer::No));
    let migrated = Expiry { migrated_at: Some(young.modified), ..pair(after(3), Lifecycle::default()) };
    assert_eq!(migrated.at_source(&young, now), Answer::Yes, "its original may have been older");
    let exact = Expiry { keeps_times: true, ..pair(after(3), Lifecycle::default()) };
    assert_eq!((exact.at_source(&old, now), exact.at_source(&young, now)), (Answer::Yes, Answer::No));
    assert_eq!(pair(Lifecycle::default(), after(3)).at_source(&old, now), Answer::No, "another's rule");
    let source = Bucket { versioned: true, ..exact.source.clone() };
    let versioned = Expiry { source, keeps_times: true, ..Expiry::default() };
    assert_eq!(versioned.at_source(&old, now), Answer::Ask, "its versions tell");
    let deleted = Trace { written: Some(old.modified), gone: time("2026-11-12T00:00:00Z") };
    let expired = Trace { gone: time("2026-11-13T00:00:05Z"), ..deleted };
    let says = |trace| versioned.source.lifecycle.explains(&versioned.past_at_source(&old, Some(trace), now));
    assert_eq!((says(deleted), says(expired)), (Answer::No, Answer::Yes));
}

#[test]
fn c10_what_was_asked_is_remembered_until_the_rules_change() {
    let now = time("2026-11-21T12:00:00Z");
    let object = listed("2026-11-10T00:00:00Z");
    let tagged = |value: &str| {
        let tags = [("a".to_owned(), value.to_owned())].into();
        let filter = LifecycleFilter { tags, ..LifecycleFilter::default() };
        let rule = LifecycleRule { id: "r".into(), filter, expires: Expires::After { days: 1 } };
        pair(of(rule), Lifecycle::default())
    };
    let expiry = tagged("1");
    assert_eq!(expiry.at_source(&object, now), Answer::Ask);
    expiry.remember(Side::Source, &object, true);
    assert_eq!(expiry.at_source(&object, now), Answer::Yes);
    assert_eq!(expiry.at_target(&object, now), Answer::No, "another side");
    let again = tagged("1").with_answers_of(&expiry);
    assert_eq!(again.at_source(&object, now), Answer::Yes);
    assert_eq!(tagged("2").with_answers_of(&again).at_source(&object, now), Answer::Ask);
}

#[test]
fn c10_what_a_rule_let_go_stays_explained_when_the_rule_is_taken_away() {
    let removed = time("2026-11-10T08:00:00Z");
    let known = after(3).updated(Vec::new(), removed);
    assert_eq!(known.seen()[0].until, Some(removed));
    assert_eq!(known.updated(Vec::new(), time("2026-11-12T00:00:00Z")), known, "it went once");
    let long_after = "2027-11-21T00:00:00Z";
    assert_eq!(known.explains(&past(Some("2026-11-06T10:00:00Z"), long_after)), Answer::Yes);
    assert_eq!(known.explains(&past(Some("2026-11-07T10:00:00Z"), long_after)), Answer::No, "not due then");
    let again = known.updated(
        vec![LifecycleRule { id: "other name".into(), ..rule(Expires::After { days: 3 }) }],
        removed,
    );
    assert_eq!(again.seen().len(), 1);
    assert_eq!(again.explains(&past(Some("2026-11-07T10:00:00Z"), long_after)), Answer::Yes);
    let many =
        (0..100).fold(known, |known, days| known.updated(vec![rule(Expires::After { days })], removed));
    assert_eq!(many.seen().len(), GONE + 1);
}

#[test]
fn c10_p06_rules_are_about_keys_without_their_prefix() {
    let gone = "2026-11-30T00:00:00Z";
    for (prefix, key, answer) in [
        ("", "logs/a", Answer::Yes),
        ("", "a", Answer::No),
        ("logs/", "a", Answer::Yes),
        ("logs/deep/", "a", Answer::Yes),
        ("lo", "gs/a", Answer::Yes),
        ("lo", "a", Answer::No),
        ("other/", "logs/a", Answer::No),
    ] {
        let past = Past { key, ..past(Some("2026-11-02T10:00:00Z"), gone) };
        assert_eq!(after(1).under(prefix).explains(&past), answer, "{prefix:?} {key:?}");
    }
}
