//! Plans from catalogs made by hand.

use super::*;
use crate::{
    backup::{
        catalog::{Continuity, Keys, Mark, Position, Scope},
        window::timeline,
    },
    store::ETag,
};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn object(key: &str) -> Object {
    Object {
        key: key.to_owned(),
        stored_as: None,
        stored_etag: None,
        size: 10,
        etag: ETag(key.to_owned()),
        modified: at(0),
    }
}

fn base(id: &str, second: i64) -> Base {
    Base {
        id: id.to_owned(),
        scope: Scope::default(),
        kind: BaseKind::Full,
        parent: None,
        orphan: false,
        keys: Keys::default(),
        bytes: 1000,
        objects: 1,
        start: at(second - 5),
        consistent_at: at(second),
        position: Position::Time(at(second)),
        streams: vec!["log".to_owned()],
        fuzzy: false,
        complete: true,
        permanent: false,
    }
}

fn segment(number: u64, from: i64, to: i64) -> Segment {
    Segment {
        stream: "log".to_owned(),
        branch: String::new(),
        number,
        name: format!("b.{number:06}"),
        object: object(&format!("b.{number:06}")),
        from: at(from),
        to: at(to),
        start: Mark::Unknown,
        end: Mark::Unknown,
        open: false,
        stopped: false,
        indivisible: false,
    }
}

/// A base at 100 with logs to 399, a hole, a base at 600 with a log to 699.
fn catalog() -> Catalog {
    let mut catalog = Catalog::empty();
    catalog.continuity = Continuity::Binlog;
    catalog.bases = vec![base("first", 100), base("second", 600)];
    catalog.segments =
        vec![segment(1, 50, 199), segment(2, 200, 299), segment(3, 300, 399), segment(5, 500, 699)];
    catalog
}

fn planned(moment: Option<i64>) -> Result<Plan, Refusal> {
    let catalog = catalog();
    plan(&catalog, &timeline(&catalog), moment.map(at))
}

#[test]
fn b17_a_plan_names_bases_logs_and_bytes() {
    let plan = planned(Some(250)).unwrap();
    assert_eq!(plan.bases.iter().map(|base| base.id.as_str()).collect::<Vec<_>>(), ["first"]);
    assert_eq!((plan.needed_logs, plan.logs.len(), plan.bytes), (2, 3, 1020), "{plan:?}");
    assert!(!plan.latest);
    let text = plan.to_string();
    assert!(text.contains("base first") && text.contains("logs b.000001 to b.000002, 2 of them"), "{text}");
    let latest = planned(None).unwrap();
    assert!(latest.latest && latest.time_point == at(699) && latest.bases[0].id == "second");
    assert_eq!(latest.estimate(101).as_secs(), 10);
}

#[test]
fn b08_b17_outside_of_the_windows_a_refusal_names_the_nearest_moments() {
    for (moment, nearest) in
        [(99, [None, Some(100)]), (400, [Some(399), Some(600)]), (700, [Some(699), None])]
    {
        let refusal = planned(Some(moment)).unwrap_err();
        assert_eq!([refusal.before, refusal.after], nearest.map(|n| n.map(at)), "{moment}");
        let text = refusal.to_string();
        for near in nearest.into_iter().flatten() {
            assert!(text.contains(&at(near).to_string()), "{text}");
        }
        assert!(text.contains("windows: 1970-01-01T00:01:40Z to 1970-01-01T00:06:39Z, "), "{text}");
        assert_eq!(text.contains("since b.000004 is missing"), moment == 400, "{text}");
    }
    let nothing = Catalog::empty();
    let refusal = plan(&nothing, &timeline(&nothing), None).unwrap_err();
    assert!(refusal.to_string().contains("holds no whole backup yet"), "{refusal}");
}
