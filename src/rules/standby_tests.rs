use super::{super::fixtures::*, *};
use crate::rules::not_a_standby;

const CLEAN: (&str, &str) = ("", "");

fn master(more: &str) -> DatabaseInstance {
    let endpoint = "endpoint: {uri: \"mongodb://rs0-0.north:27017,rs0-1.north/?replicaSet=rs0\"}";
    let more = if more.contains("endpoint") { more.to_owned() } else { format!("{endpoint}\n  {more}") };
    let mut instance = without_backups(instance("sessions", &more));
    instance.spec.engine = Engine::MongoDB;
    instance
}

fn judge(
    standby: &DisasterRecoveryInstance,
    master: Option<&DatabaseInstance>,
    regions: (&str, &str),
    others: &[StandbyClaim],
) -> Result<AcceptedMaster, Objection> {
    let (north, east) = (region("north", regions.0), region("east", regions.1));
    judge_standby(&StandbyFacts {
        standby,
        master,
        master_region: Some(&north),
        region: if standby.spec.region == "north" { Some(&north) } else { Some(&east) },
        namesake: None,
        others,
    })
}

fn reason(result: Result<AcceptedMaster, Objection>) -> &'static str {
    result.map_or_else(
        |objection| {
            assert!(objection.message.len() > 40 && objection.message.contains(';'), "{}", objection.message);
            objection.reason
        },
        |_| "Accepted",
    )
}

#[test]
fn d06_d07_d08_what_does_not_fit_is_refused_and_says_why() {
    let cases = [
        ("", "", CLEAN, "Accepted"),
        ("engine: MongoDB\n  version: \"7.0\"", "version: \"7.0\"", CLEAN, "Accepted"),
        ("", "billing: {mode: Postpaid}", CLEAN, "NotPrepaid"),
        ("billing: {mode: Postpaid}", "", CLEAN, "NotPrepaid"),
        ("", "billing: {standing: Overdue}", CLEAN, "InstanceOverdue"),
        ("engine: MySQL", "", CLEAN, "EngineDiffers"),
        ("version: \"6.0\"", "version: \"7.0\"", CLEAN, "VersionsDiffer"),
        ("region: north", "", CLEAN, "SameRegion"),
        ("", "", ("zone: Finance", ""), "ZonesDiffer"),
        ("", "", ("", "zone: Finance"), "ZonesDiffer"),
        ("", "", ("zone: Finance", "zone: Finance"), "Accepted"),
        ("", "", ("services: [BackupSync]", ""), "RegionNotOffered"),
        ("", "", ("", "services: [BackupSync]"), "RegionNotOffered"),
        ("", "endpoint: {uri: \"mongodb://dr-0.east:27017\"}", CLEAN, "TargetIsMaster"),
    ];
    for (own, of_master, regions, expected) in cases {
        let standby = standby("copy", "sessions", own);
        assert_eq!(
            reason(judge(&standby, Some(&master(of_master)), regions, &[])),
            expected,
            "{own} {of_master}"
        );
    }
}

#[test]
fn d07_only_mongodb_that_says_where_it_listens_can_be_followed() {
    let copy = standby("copy", "sessions", "");
    assert_eq!(reason(judge(&copy, None, CLEAN, &[])), "UnknownMaster");
    let mut silent = master("");
    silent.spec.endpoint = None;
    assert_eq!(reason(judge(&copy, Some(&silent), CLEAN, &[])), "NoEndpoint");
    let mut other = master("");
    other.spec.engine = Engine::PostgreSQL;
    assert_eq!(reason(judge(&copy, Some(&other), CLEAN, &[])), "UnsupportedEngine");
    assert_eq!(
        reason(judge(&standby("sessions", "sessions", ""), Some(&master("")), CLEAN, &[])),
        "NameTaken"
    );
}

#[test]
fn d08_two_regions_of_one_object_store_are_two_regions_for_databases() {
    let (north, mut east) = (region("north", ""), region("east", ""));
    east.spec.object_store = north.spec.object_store.clone();
    let (copy, master) = (standby("copy", "sessions", ""), master(""));
    let facts = StandbyFacts {
        standby: &copy,
        master: Some(&master),
        master_region: Some(&north),
        region: Some(&east),
        namesake: None,
        others: &[],
    };
    assert_eq!(reason(judge_standby(&facts)), "Accepted");
}

fn claim(name: &str, created: &str, accepted: bool) -> StandbyClaim {
    let mut one = StandbyClaim::new(&standby(name, "sessions", ""), true);
    one.created = Some(created.parse().unwrap());
    one.hosts = hosts_of(&format!("mongodb://{name}:27017"), "shop");
    one.accepted = accepted;
    one
}

