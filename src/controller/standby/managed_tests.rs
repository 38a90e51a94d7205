use std::path::Path;

use super::*;
use crate::{controller::jobs::name_key, task::hash};

fn standby(change: &str) -> DisasterRecoveryInstance {
    serde_yaml_ng::from_str(&format!(
        "apiVersion: farshore.dev/v1alpha1
kind: DisasterRecoveryInstance
metadata: {{name: sessions-dr, namespace: shop, uid: \"4711\", generation: 1}}
spec:
  masterRef: {{name: sessions}}
  region: east
  target:
    managed:
      image: registry.example/mongo:7.0
      storage: 100Gi
      resources: {{limits: {{memory: 4Gi}}}}
      arguments: [--wiredTigerCacheSizeGB=2]
      {change}
"
    ))
    .unwrap()
}

fn made(standby: &DisasterRecoveryInstance, phase: &str) -> Managed {
    let status = serde_json::json!({"phase": phase, "conditions": [{
        "type": "Accepted", "status": "True", "reason": "Accepted", "message": "", "lastTransitionTime": "2026-11-21T08:00:00Z",
    }]});
    let options = Options { worker_image: "registry.example/farshore:1".to_owned(), ..Options::default() };
    managed(standby, &serde_json::from_value(status).unwrap(), &options).unwrap()
}

fn as_written_down(name: &str, made: &Managed) {
    let Managed { services, network_policy, budget, server } = made;
    let mut all: Vec<_> = services.iter().map(|service| serde_yaml_ng::to_string(service).unwrap()).collect();
    all.push(serde_yaml_ng::to_string(network_policy).unwrap());
    all.push(serde_yaml_ng::to_string(budget).unwrap());
    all.push(serde_yaml_ng::to_string(server).unwrap());
    let text = all.join("---\n");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/standby/{name}.yaml"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &text).unwrap();
    }
    let known = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(known == text, "{} is not what is made now: UPDATE_GOLDEN=1 cargo test --lib", path.display());
}

#[test]
fn d02_a_managed_target_is_as_written_down() {
    as_written_down("managed", &made(&standby(""), "Standby"));
    as_written_down("managed-active", &made(&standby("members: 5"), "Active"));
}

#[test]
fn d02_a_majority_of_members_is_never_taken_away() {
    for (members, least) in [(3, 2), (5, 3), (7, 4)] {
        let made = made(&standby(&format!("members: {members}")), "Standby");
        assert_eq!(made.server.spec.unwrap().replicas, Some(members));
        assert_eq!(made.budget.spec.unwrap().min_available, Some(IntOrString::Int(least)));
    }
}

#[test]
fn d04_nothing_leads_writers_to_a_copy_until_it_is_active() {
    let names = |made: &Managed| made.services.iter().map(ResourceExt::name_any).collect::<Vec<_>>();
    let copy = made(&standby(""), "Standby");
    assert_eq!(names(&copy), ["sessions-dr-members", "sessions-dr-ro"]);
    let text = serde_json::to_string(&copy.server).unwrap();
    assert!(text.contains("ttlMonitorEnabled=false"));
    assert!(copy.network_policy.spec.unwrap().ingress.unwrap()[0].from.is_some());
    let active = made(&standby(""), "Active");
    assert_eq!(names(&active), ["sessions-dr-members", "sessions-dr-ro", "sessions-dr"]);
    let text = serde_json::to_string(&active.server).unwrap();
    assert!(!text.contains("ttlMonitorEnabled"));
    assert!(active.network_policy.spec.unwrap().ingress.unwrap()[0].from.is_none());
}

#[test]
fn d03_what_serves_users_goes_neither_with_its_instance_nor_for_a_restart() {
    let copy = made(&standby(""), "Standby").server;
    assert_eq!(copy.metadata.owner_references.as_ref().unwrap()[0].uid, "4711");
    let active = made(&standby(""), "Active").server;
    assert!(active.metadata.owner_references.is_none());
    let spec = active.spec.unwrap();
    assert_eq!(spec.update_strategy.unwrap().type_.as_deref(), Some("OnDelete"));
    let kept = spec.persistent_volume_claim_retention_policy.unwrap();
    assert_eq!(kept.when_deleted.as_deref(), Some("Retain"));
}

#[test]
fn d02_nobody_gets_a_secret_mounted_by_the_name_of_his_instance() {
    let mut other = standby("");
    let names = |standby: &DisasterRecoveryInstance| {
        let text = serde_json::to_value(made(standby, "Standby").server).unwrap();
        let volumes = text["spec"]["template"]["spec"]["volumes"].as_array().unwrap().clone();
        volumes.iter().filter_map(|v| v["secret"]["secretName"].as_str().map(hash)).collect::<Vec<_>>()
    };
    let ours = names(&other);
    assert_eq!(ours.len(), 2);
    other.metadata.uid = Some("4712".to_owned());
    assert!(names(&other).iter().all(|name| !ours.contains(name)));
}

#[test]
fn d02_nothing_is_made_of_what_is_not_accepted_or_not_ours() {
    let nothing = DisasterRecoveryInstanceStatus::default();
    assert!(managed(&standby(""), &nothing, &Options::default()).is_none());
    assert_eq!(name_key::<DisasterRecoveryInstance>(), "farshore.dev/standby");
}
