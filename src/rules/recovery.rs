//! Whether an instance can be restored (`B08`).

use jiff::Timestamp;
use kube::ResourceExt;

use super::{
    StandbyClaim, not_a_standby,
    objection::{Objection, refused, waiting},
};
use crate::api::{
    BackupFormat, BackupSyncService, DatabaseInstance, DatabaseServer, Engine,
    condition::{ACCEPTED, is_true},
};

/// Names of `StatefulSets` end up in labels with ten characters more.
const LONGEST_NAME: usize = 52;

/// Applies every rule, in the order in which a person would fix what they find. The window is looked at as the
/// service last told it; the plan looks at the copy itself.
///
/// # Errors
/// What keeps the restore from beginning.
pub fn judge_recovery(
    instance: &DatabaseInstance,
    service: Option<&BackupSyncService>,
    source: Option<&DatabaseInstance>,
    standbys: &[StandbyClaim],
) -> Result<(), Objection> {
    let Some(bootstrap) = &instance.spec.bootstrap else { return Ok(()) };
    not_a_standby(instance, standbys, "nothing is restored into it")?;
    let name = instance.name_any();
    let wanted = &bootstrap.recovery.service_ref.name;
    if name.len() > LONGEST_NAME || name.contains('.') {
        return Err(refused(
            "InvalidName",
            format!(
                "instance {name}: the name of an instance that is made must have at most {LONGEST_NAME} characters and no dots; create it under another name"
            ),
        ));
    }
    let Some(service) = service else {
        return Err(waiting(
            "UnknownService",
            format!(
                "instance {name}: there is no BackupSyncService {wanted} in its namespace; create it, or create this instance anew with another spec.bootstrap.recovery.serviceRef"
            ),
        ));
    };
    let accepted = service.status.as_ref().is_some_and(|status| is_true(&status.conditions, ACCEPTED));
    if !accepted {
        return Err(waiting(
            "ServiceNotAccepted",
            format!(
                "instance {name}: BackupSyncService {wanted} is not accepted; see its condition Accepted"
            ),
        ));
    }
    let region = &service.spec.target.region;
    if instance.spec.region != *region {
        return Err(refused(
            "WrongRegion",
            format!(
                "instance {name}: its region is {}, but the copy of service {wanted} lies in {region}; set spec.region: {region}",
                instance.spec.region
            ),
        ));
    }
    if let Some(source) = source.filter(|source| source.spec.engine != instance.spec.engine) {
        return Err(refused(
            "WrongEngine",
            format!(
                "instance {name}: its engine is {:?}, but service {wanted} copies backups of {:?}; create it anew with that engine",
                instance.spec.engine, source.spec.engine
            ),
        ));
    }
    let by_agents = bootstrap.existing.is_some();
    let by_us = !bootstrap.recovery.plan_only && bootstrap.recovery.via.is_none() && !by_agents;
    let format = source.and_then(|source| source.spec.backups.as_ref()?.format);
    if let Some(format) = format.filter(|format| by_agents && *format != BackupFormat::PBM) {
        return Err(refused(
            "NotRestorable",
            format!(
                "instance {name}: spec.bootstrap.existing is for sets of Percona Backup for MongoDB, and service {wanted} copies {format:?}; create the instance anew with spec.bootstrap.instance"
            ),
        ));
    }
    if let Some(instead) = others_backups(format).filter(|_| by_us) {
        return Err(refused(
            "NotRestorable",
            format!("instance {name}: the backups of service {wanted} are {instead}"),
        ));
    }
    let server = bootstrap.instance.as_ref().map(|new| &new.server).filter(|_| by_us);
    if let Some(wrong) = server.and_then(|server| wrong_terms(instance.spec.engine, server)) {
        return Err(refused("TermsNotAccepted", format!("instance {name}: spec.bootstrap.instance.{wrong}")));
    }
    match &bootstrap.recovery.time_point {
        Some(moment) => within(&name, service, moment.0),
        None => Ok(()),
    }
}

/// What is wrong with the terms of a server of this engine, behind the name of its field: nobody is bound to a licence
/// that he did not agree to.
#[must_use]
pub fn wrong_terms(engine: Engine, server: &DatabaseServer) -> Option<&'static str> {
    match (engine, &server.sql_server) {
        (Engine::SQLServer, Some(terms)) if terms.accept_eula => None,
        (Engine::SQLServer, _) => Some(
            "sqlServer must say acceptEula: true, that you accept Microsoft's terms, and which edition you have",
        ),
        (_, Some(_)) => Some("sqlServer is of engine SQLServer alone; leave it out"),
        (_, None) => None,
    }
}

/// Whose backups these are, and what to do, where only another tool restores them. Where the source does not say its
/// format, or is gone, the restore itself refuses them at its beginning.
fn others_backups(format: Option<BackupFormat>) -> Option<&'static str> {
    matches!(format, Some(BackupFormat::PBM)).then_some(
        "of Percona Backup for MongoDB, whose agents restore them: create the instance anew with spec.bootstrap.existing, with spec.bootstrap.recovery.via, or with planOnly: true to see what would be read",
    )
}