#[test]
fn d05_the_first_three_copies_of_a_master_are_accepted() {
    let (early, late) = ("2026-11-20T07:00:00Z", "2026-11-20T09:00:00Z");
    let (copy, master) = (standby("m", "sessions", ""), master(""));
    let told = |others: &[StandbyClaim]| judge(&copy, Some(&master), CLEAN, others);
    let full = [claim("a", early, false), claim("b", late, true), claim("c", "2026-11-20T08:00:00Z", false)];
    let refusal = told(&full).unwrap_err();
    assert_eq!(refusal.reason, "QuotaExceeded");
    for word in ["allows 3", "Region north", "spec.disasterRecoveryQuota", "raise it"] {
        assert!(refusal.message.contains(word), "{}", refusal.message);
    }
    assert_eq!(reason(told(&full[..2])), "Accepted");
    let behind =
        [claim("a", late, false), claim("b", late, false), claim("n", "2026-11-20T08:00:00Z", false)];
    assert_eq!(reason(told(&behind)), "Accepted", "time first, then the name");
    let mut active = full.clone();
    active[1].active = true;
    assert_eq!(reason(told(&active)), "Accepted", "what is active follows nobody");
    let mut hopeless = full.clone();
    hopeless[0].viable = false;
    assert_eq!(reason(told(&hopeless)), "Accepted");
    let mut elsewhere = full.clone();
    elsewhere[2].master = "orders".to_owned();
    assert_eq!(reason(told(&elsewhere)), "Accepted");
    let raised = judge(&copy, Some(&master), ("disasterRecoveryQuota: 4", ""), &full);
    assert_eq!(reason(raised), "Accepted");
    let none = judge(&copy, Some(&master), ("disasterRecoveryQuota: 0", ""), &[]);
    assert_eq!(reason(none), "QuotaExceeded");
}

#[test]
fn d04_servers_that_are_a_copy_already_are_no_second_one_and_no_master() {
    let copy = standby("copy", "sessions", "");
    let mut first = claim("first", "2026-11-20T07:00:00Z", true);
    first.hosts = hosts_of("mongodb://DR-0.east.svc.cluster.local/?replicaSet=dr", "shop");
    assert_eq!(reason(judge(&copy, Some(&master("")), CLEAN, &[first.clone()])), "TargetTaken");
    first.hosts = hosts_of("mongodb://rs0-1.north", "shop");
    assert_eq!(reason(judge(&copy, Some(&master("")), CLEAN, &[first.clone()])), "MasterIsStandby");
    let chain = claim("sessions", "2026-11-20T07:00:00Z", true);
    assert_eq!(reason(judge(&copy, None, CLEAN, &[chain])), "MasterIsStandby");
}

#[test]
fn d04_nothing_that_writes_may_refer_to_a_copy_until_it_is_active() {
    let mut copy = StandbyClaim::new(&standby("copy", "sessions", ""), true);
    let aimed = |yaml: &str| without_backups(instance("x", yaml));
    let by_address = aimed("endpoint: {uri: \"mongodb://dr-0.east.svc:27017/?replicaSet=dr\"}");
    let recovery = "recovery: {serviceRef: {name: s}}";
    let by_secret = aimed(&format!(
        "bootstrap: {{{recovery}, existing: {{image: pbm, uriSecretRef: {{name: copy-account}}}}}}"
    ));
    let mut by_name = aimed(&format!("bootstrap: {{{recovery}}}"));
    by_name.metadata.name = Some("copy".to_owned());
    for instance in [&by_address, &by_secret, &by_name] {
        let told = not_a_standby(instance, std::slice::from_ref(&copy), "it takes no restore").unwrap_err();
        assert_eq!(told.reason, "StandbyInstance");
        for word in ["shop/copy", "follows sessions", "it takes no restore", "state: Active"] {
            assert!(told.message.contains(word), "{}", told.message);
        }
    }
    assert!(not_a_standby(&master(""), std::slice::from_ref(&copy), "").is_ok());
    copy.active = true;
    for instance in [&by_address, &by_secret, &by_name] {
        assert!(not_a_standby(instance, std::slice::from_ref(&copy), "").is_ok());
    }
}

#[test]
fn d04_an_address_is_what_it_reaches_not_how_it_is_written() {
    let one = hosts_of("mongodb://A,b.shop.svc:27018/?tls=true", "shop");
    assert_eq!(one.into_iter().collect::<Vec<_>>(), ["a.shop:27017", "b.shop:27018"]);
    assert_eq!(
        hosts_of("mongodb://a", "shop"),
        hosts_of("mongodb://a.shop.svc.cluster.local:27017/", "other")
    );
    assert_ne!(hosts_of("mongodb://a", "shop"), hosts_of("mongodb://a", "other"));
}
