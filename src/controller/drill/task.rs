//! What the worker of a drill is told, and what it runs in.

use k8s_openapi::{
    api::{
        core::v1::{EphemeralVolumeSource, PersistentVolumeClaimTemplate, Volume},
        networking::v1::{NetworkPolicy, NetworkPolicySpec},
    },
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};
use kube::ResourceExt;

use crate::{
    api::{BackupSyncService, DatabaseInstance, Engine, RecoveryDrill, Region},
    controller::{
        context::uid_of,
        names,
        work::{
            beside::{Beside, claim_spec, server_id},
            children::{self, metadata, selector},
            task::{decryption_keys, location, target_keys, task},
        },
    },
    task::{RestoreTask, Task, Work},
};

/// Restores one moment, and asks.
#[must_use]
pub fn restore(
    drill: &RecoveryDrill,
    (service, source, region): (&BackupSyncService, &DatabaseInstance, &Region),
    (number, moment): (u32, Option<jiff::Timestamp>),
) -> Task {
    let work = RestoreTask {
        target: location(region, &service.spec.target.bucket, &service.spec.target.prefix),
        attempt: number,
        engine: source.spec.engine,
        time_point: moment,
        hold: true,
        arguments: drill.spec.instance.arguments.clone(),
        server_id: server_id(&uid_of(drill)),
        checks: drill.spec.checks.iter().map(|check| check.query.clone()).collect(),
        check_tables: drill.spec.check_tables,
        decryption: drill.spec.decryption.as_ref().map(|decryption| decryption.secret_ref.name.clone()),
        sql_server: drill.spec.instance.sql_server.clone(),
        existing: None,
    };
    task(drill, Work::Restore(Box::new(work)))
}

/// How a drill is carried out: on a volume that goes with its pod.
#[must_use]
pub fn work(drill: &RecoveryDrill, service: &BackupSyncService, engine: Engine) -> children::Work {
    let claim = PersistentVolumeClaimTemplate { spec: claim_spec(&drill.spec.instance), metadata: None };
    let volume = EphemeralVolumeSource { volume_claim_template: Some(claim) };
    let place = Volume { ephemeral: Some(volume), ..Volume::default() };
    let decryption = decryption_keys(drill.spec.decryption.as_ref());
    children::Work {
        role: "restore",
        shift: None,
        reports: true,
        keys: std::iter::once(target_keys(service)).chain(decryption).collect(),
        paper: None,
        parts: None,
        database: Some(Beside::new(engine, &drill.spec.instance, place)),
        settings: service.spec.worker.clone(),
    }
}

/// Nobody reaches a throw-away instance.
#[must_use]
pub fn closed(drill: &RecoveryDrill) -> NetworkPolicy {
    let name = names::cut("farshore-", &drill.name_any(), &names::hash_of(&[&uid_of(drill)]));
    NetworkPolicy {
        metadata: metadata(drill, name, "restore"),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(LabelSelector {
                match_labels: Some(selector(drill, "restore")),
                ..LabelSelector::default()
            }),
            policy_types: Some(vec!["Ingress".to_owned()]),
            ..NetworkPolicySpec::default()
        }),
    }
}