fn within(name: &str, service: &BackupSyncService, moment: Timestamp) -> Result<(), Objection> {
    let windows =
        service.status.as_ref().map(|status| status.recovery_windows.as_slice()).unwrap_or_default();
    if windows.iter().any(|window| window.from.0 <= moment && moment <= window.to.0) {
        return Ok(());
    }
    let spelled: Vec<_> =
        windows.iter().map(|window| format!("{} to {}", window.from.0, window.to.0)).collect();
    let before = windows.iter().map(|window| window.to.0).filter(|to| *to < moment).max();
    let after = windows.iter().map(|window| window.from.0).filter(|from| *from > moment).min();
    let near: Vec<_> = [before, after].into_iter().flatten().map(|near| near.to_string()).collect();
    let text = if spelled.is_empty() {
        "which holds nothing that can be restored yet".to_owned()
    } else {
        format!("whose windows are {}; nearest: {}", spelled.join(", "), near.join(" and "))
    };
    Err(refused(
        "OutsideWindow",
        format!(
            "instance {name}: {moment} can't be restored from service {}, {text}; create the instance anew with a moment within, or without timePoint for the latest",
            service.name_any()
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::{super::fixtures, *};
    use crate::api::BackupSyncServiceStatus;

    fn restored(engine: &str, more: &str) -> DatabaseInstance {
        serde_yaml_ng::from_str(&format!(
            "apiVersion: farshore.dev/v1alpha1
kind: DatabaseInstance
metadata: {{name: restored, namespace: shop}}
spec:
  engine: {engine}
  region: east
  bootstrap:
    recovery: {{serviceRef: {{name: copy}}{more}}}
    instance: {{image: registry.example/database, storage: 1Gi, adminSecretRef: {{name: admin}}}}
"
        ))
        .unwrap()
    }

    #[test]
    fn b08_a_cluster_that_is_there_already_is_for_sets_of_percona_backup_only() {
        let mut service = fixtures::service("copy", "sessions", "east");
        let accepted = serde_json::json!({"conditions": [{
            "type": ACCEPTED, "status": "True", "reason": "Accepted", "message": "",
            "lastTransitionTime": "2026-11-21T00:00:00Z",
        }]});
        service.status = Some(serde_json::from_value::<BackupSyncServiceStatus>(accepted).unwrap());
        let mut instance = restored("MongoDB", "");
        let bootstrap = instance.spec.bootstrap.as_mut().unwrap();
        bootstrap.instance = None;
        let cluster = serde_json::json!({"image": "i", "uriSecretRef": {"name": "agents"}});
        bootstrap.existing = Some(serde_json::from_value(cluster).unwrap());
        let mut source = fixtures::instance("sessions", "");
        source.spec.engine = Engine::MongoDB;
        for (format, words) in [
            (Some(BackupFormat::PBM), None),
            (None, None),
            (Some(BackupFormat::WALG), Some("service copy copies WALG")),
        ] {
            source.spec.backups.as_mut().unwrap().format = format;
            let told =
                judge_recovery(&instance, Some(&service), Some(&source), &[]).map_err(|told| told.message);
            assert_eq!(told.is_err(), words.is_some(), "{format:?}: {told:?}");
            assert!(words.is_none_or(|words| told.unwrap_err().contains(words)));
        }
    }

    /// Told before anything is made, not by a worker on a volume of its own.
    #[test]
    fn b08_an_engine_whose_servers_are_not_made_here_is_refused_with_what_to_do() {
        let mut service = fixtures::service("copy", "orders", "east");
        let accepted = serde_json::json!({"conditions": [{
            "type": ACCEPTED, "status": "True", "reason": "Accepted", "message": "",
            "lastTransitionTime": "2026-11-21T00:00:00Z",
        }]});
        service.status = Some(serde_json::from_value::<BackupSyncServiceStatus>(accepted).unwrap());
        let judged = |engine: &str, more: &str| {
            judge_recovery(&restored(engine, more), Some(&service), None, &[])
                .map_err(|objection| objection.message)
        };
        let via = ", via: {operator: PerconaServerMongoDB, clusterRef: {name: sessions}}";
        for (engine, more) in [
            ("MySQL", ""),
            ("PostgreSQL", ""),
            ("SQLServer", ", planOnly: true"),
            ("MongoDB", ""),
            ("MongoDB", via),
        ] {
            assert_eq!(judged(engine, more), Ok(()), "{engine} {more}");
        }
        let message = judged("SQLServer", "").unwrap_err();
        let words = "spec.bootstrap.instance.sqlServer must say acceptEula: true";
        assert!(message.contains("instance restored") && message.contains(words), "{message}");
    }

    #[test]
    fn b08_percona_backups_of_a_mongodb_are_left_to_percona() {
        let mut service = fixtures::service("copy", "sessions", "east");
        let accepted = serde_json::json!({"conditions": [{
            "type": ACCEPTED, "status": "True", "reason": "Accepted", "message": "",
            "lastTransitionTime": "2026-11-21T00:00:00Z",
        }]});
        service.status = Some(serde_json::from_value::<BackupSyncServiceStatus>(accepted).unwrap());
        let mut source = fixtures::instance("sessions", "");
        source.spec.engine = Engine::MongoDB;
        let via = ", via: {operator: PerconaServerMongoDB, clusterRef: {name: sessions}}";
        for (format, more, refused) in [
            (Some(BackupFormat::WALG), "", false),
            (None, "", false),
            (Some(BackupFormat::PBM), "", true),
            (Some(BackupFormat::PBM), via, false),
            (Some(BackupFormat::PBM), ", planOnly: true", false),
        ] {
            source.spec.backups.as_mut().unwrap().format = format;
            let judged = judge_recovery(&restored("MongoDB", more), Some(&service), Some(&source), &[]);
            let told = judged.map_err(|objection| objection.message);
            assert_eq!(told.is_err(), refused, "{format:?} {more}: {told:?}");
            assert!(!refused || told.unwrap_err().contains("spec.bootstrap.recovery.via"));
        }
    }
}
