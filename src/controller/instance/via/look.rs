//! What there is of another operator.

use kube::{
    Api, ResourceExt,
    api::{ApiResource, DynamicObject},
};

use super::{Foreign, cloudnativepg, main_name, profile};
use crate::{
    api::{DatabaseInstance, DatabaseOperator, Via},
    controller::{
        Context, Error,
        context::{uid_of, unless_gone},
        jobs::{ATTEMPT, uid_key},
    },
};

/// Whether the operator can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Ready,
    /// The cluster does not know this kind.
    Missing(Foreign),
    /// The controller may not.
    Forbidden,
}

/// What was found.
pub struct Delegate {
    pub standing: Standing,
    /// The resource whose state is followed.
    pub main: Option<DynamicObject>,
    /// The cluster that is restored into.
    pub cluster: Option<DynamicObject>,
    /// `CloudNativePG` has its plugin for Barman's layout.
    pub plugin: bool,
    /// An object under a name that is needed: another's, or of an earlier attempt.
    pub taken: Option<String>,
    /// Why the API server took none of it, when it was last asked.
    pub refused: Option<String>,
}

impl Delegate {
    const fn out(standing: Standing) -> Self {
        Self { standing, main: None, cluster: None, plugin: false, taken: None, refused: None }
    }
}

/// Takes a look.
///
/// # Errors
/// What the API server says.
pub async fn look(instance: &DatabaseInstance, via: &Via, context: &Context) -> Result<Delegate, Error> {
    let namespace = instance.namespace().unwrap_or_default();
    let profile = profile(via.operator);
    let recovery = instance.status.as_ref().and_then(|status| status.recovery.as_ref());
    let attempt = recovery.and_then(|recovery| recovery.attempt).unwrap_or(1);
    let name = main_name(instance, via.operator, attempt);
    let get = async |kind: Foreign, name: &str| get(&namespace, &kind.resource(), name, context).await;
    let main = match get(profile.main, &name).await {
        Ok(Some(main)) => Some(main),
        other => {
            if let Some(missing) = missing(via.operator, context).await? {
                return Ok(Delegate::out(Standing::Missing(missing)));
            }
            match other {
                Err(Error::Api(kube::Error::Api(status))) if status.is_forbidden() => {
                    return Ok(Delegate::out(Standing::Forbidden));
                }
                other => other?,
            }
        }
    };
    let cluster = match (profile.cluster, &via.cluster_ref) {
        (Some(kind), Some(cluster)) => get(kind, &cluster.name).await?,
        _ => None,
    };
    let plugin = via.operator == DatabaseOperator::CloudNativePG
        && main.is_none()
        && is_served(cloudnativepg::STORE, context).await?;
    let owner = uid_of(instance);
    let mut taken = main.as_ref().and_then(|main| taken(profile.main, main, (&owner, attempt)));
    let begun = recovery.is_some_and(|recovery| recovery.plan.is_some());
    if main.is_none() && begun {
        let beside = profile.beside.iter().filter(|kind| plugin || **kind != cloudnativepg::STORE);
        for kind in beside {
            let found = get(*kind, &instance.name_any()).await?;
            taken = taken.or(found.and_then(|found| self::taken(*kind, &found, (&owner, attempt))));
        }
    }
    let refused = context.refused(&owner);
    Ok(Delegate { standing: Standing::Ready, main, cluster, plugin, taken, refused })
}

async fn get(
    namespace: &str,
    resource: &ApiResource,
    name: &str,
    context: &Context,
) -> Result<Option<DynamicObject>, Error> {
    let api: Api<DynamicObject> = Api::namespaced_with(context.client.clone(), namespace, resource);
    unless_gone(api.get(name).await)
}

/// A kind of the operator that the cluster does not know.
async fn missing(operator: DatabaseOperator, context: &Context) -> Result<Option<Foreign>, Error> {
    let profile = profile(operator);
    // The plugin is the one thing that may be missing.
    let beside = profile.beside.iter().copied().filter(|kind| *kind != cloudnativepg::STORE);
    for kind in [profile.main].into_iter().chain(profile.cluster).chain(beside) {
        if !is_served(kind, context).await? {
            return Ok(Some(kind));
        }
    }
    Ok(None)
}

async fn is_served(kind: Foreign, context: &Context) -> Result<bool, Error> {
    match context.client.list_api_group_resources(&kind.api_version()).await {
        Ok(group) => Ok(group.resources.iter().any(|resource| resource.name == kind.plural)),
        // A group that nobody defined is a page that is not there, and no status of a resource.
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// An object that this attempt did not make.
fn taken(kind: Foreign, found: &DynamicObject, (owner, attempt): (&str, u32)) -> Option<String> {
    let said = format!("{} {}", kind.kind, found.name_any());
    if found.labels().get(&uid_key::<DatabaseInstance>()).is_none_or(|uid| uid != owner) {
        return Some(format!("{said} is there already and belongs to something else"));
    }
    let its = found.annotations().get(ATTEMPT);
    its.is_none_or(|its| *its != attempt.to_string())
        .then(|| format!("{said} of an earlier attempt is there still"))
}
