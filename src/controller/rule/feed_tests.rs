use super::*;
use crate::api::{BucketReplicationRuleStatus, FailureSide};

fn rule(more: &str) -> BucketReplicationRule {
    serde_yaml_ng::from_str(&format!(
        "apiVersion: farshore.dev/v1alpha1
kind: BucketReplicationRule
metadata: {{name: photos, namespace: shop, uid: uid-of-photos}}
spec:
  source: {{region: north, bucket: photos, credentials: {{secretRef: {{name: source-keys}}}}}}
  target: {{region: east, bucket: photos-copy, credentials: {{secretRef: {{name: target-keys}}}}}}
  {more}
"
    ))
    .unwrap()
}

const WEBHOOK: &str = "{feed: Webhook, webhook: {tokenSecretRef: {name: hook}}}";

fn with(feed: &str) -> BucketReplicationRule {
    let mut rule = rule("");
    let given: serde_json::Value = serde_yaml_ng::from_str(feed).unwrap();
    let mut spec = serde_json::to_value(&rule.spec).unwrap();
    for (key, value) in given.as_object().unwrap() {
        spec[key] = value.clone();
    }
    rule.spec = serde_json::from_value(spec).unwrap();
    rule
}

fn told_of(mut rule: BucketReplicationRule, endpoint: Option<&str>) -> BucketReplicationRule {
    let feed = FeedInUse {
        kind: "Webhook".into(),
        why: "it was asked for".into(),
        endpoint: endpoint.map(Into::into),
    };
    rule.status =
        Some(BucketReplicationRuleStatus { feed: Some(feed), ..BucketReplicationRuleStatus::default() });
    rule
}

#[test]
fn c16_the_way_in_leads_to_the_workers_of_this_rule_and_lets_in_only_its_port_and_the_probes() {
    let Wanted::Open(receiver) = receiver(&with(WEBHOOK)) else { panic!("no way in") };
    let Receiver { service, network_policy } = *receiver;
    for owners in [service.owner_references(), network_policy.owner_references()] {
        assert!(owners.iter().any(|owner| owner.uid == "uid-of-photos" && owner.controller == Some(true)));
    }
    let service = service.spec.unwrap();
    let selector = service.selector.unwrap();
    assert_eq!(selector["farshore.dev/rule-uid"], "uid-of-photos");
    assert_eq!(selector["farshore.dev/work"], "replicate", "not the pods of a migration");
    assert_eq!(service.type_, None, "a user may make it a LoadBalancer");
    let policy = network_policy.spec.unwrap();
    assert_eq!(policy.pod_selector.unwrap().match_labels, Some(selector));
    assert_eq!(policy.policy_types, Some(vec!["Ingress".to_owned()]));
    let ports = policy.ingress.unwrap().into_iter().flat_map(|rule| rule.ports.unwrap());
    let ports: Vec<_> = ports.filter_map(|port| port.port).collect();
    assert_eq!(ports, [IntOrString::Int(8082), IntOrString::Int(8081)]);
}

#[test]
fn c16_the_address_stays_with_a_rule_that_is_written_anew_and_is_another_for_another_rule() {
    let photos = with(WEBHOOK);
    let mut anew = photos.clone();
    anew.metadata.uid = Some("another".into());
    assert_eq!(endpoint(&photos), endpoint(&anew));
    let mut films = photos.clone();
    films.metadata.name = Some("photos.films".into());
    assert_ne!(endpoint(&photos), endpoint(&films));
    let mut long = photos.clone();
    long.metadata.name = Some("x".repeat(253));
    assert!(name(&long).len() <= 63);
    let shown = in_use(&photos, None, None).unwrap();
    assert_eq!(shown.kind, "Webhook", "before the worker has told anything");
    let url = url::Url::parse(&shown.endpoint.unwrap()).unwrap();
    assert!(url.host_str().unwrap().ends_with(".shop.svc") && url.port() == Some(8082), "{url}");
}

#[test]
fn c16_a_way_in_is_closed_once_nobody_asks_for_it_and_only_if_there_was_one() {
    let there = Some("http://farshore-photos.shop.svc:8082/");
    assert!(
        matches!(receiver(&told_of(rule("feed: Poll"), there)), Wanted::Closed(name) if name == super::name(&rule("")))
    );
    assert!(matches!(receiver(&told_of(rule("feed: Poll"), None)), Wanted::AsIs));
    assert!(matches!(receiver(&rule("")), Wanted::AsIs));
    assert!(matches!(closed(&told_of(with(WEBHOOK), there)), Wanted::Closed(_)), "not accepted any more");
    let found = FeedStatus { kind: "Poll".into(), why: "it was asked for".into() };
    let old = told_of(rule("feed: Poll"), there).status.unwrap().feed;
    let shown = in_use(&rule("feed: Poll"), Some(&found), old.as_ref()).unwrap();
    assert_eq!((shown.kind.as_str(), shown.endpoint), ("Poll", None));
}

#[test]
fn c16_what_a_feed_lacks_is_told_with_the_name_of_its_secret() {
    let lacking = |reason: &str| Trouble {
        side: Some(FailureSide::Source),
        reason: reason.into(),
        message: "no".into(),
        permanent: true,
    };
    let queue = "{feed: SQS, sqs: {queueURL: 'https://sqs.example/1/changes'}}";
    let own = "{feed: SQS, sqs: {queueURL: 'https://sqs.example/1/changes', credentials: {secretRef: {name: queue-keys}}}}";
    for (feed, reason, secret) in [
        (WEBHOOK, "TokenMissing", Some("hook")),
        (queue, "QueueRefused", Some("source-keys")),
        (own, "QueueRefused", Some("queue-keys")),
        (own, "StoreUnreachable", None),
    ] {
        let told = named(&with(feed), lacking(reason)).message;
        match secret {
            Some(secret) => assert!(told.ends_with(&format!(" in Secret {secret}")), "{told}"),
            None => assert_eq!(told, "no"),
        }
    }
}
