//! The way by which a store's messages reach a worker.

use k8s_openapi::api::{core::v1::Service, networking::v1::NetworkPolicy};
use kube::{
    Resource, ResourceExt,
    api::{DeleteParams, Patch, PatchParams},
    core::NamespaceResourceScope,
};
use serde::{Serialize, de::DeserializeOwned};

use crate::controller::{Context, Error, FIELD_MANAGER, context::unless_gone};

/// What shall be.
#[derive(Default)]
pub enum Wanted {
    /// What is there stays.
    #[default]
    AsIs,
    Open(Box<Receiver>),
    /// Service and `NetworkPolicy` of this name shall go.
    Closed(String),
}

/// A Service that leads to a worker, and what lets its port in.
pub struct Receiver {
    pub service: Service,
    pub network_policy: NetworkPolicy,
}

/// Opens the way, unless it was opened a moment ago. Neither object is watched: what somebody took away is there
/// again at the next look at all resources.
///
/// # Errors
/// What the API server says.
pub async fn open(uid: &str, receiver: &Receiver, context: &Context) -> Result<(), Error> {
    if context.has_opened(uid) {
        return Ok(());
    }
    apply(&receiver.network_policy, context).await?;
    apply(&receiver.service, context).await?;
    context.keep_opened(uid);
    Ok(())
}

/// Closes the way.
///
/// # Errors
/// What the API server says, but that it is closed already.
pub async fn close(uid: &str, (namespace, name): (&str, &str), context: &Context) -> Result<(), Error> {
    context.forget_opened(uid);
    let now = DeleteParams::default();
    unless_gone(context.api::<Service>(namespace).delete(name, &now).await)?;
    unless_gone(context.api::<NetworkPolicy>(namespace).delete(name, &now).await)?;
    Ok(())
}

/// What a user has added stays: a type of Service, annotations.
async fn apply<K>(object: &K, context: &Context) -> Result<(), Error>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Serialize
        + DeserializeOwned
        + Clone
        + std::fmt::Debug,
{
    let api = context.api::<K>(&object.namespace().unwrap_or_default());
    let params = PatchParams::apply(FIELD_MANAGER).force();
    api.patch(&object.name_any(), &params, &Patch::Apply(object)).await?;
    Ok(())
}
