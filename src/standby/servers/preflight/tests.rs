use mongodb::bson::oid::ObjectId;

use super::{preflight, same_master};
use crate::{
    mongo::{Namespace, Place},
    standby::servers::facts::{Facts, Window},
};

fn place(seconds: u32) -> Place {
    Place { seconds, increment: 1 }
}

fn sound() -> Facts {
    Facts {
        version: "7.0.12".to_owned(),
        compatibility: Some("7.0".to_owned()),
        wire: 21,
        set: Some("rs".to_owned()),
        oplog: Some(Window { first: place(1), last: place(90_000) }),
        newest: Some(place(90_000)),
        ..Facts::default()
    }
}

/// Reasons of refusals, then of findings.
fn reasons(master: &Facts, target: &Facts) -> Vec<&'static str> {
    let verdict = preflight(master, target);
    let refusals = verdict.refusals.iter().map(|refusal| refusal.reason);
    refusals.chain(verdict.findings.iter().map(|(reason, _)| *reason)).collect()
}

#[test]
fn d06_two_servers_of_one_version_go_together() {
    let target = Facts { version: "7.0.2".to_owned(), set_id: Some(ObjectId::new()), ..sound() };
    let master = Facts { set_id: Some(ObjectId::new()), ..sound() };
    assert!(reasons(&master, &target).is_empty());
}

#[test]
fn d06_what_is_in_the_way_is_named() {
    let with = |change: fn(&mut Facts)| {
        let mut facts = sound();
        change(&mut facts);
        facts
    };
    let series = || vec![(Namespace::new("shop", "clicks"), "a time series")];
    let id = ObjectId::new();
    let cases: Vec<(Facts, Facts, &[&str])> = vec![
        (with(|f| f.version = "8.0.1".into()), sound(), &["VersionsDiffer"]),
        (with(|f| f.version = "7.1.12".into()), sound(), &["VersionsDiffer"]),
        (with(|f| f.compatibility = Some("6.0".into())), sound(), &["VersionsDiffer"]),
        (with(|f| f.compatibility = None), sound(), &[]),
        (with(|f| f.set = None), sound(), &["NotAReplicaSet"]),
        (sound(), with(|f| f.set = None), &["NotAReplicaSet"]),
        (with(|f| (f.router, f.set) = (true, None)), sound(), &["Sharded"]),
        (with(|f| f.wire = 6), sound(), &["VersionTooOld"]),
        (Facts { uncopied: series(), ..sound() }, sound(), &["NotSupported"]),
        (
            with(|f| f.oplog = Some(Window { first: place(100), last: place(3_600) })),
            sound(),
            &["OplogShort"],
        ),
        (with(|f| f.oplog = None), sound(), &[]),
        (
            with(|f| f.denied = vec![("replSetGetConfig".into(), "clusterMonitor")]),
            sound(),
            &["PrivilegeMissing"],
        ),
        (sound(), with(|f| f.denied = vec![("reading the ends of local.oplog.rs".into(), "read")]), &[]),
        (Facts { set_id: Some(id), ..sound() }, Facts { set_id: Some(id), ..sound() }, &["SameReplicaSet"]),
    ];
    for (number, (master, target, expected)) in cases.iter().enumerate() {
        assert_eq!(reasons(master, target), *expected, "case {number}");
    }
}

#[test]
fn d06_a_refusal_holds_every_message_and_the_role_to_grant() {
    let denied = vec![("replSetGetConfig".to_owned(), "clusterMonitor")];
    let master = Facts { version: "8.0.1".to_owned(), denied, ..sound() };
    let error = preflight(&master, &sound()).accept().unwrap_err();
    assert_eq!(error.reason(), "PrivilegeMissing");
    let message = error.to_string();
    assert!(message.contains("clusterMonitor") && message.contains("8.0.1"), "{message}");
    assert!(error.is_permanent());
}

#[test]
fn d09_another_master_or_one_that_went_back_is_refused() {
    let (one, two) = (ObjectId::new(), ObjectId::new());
    let master = Facts { set_id: Some(one), ..sound() };
    same_master((Some(one), Some(place(90_000))), &master).unwrap();
    same_master((None, None), &master).unwrap();
    same_master((Some(one), None), &sound()).unwrap();
    let refused = [(Some(two), None), (Some(one), Some(place(90_001)))];
    for recorded in refused {
        let error = same_master(recorded, &master).unwrap_err();
        assert_eq!(error.reason(), "MasterDiverged");
        assert!(error.to_string().contains("farshore.dev/resync-requested"), "{error}");
    }
}
