use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{super::fixtures::*, *};
use crate::api::BackupSyncServiceStatus;

type Ruling = Result<AcceptedSource, Objection>;

fn verdict(ruling: &Ruling) -> (&'static str, &str) {
    match ruling {
        Ok(_) => ("Accepted", ""),
        Err(Objection { reason, message, .. }) => (reason, message),
    }
}

fn judge_one(
    service: &BackupSyncService,
    instance: Option<&DatabaseInstance>,
    regions: (Option<&Region>, Option<&Region>),
    others: &[Claim],
) -> Ruling {
    judge(&Facts {
        service,
        instance,
        source_region: regions.0,
        target_region: regions.1,
        others,
        standbys: &[],
        accepted_before: false,
    })
}

#[test]
fn b04_the_target_is_another_region_and_both_offer_the_service() {
    let orders = instance("orders", "");
    let (north, east) = (region("north", ""), region("east", ""));
    let mut alias = region("alias", "");
    alias.spec.object_store.endpoint = "http://MINIO.north:9000/".to_owned();
    let cases = [
        (Some(&north), Some(&east), "Accepted"),
        (Some(&north), Some(&north), "SameRegion"),
        (Some(&north), Some(&alias), "SameRegion"),
        (None, Some(&east), "UnknownRegion"),
        (Some(&north), None, "UnknownRegion"),
    ];
    for (source, target, expected) in cases {
        let ruling = judge_one(&service("copy", "orders", "east"), Some(&orders), (source, target), &[]);
        assert_eq!(verdict(&ruling).0, expected, "{ruling:?}");
    }
    for (more, expected) in [("zone: Finance", "ZonesDiffer"), ("services: []", "RegionNotOffered")] {
        for (source, target) in [(region("north", more), east.clone()), (north.clone(), region("east", more))]
        {
            let ruling = judge_one(
                &service("copy", "orders", "east"),
                Some(&orders),
                (Some(&source), Some(&target)),
                &[],
            );
            assert_eq!(verdict(&ruling).0, expected);
        }
    }
}

#[test]
fn b05_a_new_service_waits_until_its_instance_runs_and_is_paid() {
    let (north, east) = (region("north", ""), region("east", ""));
    let copy = service("copy", "orders", "east");
    let cases = [
        ("declaredState: Stopped", "InstanceNotRunning"),
        ("billing: {standing: Overdue}", "InstanceOverdue"),
        ("endpoint: {uri: \"mysql://orders:3306\"}", "InstanceUnknown"),
        ("declaredState: Running", "Accepted"),
    ];
    for (more, expected) in cases {
        let orders = instance("orders", more);
        let ruling = judge_one(&copy, Some(&orders), (Some(&north), Some(&east)), &[]);
        assert_eq!(verdict(&ruling).0, expected);
        assert!(expected == "Accepted" || verdict(&ruling).1.contains("orders"));
        let later = judge(&Facts {
            service: &copy,
            instance: Some(&orders),
            source_region: Some(&north),
            target_region: Some(&east),
            others: &[],
            standbys: &[],
            accepted_before: true,
        });
        assert_eq!(verdict(&later).0, "Accepted", "checked once, at acceptance");
    }
    assert_eq!(verdict(&judge_one(&copy, None, (None, Some(&east)), &[])).0, "UnknownInstance");
}

#[test]
fn b03_an_instance_has_one_service_whatever_it_is_called() {
    let (north, east) = (region("north", ""), region("east", ""));
    let (orders, twin) = (instance("orders", ""), instance("twin", ""));
    let first = service("a-copy", "orders", "east");
    let second = service("b-copy", "orders", "east");
    let third = service("c-copy", "twin", "east");
    let claim = |service: &BackupSyncService, instance| {
        Claim::new(service, Some(instance), Some(&north), Some(&east))
    };
    let claims = [claim(&first, &orders), claim(&second, &orders), claim(&third, &twin)];
    let regions = (Some(&north), Some(&east));
    assert_eq!(verdict(&judge_one(&first, Some(&orders), regions, &claims)).0, "Accepted");
    for (service, instance) in [(&second, &orders), (&third, &twin)] {
        let ruling = judge_one(service, Some(instance), regions, &claims);
        let (reason, message) = verdict(&ruling);
        assert_eq!(reason, "HasService");
        assert!(message.contains("shop/a-copy"), "{message}");
    }
}

