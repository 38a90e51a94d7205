//! Who is looked at when something has changed.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Namespace, ObjectReference};
use kube::{Resource, ResourceExt, core::PartialObjectMeta, runtime::reflector::ObjectRef};
use tokio::sync::mpsc;

use super::{
    Context,
    context::uid_of,
    events::Announcement,
    jobs::name_key,
    standby,
    watch::{Seen, Watched},
    work::standing::is_accepted,
};
use crate::api::{
    BackupSyncService, BucketReplicationRule, DatabaseInstance, DisasterRecoveryInstance, InstancePhase,
    RecoveryDrill, Region, ReplicationEnd,
};

async fn send<K: Watched>(queue: &mpsc::Sender<ObjectRef<K>>, object: ObjectRef<K>) {
    // Closed only when the process ends.
    drop(queue.send(object).await);
}

async fn send_services(context: &Context, concerned: impl Fn(&BackupSyncService) -> bool) {
    for service in context.caches.services.state() {
        if concerned(&service) {
            send(&context.queues.services, ObjectRef::from_obj(service.as_ref())).await;
        }
    }
}

async fn send_rules(context: &Context, concerned: impl Fn(&BucketReplicationRule) -> bool) {
    for rule in context.caches.rules.state() {
        if concerned(&rule) {
            send(&context.queues.rules, ObjectRef::from_obj(rule.as_ref())).await;
        }
    }
}

async fn send_standbys(context: &Context, concerned: impl Fn(&DisasterRecoveryInstance) -> bool) {
    for standby in context.caches.standbys.state() {
        if concerned(&standby) {
            send(&context.queues.standbys, ObjectRef::from_obj(standby.as_ref())).await;
        }
    }
}

/// The object if it is there or gone; one that can't be read is told of, once a text.
async fn readable<K: Watched>(context: &Context, seen: Seen<K>) -> Option<K> {
    match seen {
        Seen::There(object) => Some(object),
        Seen::Gone(object) => {
            context.forget(&uid_of(&object));
            Some(object)
        }
        Seen::Malformed { object, uid, error } => {
            if context.is_news(&uid, "malformed", &error) {
                let about = ObjectReference {
                    api_version: Some(K::api_version(&()).into_owned()),
                    kind: Some(K::kind(&()).into_owned()),
                    namespace: object.namespace.clone(),
                    name: Some(object.name.clone()),
                    uid: Some(uid),
                    ..ObjectReference::default()
                };
                let note = format!(
                    "{} can't be read and is left as it was: {error}; correct it and apply it again",
                    object.name
                );
                context.recorder.announce(&about, &Announcement::warning("Malformed", note)).await;
            }
            None
        }
    }
}

pub async fn region_seen(context: Arc<Context>, seen: Seen<Region>) {
    let Some(region) = readable(&context, seen).await else { return };
    let name = region.name_any();
    send(&context.queues.regions, ObjectRef::from_obj(&region)).await;
    for instance in context.caches.instances.state() {
        if instance.spec.region == name {
            send(&context.queues.instances, ObjectRef::from_obj(instance.as_ref())).await;
        }
    }
    send_services(&context, |service| {
        let namespace = service.namespace().unwrap_or_default();
        let source = || {
            context
                .instance(&namespace, &service.spec.instance_ref.name)
                .is_some_and(|i| i.spec.region == name)
        };
        service.spec.target.region == name || source()
    })
    .await;
    send_rules(&context, |rule| [&rule.spec.source, &rule.spec.target].iter().any(|end| end.region == name))
        .await;
    // The quota is that of the master's region.
    send_standbys(&context, |standby| standby.spec.region == name || !is_accepted(standby)).await;
}

pub async fn instance_seen(context: Arc<Context>, seen: Seen<DatabaseInstance>) {
    let Some(instance) = readable(&context, seen).await else { return };
    send(&context.queues.instances, ObjectRef::from_obj(&instance)).await;
    // Its region may not have been asked before somebody needed it.
    send(&context.queues.regions, ObjectRef::new(&instance.spec.region)).await;
    send_services(&context, |service| {
        service.namespace() == instance.namespace() && service.spec.instance_ref.name == instance.name_any()
    })
    .await;
    send_standbys(&context, |standby| {
        let name = instance.name_any();
        standby.namespace() == instance.namespace()
            && (standby.spec.master_ref.name == name || standby.name_any() == name)
    })
    .await;
}

pub async fn service_seen(context: Arc<Context>, seen: Seen<BackupSyncService>) {
    let gone = matches!(seen, Seen::Gone(_));
    let Some(service) = readable(&context, seen).await else { return };
    if !gone {
        send(&context.queues.services, ObjectRef::from_obj(&service)).await;
    }
    let instance =
        ObjectRef::new(&service.spec.instance_ref.name).within(&service.namespace().unwrap_or_default());
    send(&context.queues.instances, instance).await;
    send_waiting(&context, &service).await;
    if gone {
        // Whoever was refused for its sake may be accepted now.
        send_services(&context, |other| !is_accepted(other)).await;
    }
}

