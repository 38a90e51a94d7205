//! Makes and keeps a managed replica set.

use std::{collections::BTreeMap, fmt::Debug};

use k8s_openapi::{
    ByteString,
    api::{
        apps::v1::StatefulSet, core::v1::Secret, networking::v1::NetworkPolicy,
        policy::v1::PodDisruptionBudget,
    },
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use kube::{
    Resource, ResourceExt,
    api::{Patch, PatchParams, PostParams},
    core::NamespaceResourceScope,
};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    managed::{Managed, labels},
    member::KEY_FILE,
    target::{account, key},
};
use crate::{
    api::DisasterRecoveryInstance,
    controller::{
        Context, Error, FIELD_MANAGER,
        context::{uid_of, unless_gone},
        names,
    },
};

/// Name of the account of workers.
const USERNAME: &str = "farshore";

/// Makes what is missing and changes what differs, unless that was done a moment ago. What somebody took away is there
/// again at the next look at all resources.
///
/// # Errors
/// What the API server says.
pub async fn keep(
    standby: &DisasterRecoveryInstance,
    managed: &Managed,
    context: &Context,
) -> Result<(), Error> {
    let Managed { services, network_policy, budget, server } = managed;
    let texts = [
        serde_json::to_string(services)?,
        serde_json::to_string(network_policy)?,
        serde_json::to_string(budget)?,
        serde_json::to_string(server)?,
    ];
    let done = format!("{}:{}", uid_of(standby), names::hash_of(&texts.each_ref().map(String::as_str)));
    if context.has_opened(&done) {
        return Ok(());
    }
    not_anothers("StatefulSet", (standby, server), context).await?;
    for service in services {
        not_anothers("Service", (standby, service), context).await?;
    }
    apply::<NetworkPolicy>(network_policy, context).await?;
    for service in services {
        apply(service, context).await?;
    }
    apply::<PodDisruptionBudget>(budget, context).await?;
    let server = apply::<StatefulSet>(server, context).await?;
    // They go with the servers, not with the instance: what is active outlives that.
    let owner = server.controller_owner_ref(&());
    // To hold the servers back until these are gone would take a right on them that we have no use for.
    let owner = owner.map(|owner| OwnerReference { block_owner_deletion: None, ..owner });
    secret(standby, (key(standby), owner.clone()), [(KEY_FILE, random(756)?)], context).await?;
    let login = [("username", USERNAME.to_owned()), ("password", random(24)?)];
    secret(standby, (account(standby), owner), login, context).await?;
    context.keep_opened(&done);
    Ok(())
}

/// An object of that name that was not made for this instance is left alone.
async fn not_anothers<K>(
    kind: &'static str,
    (standby, object): (&DisasterRecoveryInstance, &K),
    context: &Context,
) -> Result<(), Error>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + DeserializeOwned + Clone + Debug,
{
    let namespace = standby.namespace().unwrap_or_default();
    let name = object.name_any();
    let found = unless_gone(context.api::<K>(&namespace).get_metadata(&name).await)?;
    let ours = |found: &BTreeMap<String, String>| {
        labels(standby).iter().all(|(key, value)| found.get(key) == Some(value))
    };
    if found.is_none_or(|found| ours(found.labels())) {
        return Ok(());
    }
    Err(Error::NameTaken { kind, namespace, name })
}

async fn apply<K>(object: &K, context: &Context) -> Result<K, Error>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Serialize
        + DeserializeOwned
        + Clone
        + Debug,
{
    let api = context.api::<K>(&object.namespace().unwrap_or_default());
    let params = PatchParams::apply(FIELD_MANAGER).force();
    Ok(api.patch(&object.name_any(), &params, &Patch::Apply(object)).await?)
}

/// Made once, and never read: what is in it is known to the members and to workers only.
async fn secret<const N: usize>(
    standby: &DisasterRecoveryInstance,
    (name, owner): (String, Option<OwnerReference>),
    data: [(&str, String); N],
    context: &Context,
) -> Result<(), Error> {
    let namespace = standby.namespace().unwrap_or_default();
    let bytes = |(key, text): (&str, String)| (key.to_owned(), ByteString(text.into_bytes()));
    let secret = Secret {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: Some(namespace.clone()),
            labels: Some(labels(standby)),
            owner_references: owner.map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        immutable: Some(true),
        data: Some(data.into_iter().map(bytes).collect::<BTreeMap<_, _>>()),
        ..Secret::default()
    };
    let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
    match context.api::<Secret>(&namespace).create(&params, &secret).await {
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
        result => Ok(result.map(drop)?),
    }
}

/// So many hexadecimal digits that nobody can guess.
fn random(digits: usize) -> Result<String, Error> {
    let mut bytes = vec![0; digits.div_ceil(2)];
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.secure_random.fill(&mut bytes).map_err(|_| Error::NoRandomness)?;
    Ok(hex::encode(bytes)[..digits].to_owned())
}
