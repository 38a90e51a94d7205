//! Writes what was decided. Every step may be repeated.

use std::fmt::Debug;

use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{ConfigMap, ObjectReference, ServiceAccount},
    rbac::v1::{Role, RoleBinding},
};
use kube::{
    Resource, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions},
    core::NamespaceResourceScope,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;

use super::{decide::Decision, objects::Children};
use crate::{
    api::{BackupSyncService, PURGE_FINALIZER},
    controller::{
        Context, Error, FIELD_MANAGER,
        context::{uid_of, unless_gone},
        events::Announcement,
        jobs::RUN_ID,
        status::publish,
    },
};

/// Applies a decision, in an order that leaves nothing behind when it breaks off: what protects the
/// target first, what is known before what is started, Events last.
///
/// # Errors
/// What the API server says, but that something is there already, or gone already.
pub async fn apply(service: &BackupSyncService, decision: Decision, context: &Context) -> Result<(), Error> {
    let Decision {
        finalizer,
        status,
        end,
        start,
        delete,
        announcements,
        news,
        obituary,
        nudge,
        next_look: _,
    } = decision;
    let namespace = service.namespace().unwrap_or_default();
    let api = context.api::<BackupSyncService>(&namespace);
    if let Some(obituary) = obituary {
        context.recorder.announce(&about_namespace(&namespace), &obituary).await;
    }
    if finalizer == Some(true) {
        set_finalizer(service, true, context).await?;
    }
    let written = match &status {
        Some(status) => publish(&api, service, service.status.as_ref(), status).await?,
        None => true,
    };
    for (job, config_map) in end {
        end_job(&namespace, &job, config_map.as_deref(), context).await?;
    }
    if let Some(children) = start {
        create(service, *children, context).await?;
    }
    if finalizer == Some(false) {
        set_finalizer(service, false, context).await?;
    }
    if delete {
        let preconditions = Preconditions { uid: service.uid(), resource_version: None };
        let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        unless_gone(api.delete(&service.name_any(), &params).await)?;
    }
    if written {
        tell(service, &announcements, context).await;
    }
    let uid = uid_of(service);
    for (subject, announcement) in news {
        if context.is_news(&uid, &subject, &announcement.note) {
            context.recorder.announce(&service.object_ref(&()), &announcement).await;
        }
    }
    if let Some(region) = nudge {
        context.nudge(&region);
    }
    Ok(())
}

async fn tell(service: &BackupSyncService, announcements: &[Announcement], context: &Context) {
    for announcement in announcements {
        context.recorder.announce(&service.object_ref(&()), announcement).await;
    }
}

/// Nothing can be created in a namespace that goes: its Events are written to `default`.
fn about_namespace(name: &str) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Namespace".to_owned()),
        name: Some(name.to_owned()),
        ..ObjectReference::default()
    }
}

/// The list of finalizers is others' too: it is changed only as it was read.
async fn set_finalizer(service: &BackupSyncService, wanted: bool, context: &Context) -> Result<(), Error> {
    let api = context.api::<BackupSyncService>(&service.namespace().unwrap_or_default());
    let name = service.name_any();
    let Some(patch) = finalizer_patch(service, wanted) else { return Ok(()) };
    let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    match api.patch(&name, &params, &Patch::Merge(&patch)).await {
        // The worker reports all the time: what was read is old now.
        Err(kube::Error::Api(status)) if status.is_conflict() => {
            let live = unless_gone(api.get(&name).await)?.filter(|live| live.uid() == service.uid());
            let Some(patch) = live.and_then(|live| finalizer_patch(&live, wanted)) else { return Ok(()) };
            unless_gone(api.patch(&name, &params, &Patch::Merge(&patch)).await)?;
        }
        result => {
            unless_gone(result)?;
        }
    }
    Ok(())
}

fn finalizer_patch(service: &BackupSyncService, wanted: bool) -> Option<serde_json::Value> {
    let mut finalizers = service.finalizers().to_vec();
    if finalizers.iter().any(|finalizer| finalizer == PURGE_FINALIZER) == wanted {
        return None;
    }
    finalizers.retain(|finalizer| finalizer != PURGE_FINALIZER);
    if wanted {
        finalizers.push(PURGE_FINALIZER.to_owned());
    }
    Some(json!({"metadata": {
        "uid": service.uid(),
        "resourceVersion": service.resource_version(),
        "finalizers": finalizers,
    }}))
}

async fn end_job(
    namespace: &str,
    job: &str,
    config_map: Option<&str>,
    context: &Context,
) -> Result<(), Error> {
    unless_gone(context.api::<Job>(namespace).delete(job, &DeleteParams::background()).await)?;
    if let Some(config_map) = config_map {
        unless_gone(context.api::<ConfigMap>(namespace).delete(config_map, &DeleteParams::default()).await)?;
    }
    Ok(())
}

async fn create(service: &BackupSyncService, children: Children, context: &Context) -> Result<(), Error> {
    let Children { config_map, service_account, role, role_binding, job } = children;
    post::<ConfigMap>(&config_map, context).await?;
    post::<ServiceAccount>(&service_account, context).await?;
    post::<Role>(&role, context).await?;
    post::<RoleBinding>(&role_binding, context).await?;
    if post::<Job>(&job, context).await? {
        let run_id = job.annotations().get(RUN_ID).cloned().unwrap_or_default();
        context.keep_run(&uid_of(service), &run_id);
        return Ok(());
    }
    // A Job of that name counts only if it was made for this very service.
    let namespace = service.namespace().unwrap_or_default();
    let Some(there) = unless_gone(context.api::<Job>(&namespace).get(&job.name_any()).await)? else {
        return Ok(());
    };
    let uid = uid_of(service);
    let ours =
        there.owner_references().iter().any(|owner| owner.uid == uid && owner.controller == Some(true));
    if ours { Ok(()) } else { Err(Error::NameTaken { kind: "Job", namespace, name: job.name_any() }) }
}

/// Creates an object; false when one of that name is there. Names hold a hash of the owner's UID.
async fn post<K>(object: &K, context: &Context) -> Result<bool, Error>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Serialize
        + DeserializeOwned
        + Clone
        + Debug,
{
    let api = context.api::<K>(&object.namespace().unwrap_or_default());
    let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
    match api.create(&params, object).await {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(false),
        Err(error) => Err(error.into()),
    }
}
