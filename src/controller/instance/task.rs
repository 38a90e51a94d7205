//! What the worker of a restore is told.

use k8s_openapi::api::core::v1::{EmptyDirVolumeSource, PersistentVolumeClaimVolumeSource, Volume};

use super::database::{claim_name, itself};
use crate::{
    api::{BackupSyncService, DatabaseInstance, Decryption, Engine, ExistingCluster, NewInstance, Region},
    controller::{
        context::uid_of,
        work::{
            beside::{Beside, server_id},
            children::{self, Keys},
            task::{decryption_keys, location, target_keys, task},
        },
    },
    task::{ADMIN_CREDENTIALS_DIR, ExistingTask, INSTANCE_CREDENTIALS_DIR, RestoreTask, Task, Work},
};

/// Works out what a restore reads.
#[must_use]
pub fn plan(instance: &DatabaseInstance, copy: (&BackupSyncService, &Region), attempt: u32) -> Task {
    let work = RestoreTask { attempt, ..restore_task(instance, copy) };
    task(instance, Work::Plan(Box::new(work)))
}

/// Restores to the moment of a plan.
#[must_use]
pub fn restore(
    instance: &DatabaseInstance,
    copy: (&BackupSyncService, &Region),
    (attempt, moment): (u32, jiff::Timestamp),
) -> Task {
    let work = RestoreTask { attempt, time_point: Some(moment), hold: true, ..restore_task(instance, copy) };
    task(instance, Work::Restore(Box::new(work)))
}

/// Holds what the moment of a plan needs, for somebody else who restores.
#[must_use]
pub fn hold(
    instance: &DatabaseInstance,
    copy: (&BackupSyncService, &Region),
    (attempt, moment): (u32, jiff::Timestamp),
) -> Task {
    let work = RestoreTask { attempt, time_point: Some(moment), hold: true, ..restore_task(instance, copy) };
    task(instance, Work::Plan(Box::new(work)))
}

fn restore_task(
    instance: &DatabaseInstance,
    (service, region): (&BackupSyncService, &Region),
) -> RestoreTask {
    let bootstrap = instance.spec.bootstrap.as_ref();
    let recovery = bootstrap.map(|bootstrap| &bootstrap.recovery);
    let new = bootstrap.and_then(|bootstrap| bootstrap.instance.as_ref());
    RestoreTask {
        target: location(region, &service.spec.target.bucket, &service.spec.target.prefix),
        engine: instance.spec.engine,
        attempt: 1,
        time_point: recovery.and_then(|recovery| recovery.time_point.as_ref()).map(|moment| moment.0),
        hold: recovery.is_some_and(|recovery| !recovery.plan_only),
        arguments: new.map(|new| new.server.arguments.clone()).unwrap_or_default(),
        server_id: server_id(&uid_of(instance)),
        checks: Vec::new(),
        check_tables: false,
        decryption: decryption(instance).map(|decryption| decryption.secret_ref.name.clone()),
        sql_server: new.and_then(|new| new.server.sql_server.clone()),
        existing: bootstrap
            .and_then(|bootstrap| bootstrap.existing.as_ref())
            .map(|cluster| ExistingTask { renamed: cluster.renamed.clone() }),
    }
}

fn decryption(instance: &DatabaseInstance) -> Option<&Decryption> {
    instance.spec.bootstrap.as_ref()?.recovery.decryption.as_ref()
}

/// How a plan is made.
#[must_use]
pub fn plan_work(service: &BackupSyncService) -> children::Work {
    children::Work {
        role: "plan",
        shift: None,
        reports: true,
        keys: vec![target_keys(service)],
        paper: None,
        parts: None,
        database: None,
        settings: service.spec.worker.clone(),
    }
}

/// How a restore is carried out.
#[must_use]
pub fn restore_work(
    instance: &DatabaseInstance,
    service: &BackupSyncService,
    new: &NewInstance,
) -> children::Work {
    let admin = Keys {
        volume: "admin",
        directory: ADMIN_CREDENTIALS_DIR,
        secret: new.admin_secret_ref.name.clone(),
        optional: false,
    };
    let claim = PersistentVolumeClaimVolumeSource {
        claim_name: claim_name(instance),
        ..PersistentVolumeClaimVolumeSource::default()
    };
    let place = Volume { persistent_volume_claim: Some(claim), ..Volume::default() };
    children::Work {
        role: "restore",
        keys: [target_keys(service), admin]
            .into_iter()
            .chain(decryption_keys(decryption(instance)))
            .collect(),
        database: Some(Beside {
            itself: itself(instance),
            ..Beside::new(instance.spec.engine, &new.server, place)
        }),
        ..plan_work(service)
    }
}

