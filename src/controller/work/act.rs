//! Writes what was decided. Every step may be repeated.

use std::{fmt::Debug, time::Duration};

use k8s_openapi::api::{
    apps::v1::StatefulSet,
    batch::v1::Job,
    core::v1::{ConfigMap, ObjectReference, PersistentVolumeClaim, Service, ServiceAccount},
    networking::v1::NetworkPolicy,
    rbac::v1::{Role, RoleBinding},
};
use kube::{
    Resource, ResourceExt,
    api::{Api, ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams, Preconditions},
    core::{NamespaceResourceScope, object::HasStatus},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;

use super::{
    children::Children,
    receiver::{self, Wanted},
};
use crate::{
    api::{DatabaseInstance, PURGE_FINALIZER, Served},
    controller::{
        Context, Error, FIELD_MANAGER,
        context::{uid_of, unless_gone},
        events::Announcement,
        jobs::RUN_ID,
        status::publish,
    },
};

/// An object of a new instance. It is made once, and left as users change it.
pub enum Own {
    Claim(Box<PersistentVolumeClaim>),
    Server(Box<StatefulSet>),
    Service(Box<Service>),
    /// Nobody reaches a throw-away instance.
    Closed(Box<NetworkPolicy>),
    /// An instance that users may refer to. It has no owner: it is theirs.
    Instance(Box<DatabaseInstance>),
    /// A resource of another operator.
    Foreign(Box<(ApiResource, DynamicObject)>),
}

impl Own {
    /// False: the API server does not take it, and what follows would be of no use.
    async fn create(&self, uid: &str, context: &Context) -> Result<bool, Error> {
        match self {
            Self::Foreign(foreign) => return post_foreign(uid, foreign, context).await,
            Self::Claim(claim) => post::<PersistentVolumeClaim>(claim, context).await,
            Self::Server(server) => post::<StatefulSet>(server, context).await,
            Self::Service(service) => post::<Service>(service, context).await,
            Self::Closed(policy) => post::<NetworkPolicy>(policy, context).await,
            Self::Instance(instance) => post::<DatabaseInstance>(instance, context).await,
        }
        .map(|_| true)
    }
}

/// What shall be done, in this order.
#[derive(Default)]
pub struct Decision<S> {
    /// True: the finalizer shall be there; false: it shall not.
    pub finalizer: Option<bool>,
    /// `None`: the resource is on its way out, or another's.
    pub status: Option<S>,
    /// Names of Jobs that shall go, with the `ConfigMaps` that go with them.
    pub end: Vec<(String, Option<String>)>,
    /// `ConfigMaps` that shall go.
    pub drop: Vec<String>,
    /// Jobs that shall be changed, as merge patches.
    pub adjust: Vec<(String, serde_json::Value)>,
    /// What a new instance consists of.
    pub own: Vec<Own>,
    /// A Job that shall be, with all that it needs.
    pub start: Option<Box<Children>>,
    /// Another one beside it.
    pub beside: Option<Box<Children>>,
    /// The way by which the source store's messages reach the worker.
    pub receiver: Wanted,
    /// The resource shall be deleted: what it is about is gone.
    pub delete: bool,
    pub announcements: Vec<Announcement>,
    /// Told when the text is new.
    pub news: Vec<(String, Announcement)>,
    /// About the namespace, in `default`.
    pub obituary: Option<Announcement>,
    /// Region to be asked at once.
    pub nudge: Option<String>,
    pub next_look: Duration,
}

/// Applies a decision, in an order that leaves nothing behind when it breaks off: what protects the
/// target first, what is known before what is started, Events last.
///
/// # Errors
/// What the API server says, but that something is there already, or gone already.
pub async fn apply<K>(object: &K, decision: Decision<K::Status>, context: &Context) -> Result<(), Error>
where
    K: Served + HasStatus<Status: Serialize>,
{
    let Decision {
        finalizer,
        status,
        end,
        drop,
        adjust,
        own,
        start,
        beside,
        receiver,
        delete,
        announcements,
        news,
        obituary,
        nudge,
        next_look: _,
    } = decision;
    let namespace = object.namespace().unwrap_or_default();
    let api = context.api::<K>(&namespace);
    let uid = uid_of(object);
    if let Some(obituary) = obituary {
        context.recorder.announce(&about_namespace(&namespace), &obituary).await;
    }
    if finalizer == Some(true) {
        set_finalizer(object, true, context).await?;
    }
    // The status is what tells that there is something to close.
    if let Wanted::Closed(name) = &receiver {
        receiver::close(&uid, (&namespace, name), context).await?;
    }
    let written = match &status {
        Some(status) => publish(&api, object, object.status(), status).await?,
        None => true,
    };
    for (job, config_map) in end {
        end_job(&namespace, &job, config_map.as_deref(), context).await?;
    }
    let maps = context.api::<ConfigMap>(&namespace);
    for config_map in drop {
        unless_gone(maps.delete(&config_map, &DeleteParams::default()).await)?;
    }
    for (job, patch) in adjust {
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        unless_gone(context.api::<Job>(&namespace).patch(&job, &params, &Patch::Merge(&patch)).await)?;
    }
    for own in own {
        if !own.create(&uid, context).await? {
            break;
        }
    }
    for children in [start, beside].into_iter().flatten() {
        create(object, *children, context).await?;
    }
    if let Wanted::Open(way) = &receiver {
        receiver::open(&uid, way, context).await?;
    }
    if finalizer == Some(false) {
        set_finalizer(object, false, context).await?;
    }
    if delete {
        let preconditions = Preconditions { uid: object.uid(), resource_version: None };
        let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        unless_gone(api.delete(&object.name_any(), &params).await)?;
    }
    if written {
        tell(object, &announcements, context).await;
    }
    for (subject, announcement) in news {
        if context.is_news(&uid, &subject, &announcement.note) {
            context.recorder.announce(&object.object_ref(&()), &announcement).await;
        }
    }
    if let Some(region) = nudge {
        context.nudge(&region);
    }
    Ok(())
}

async fn tell<K: Served>(object: &K, announcements: &[Announcement], context: &Context) {
    for announcement in announcements {
        context.recorder.announce(&object.object_ref(&()), announcement).await;
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
async fn set_finalizer<K: Served>(object: &K, wanted: bool, context: &Context) -> Result<(), Error> {
    let api = context.api::<K>(&object.namespace().unwrap_or_default());
    let name = object.name_any();
    let Some(patch) = finalizer_patch(object, wanted) else { return Ok(()) };
    let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    match api.patch(&name, &params, &Patch::Merge(&patch)).await {
        // The worker reports all the time: what was read is old now.
        Err(kube::Error::Api(status)) if status.is_conflict() => {
            let live = unless_gone(api.get(&name).await)?.filter(|live| live.uid() == object.uid());
            let Some(patch) = live.and_then(|live| finalizer_patch(&live, wanted)) else { return Ok(()) };
            unless_gone(api.patch(&name, &params, &Patch::Merge(&patch)).await)?;
        }
        result => {
            unless_gone(result)?;
        }
    }
    Ok(())
}

fn finalizer_patch<K: Served>(object: &K, wanted: bool) -> Option<serde_json::Value> {
    let mut finalizers = object.finalizers().to_vec();
    if finalizers.iter().any(|finalizer| finalizer == PURGE_FINALIZER) == wanted {
        return None;
    }
    finalizers.retain(|finalizer| finalizer != PURGE_FINALIZER);
    if wanted {
        finalizers.push(PURGE_FINALIZER.to_owned());
    }
    Some(json!({"metadata": {
        "uid": object.uid(),
        "resourceVersion": object.resource_version(),
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

async fn create<K: Served>(object: &K, children: Children, context: &Context) -> Result<(), Error> {
    let Children { config_map, service_account, role, role_binding, paper, job } = children;
    post::<ConfigMap>(&config_map, context).await?;
    if let Some(paper) = paper {
        post::<ConfigMap>(&paper, context).await?;
    }
    post::<ServiceAccount>(&service_account, context).await?;
    post::<Role>(&role, context).await?;
    post::<RoleBinding>(&role_binding, context).await?;
    if post::<Job>(&job, context).await? {
        let run_id = job.annotations().get(RUN_ID).cloned().unwrap_or_default();
        context.keep_run(&uid_of(object), &run_id);
        return Ok(());
    }
    // A Job of that name counts only if it was made for this very resource.
    let namespace = object.namespace().unwrap_or_default();
    let Some(there) = unless_gone(context.api::<Job>(&namespace).get(&job.name_any()).await)? else {
        return Ok(());
    };
    let uid = uid_of(object);
    let ours =
        there.owner_references().iter().any(|owner| owner.uid == uid && owner.controller == Some(true));
    if ours { Ok(()) } else { Err(Error::NameTaken { kind: "Job", namespace, name: job.name_any() }) }
}

/// Creates another operator's resource; false when it is not taken as it is, which is remembered.
async fn post_foreign(
    uid: &str,
    (resource, object): &(ApiResource, DynamicObject),
    context: &Context,
) -> Result<bool, Error> {
    let namespace = object.namespace().unwrap_or_default();
    let api: Api<DynamicObject> = Api::namespaced_with(context.client.clone(), &namespace, resource);
    let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
    match api.create(&params, object).await {
        Err(kube::Error::Api(status)) if status.is_already_exists() => {}
        Err(kube::Error::Api(status)) if (400..500).contains(&status.code) => {
            context.keep_refused(uid, Some(status.message));
            return Ok(false);
        }
        result => drop(result?),
    }
    context.keep_refused(uid, None);
    Ok(true)
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