/// Instances that wait to be restored from a service's copy.
async fn send_waiting(context: &Context, service: &BackupSyncService) {
    for instance in context.caches.instances.state() {
        let from = instance.spec.bootstrap.as_ref().map(|bootstrap| &bootstrap.recovery.service_ref.name);
        let pending = instance.status.as_ref().is_none_or(|s| s.phase == Some(InstancePhase::Pending));
        if pending && from == Some(&service.name_any()) && instance.namespace() == service.namespace() {
            send(&context.queues.instances, ObjectRef::from_obj(instance.as_ref())).await;
        }
    }
}

pub async fn rule_seen(context: Arc<Context>, seen: Seen<BucketReplicationRule>) {
    let gone = matches!(seen, Seen::Gone(_));
    let Some(rule) = readable(&context, seen).await else { return };
    // Its regions may not have been asked before somebody needed them.
    for end in [&rule.spec.source, &rule.spec.target] {
        send(&context.queues.regions, ObjectRef::new(&end.region)).await;
    }
    if gone {
        // Whoever was refused for its sake may be accepted now.
        send_rules(&context, |other| !is_accepted(other)).await;
    } else {
        send(&context.queues.rules, ObjectRef::from_obj(&rule)).await;
        // A rule that goes the other way must know of it.
        let ends = |end: &ReplicationEnd| (end.region.clone(), end.bucket.clone());
        let (source, target) = (ends(&rule.spec.source), ends(&rule.spec.target));
        send_rules(&context, |other| {
            ends(&other.spec.source) == target && ends(&other.spec.target) == source
        })
        .await;
    }
}

pub async fn drill_seen(context: Arc<Context>, seen: Seen<RecoveryDrill>) {
    let Some(drill) = readable(&context, seen).await else { return };
    send(&context.queues.drills, ObjectRef::from_obj(&drill)).await;
    // Its service says when it was last proved.
    let namespace = drill.namespace().unwrap_or_default();
    send(&context.queues.services, ObjectRef::new(&drill.spec.service_ref.name).within(&namespace)).await;
}

pub async fn standby_seen(context: Arc<Context>, seen: Seen<DisasterRecoveryInstance>) {
    let gone = matches!(seen, Seen::Gone(_));
    let Some(standby) = readable(&context, seen).await else { return };
    let namespace = standby.namespace().unwrap_or_default();
    if gone {
        if let Some(farewell) = standby::farewell(&standby) {
            context.recorder.announce(&standby.object_ref(&()), &farewell).await;
        }
        // Whoever was refused for its sake may be accepted now.
        send_standbys(&context, |other| !is_accepted(other)).await;
        send_services(&context, |service| !is_accepted(service)).await;
        return;
    }
    send(&context.queues.standbys, ObjectRef::from_obj(&standby)).await;
    // An instance of the same name waits for it to be active, or stops being one of its own.
    send(&context.queues.instances, ObjectRef::new(&standby.name_any()).within(&namespace)).await;
}

pub async fn child_seen<K: Watched>(context: Arc<Context>, seen: Seen<K>) {
    let Some(child) = readable(&context, seen).await else { return };
    let namespace = child.namespace().unwrap_or_default();
    if let Some(name) = child.annotations().get(&name_key::<BackupSyncService>()) {
        send(&context.queues.services, ObjectRef::new(name).within(&namespace)).await;
    }
    if let Some(name) = child.annotations().get(&name_key::<DatabaseInstance>()) {
        send(&context.queues.instances, ObjectRef::new(name).within(&namespace)).await;
    }
    if let Some(name) = child.annotations().get(&name_key::<RecoveryDrill>()) {
        send(&context.queues.drills, ObjectRef::new(name).within(&namespace)).await;
    }
    if let Some(name) = child.annotations().get(&name_key::<BucketReplicationRule>()) {
        send(&context.queues.rules, ObjectRef::new(name).within(&namespace)).await;
    }
    if let Some(name) = child.annotations().get(&name_key::<DisasterRecoveryInstance>()) {
        send(&context.queues.standbys, ObjectRef::new(name).within(&namespace)).await;
    }
}

pub async fn namespace_seen(context: Arc<Context>, seen: Seen<PartialObjectMeta<Namespace>>) {
    let Some(namespace) = readable(&context, seen).await else { return };
    if namespace.metadata.deletion_timestamp.is_some() {
        send_services(&context, |service| {
            service.namespace().as_deref() == namespace.metadata.name.as_deref()
        })
        .await;
    }
}