/// How a cluster that is there already is restored into: with no volume but an empty one, and once. Another pod would
/// replace what its users wrote since.
#[must_use]
pub fn existing_work(service: &BackupSyncService, cluster: &ExistingCluster) -> children::Work {
    let address = Keys {
        volume: "cluster",
        directory: INSTANCE_CREDENTIALS_DIR,
        secret: cluster.uri_secret_ref.name.clone(),
        optional: false,
    };
    let place = Volume { empty_dir: Some(EmptyDirVolumeSource::default()), ..Volume::default() };
    children::Work {
        role: "restore",
        keys: vec![target_keys(service), address],
        database: Some(Beside { once: true, ..Beside::new(Engine::MongoDB, &cluster.pod(), place) }),
        ..plan_work(service)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        api::RecoveryDrill,
        controller::{Options, drill, work::pod::pod_spec},
        task::DECRYPTION_DIR,
    };

    fn of<K: serde::de::DeserializeOwned>(kind: &str, spec: &str) -> K {
        let text = format!(
            "apiVersion: farshore.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: orders, namespace: shop, uid: u}}\nspec: {spec}\n"
        );
        serde_yaml_ng::from_str(&text).unwrap()
    }

    /// Secrets that a pod mounts, and where.
    fn mounted<K: crate::api::Served>(owner: &K, work: &children::Work) -> Vec<(String, String, bool)> {
        let run = children::Run { config_map: "task", service_account: "worker", task: "hash", id: "run" };
        let pod = pod_spec(owner, work, &run, &Options::default());
        let mounts = pod.containers[0].volume_mounts.clone().unwrap();
        let secrets = pod.volumes.unwrap().into_iter().filter_map(|v| Some((v.name, v.secret?.secret_name?)));
        let at = |volume: &str| mounts.iter().find(|mount| mount.name == volume).unwrap();
        secrets
            .map(|(volume, secret)| {
                (secret, at(&volume).mount_path.clone(), at(&volume).read_only == Some(true))
            })
            .collect()
    }

    #[test]
    fn b14_the_key_of_encrypted_backups_is_a_file_of_the_pod_that_restores_and_of_no_other() {
        let service: BackupSyncService = of(
            "BackupSyncService",
            "{instanceRef: {name: orders}, target: {region: east, bucket: b, credentials: {secretRef: {name: copy}}}}",
        );
        let region: Region =
            of("Region", "{objectStore: {endpoint: 'https://s3.east', signingRegion: east}}");
        let instance = |key: &str| -> DatabaseInstance {
            of(
                "DatabaseInstance",
                &format!(
                    "{{engine: PostgreSQL, region: east, bootstrap: {{recovery: {{serviceRef: {{name: s}}{key}}}, instance: {{image: i, storage: 1Gi, adminSecretRef: {{name: admin}}}}}}}}"
                ),
            )
        };
        let key = ", decryption: {secretRef: {name: key}}";
        let expected = ("key".to_owned(), DECRYPTION_DIR.to_owned(), true);
        let locked = instance(key);
        let new = locked.spec.bootstrap.as_ref().and_then(|b| b.instance.clone()).unwrap();
        assert!(mounted(&locked, &restore_work(&locked, &service, &new)).contains(&expected));
        assert_eq!(mounted(&locked, &plan_work(&service)).len(), 1, "a plan needs no key");
        assert_eq!(mounted(&instance(""), &restore_work(&instance(""), &service, &new)).len(), 2);
        // Both are told of it: a plan says at once that a key is missing.
        for (instance, told) in [(&locked, true), (&instance(""), false)] {
            for task in [
                plan(instance, (&service, &region), 1),
                restore(instance, (&service, &region), (1, jiff::Timestamp::UNIX_EPOCH)),
            ] {
                assert_eq!(task.to_text().unwrap().contains("\"decryption\": \"key\""), told);
            }
        }
        let nightly: RecoveryDrill = of(
            "RecoveryDrill",
            &format!(
                "{{serviceRef: {{name: s}}, schedule: '0 3 * * *', instance: {{image: i, storage: 1Gi}}{key}}}"
            ),
        );
        assert!(
            mounted(&nightly, &drill::task::work(&nightly, &service, locked.spec.engine)).contains(&expected)
        );
        let asked = drill::task::restore(&nightly, (&service, &locked, &region), (1, None));
        assert!(asked.to_text().unwrap().contains("\"decryption\": \"key\""));
    }
}