#[test]
fn b03_the_accepted_one_wins_whoever_came_first() {
    let (north, east) = (region("north", ""), region("east", ""));
    let orders = instance("orders", "");
    let first = service("a-copy", "orders", "east");
    let mut second = service("b-copy", "orders", "east");
    second.metadata.creation_timestamp = Some(Time("2026-11-21T08:00:00Z".parse().unwrap()));
    let mut status = BackupSyncServiceStatus::default();
    let Ok(source) = judge_one(&second, Some(&orders), (Some(&north), Some(&east)), &[]) else {
        panic!("alone it is accepted")
    };
    status.source = Some(source);
    crate::api::condition::set(
        &mut status.conditions,
        Some(1),
        jiff::Timestamp::UNIX_EPOCH,
        ("Accepted", crate::api::condition::Verdict::True, "Accepted", String::new()),
    );
    second.status = Some(status);
    let claims = [Claim::new(&second, Some(&orders), Some(&north), Some(&east))];
    let ruling = judge_one(&first, Some(&orders), (Some(&north), Some(&east)), &claims);
    assert!(verdict(&ruling).1.contains("shop/b-copy"), "{ruling:?}");
}

#[test]
fn b03_a_claim_that_can_never_be_accepted_stands_in_nobodys_way() {
    let (north, east) = (region("north", ""), region("east", ""));
    let orders = instance("orders", "");
    let hopeless =
        Claim::new(&service("a-copy", "orders", "north"), Some(&orders), Some(&north), Some(&north));
    let ruling = judge_one(
        &service("b-copy", "orders", "east"),
        Some(&orders),
        (Some(&north), Some(&east)),
        &[hopeless],
    );
    assert_eq!(verdict(&ruling).0, "Accepted");
}

#[test]
fn p02_every_refusal_names_the_object_and_the_next_step_however_long_the_name() {
    let long = "n".repeat(253);
    let (north, east) = (region("north", ""), region("east", ""));
    let overdue = instance(&long, "billing: {standing: Overdue}");
    let stopped = instance(&long, "declaredState: Stopped");
    let without = without_backups(instance(&long, ""));
    let (closed, far) = (region(&long, "services: []"), region(&long, "zone: Finance"));
    let same = region(&long, "");
    let copy = service("copy", &long, &long);
    let cases = [
        (None, (Some(&north), Some(&east)), "create it"),
        (Some(&without), (Some(&north), Some(&east)), "set its spec.backups"),
        (Some(&stopped), (Some(&north), Some(&east)), "start it"),
        (Some(&overdue), (Some(&north), Some(&east)), "settle it"),
        (Some(&stopped), (Some(&north), None), "ask an administrator to create it"),
        (Some(&stopped), (Some(&same), Some(&same)), "choose another region for spec.target.region"),
        (Some(&stopped), (Some(&north), Some(&closed)), "choose another region"),
        (Some(&stopped), (Some(&north), Some(&far)), "choose a region in zone Common"),
    ];
    for (instance, regions, step) in cases {
        let ruling = judge_one(&copy, instance, regions, &[]);
        let (reason, message) = verdict(&ruling);
        assert!(message.contains(&long) && message.contains(step), "{reason}: {message}");
        assert!(message.len() < 1000, "{reason} fits into an Event: {}", message.len());
    }
    let first = service(&format!("a{}", &long[1..]), &long, "east");
    let running = instance(&long, "");
    let claims = [Claim::new(&first, Some(&running), Some(&north), Some(&east))];
    let ruling =
        judge_one(&service("b", &long, "east"), Some(&running), (Some(&north), Some(&east)), &claims);
    let (reason, message) = verdict(&ruling);
    assert_eq!(reason, "HasService");
    assert!(
        message.contains(&format!("a{}", &long[1..])) && message.contains("delete that one"),
        "{message}"
    );
    assert!(message.len() < 1000);
}

#[test]
fn b03_two_services_never_share_a_place_at_the_target() {
    let (north, east) = (region("north", ""), region("east", ""));
    let orders = instance("orders", "");
    let mut other = instance("other", "");
    other.spec.backups.as_mut().unwrap().prefix = "other/".to_owned();
    let first = service("a", "orders", "east");
    let mut second = service("b", "other", "east");
    second.spec.target.prefix = "a/deeper/".to_owned();
    let claims = [Claim::new(&first, Some(&orders), Some(&north), Some(&east))];
    let ruling = judge_one(&second, Some(&other), (Some(&north), Some(&east)), &claims);
    assert_eq!(verdict(&ruling).0, "TargetTaken");
    assert!(verdict(&ruling).1.contains("shop/a"));
}
