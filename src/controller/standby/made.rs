//! What is made of a copy that is active, and what is told when an instance is deleted.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;

use super::target::target;
use crate::{
    api::{
        ActivationStatus, Credentials, DatabaseInstance, DatabaseInstanceSpec, DeclaredState,
        DisasterRecoveryInstance, Engine, InstanceEndpoint, LocalReference,
    },
    controller::{
        context::uid_of,
        events::Announcement,
        jobs::{name_key, uid_key},
        work::standing::about,
    },
    rules::is_active,
};

/// The `DatabaseInstance` that an active copy is for backups and for copies of its own. It has no owner: the data is
/// served whether this resource is there or not, and what refers to the instance must not go with it.
#[must_use]
pub fn instance(standby: &DisasterRecoveryInstance, version: Option<String>) -> DatabaseInstance {
    let target = target(standby);
    let credentials = target.secret.map(|name| Credentials { secret_ref: LocalReference { name } });
    let spec = DatabaseInstanceSpec {
        engine: Engine::MongoDB,
        version,
        region: standby.spec.region.clone(),
        declared_state: DeclaredState::Running,
        billing: standby.spec.billing.clone(),
        endpoint: Some(InstanceEndpoint { uri: target.uri, credentials }),
        backups: None,
        bootstrap: None,
    };
    let mut instance = DatabaseInstance::new(&standby.name_any(), spec);
    let note = |key: String, value: String| BTreeMap::from([(key, value)]);
    let mut labels = note(uid_key::<DisasterRecoveryInstance>(), uid_of(standby));
    labels.insert("app.kubernetes.io/managed-by".to_owned(), "farshore".to_owned());
    instance.metadata = ObjectMeta {
        namespace: standby.namespace(),
        labels: Some(labels),
        annotations: Some(note(name_key::<DisasterRecoveryInstance>(), standby.name_any())),
        ..instance.metadata
    };
    instance
}

/// True for the instance that was made of this copy.
#[must_use]
pub fn is_made_of(instance: &DatabaseInstance, standby: &DisasterRecoveryInstance) -> bool {
    instance.labels().get(&uid_key::<DisasterRecoveryInstance>()) == Some(&uid_of(standby))
}

/// The receipt, as an Event (`D12`).
#[must_use]
pub fn receipt(standby: &DisasterRecoveryInstance, done: &ActivationStatus) -> Option<Announcement> {
    let (at, data) = (done.activated_at?, done.data_time_point?);
    let loss = done.data_loss.as_ref();
    let proved = loss.is_some_and(|loss| loss.proved);
    let at_least = loss.and_then(|loss| loss.at_least.as_deref());
    let in_words = match (proved, at_least, done.master_time) {
        (true, _, _) => {
            "nothing was lost: the master was kept from writing, and its last change is here".to_owned()
        }
        (false, Some(time), Some(master)) => format!(
            "at least {time} were lost: the newest moment of the master that is known of is {master}, and nobody can tell what came after it"
        ),
        _ => "how much was lost can't be told: the master was never heard after that".to_owned(),
    };
    let took = done.duration.as_deref().unwrap_or_default();
    let note = format!(
        "{}: active since {at}, after {took}; every change of the master up to {data} is here, and none after it; {in_words}",
        about(standby)
    );
    Some(if proved {
        Announcement::normal("Activated", note)
    } else {
        Announcement::warning("Activated", note)
    })
}

/// What is told of an instance that is gone, as long as its target was closed to writers (`D04`).
#[must_use]
pub fn farewell(standby: &DisasterRecoveryInstance) -> Option<Announcement> {
    let begun = standby.status.as_ref().is_some_and(|status| status.observed.is_some());
    let existing = standby.spec.target.existing.as_ref().filter(|_| begun && !is_active(standby))?;
    let note = format!(
        "{}: deleted; its replica set {} keeps what was copied, and stays closed to writers. To use it, run there as administrator: db.adminCommand({{setUserWriteBlockMode: 1, global: false}}), db.adminCommand({{setParameter: 1, ttlMonitorEnabled: true}}) on every member, give accounts their roles back, which are written down in farshore.accounts, and then drop the database farshore",
        about(standby),
        existing.uri
    );
    Some(Announcement::normal("TargetLeft", note))
}
