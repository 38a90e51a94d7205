//! A replica set that we make: what it consists of. Pure.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::{
        apps::v1::{
            StatefulSet, StatefulSetPersistentVolumeClaimRetentionPolicy, StatefulSetSpec,
            StatefulSetUpdateStrategy,
        },
        core::v1::{PersistentVolumeClaim, PodTemplateSpec, Service, ServicePort, ServiceSpec},
        networking::v1::{
            NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec,
        },
        policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec},
    },
    apimachinery::pkg::{
        apis::meta::v1::{LabelSelector, ObjectMeta},
        util::intstr::IntOrString,
    },
};
use kube::{Resource, ResourceExt};

use super::{
    member::{claim, pod},
    target::{PORT, members},
};
use crate::{
    api::{
        DisasterRecoveryInstance, DisasterRecoveryInstanceStatus, ManagedReplicaSet, StandbyPhase,
        condition::{ACCEPTED, is_true},
    },
    controller::{
        Options,
        context::uid_of,
        jobs::{name_key, uid_key},
    },
};

const COMPONENT: &str = "app.kubernetes.io/component";

/// What a managed replica set consists of, its Secrets aside: these are made once, of what nobody knows before.
#[derive(Debug, PartialEq)]
pub struct Managed {
    pub services: Vec<Service>,
    pub network_policy: NetworkPolicy,
    pub budget: PodDisruptionBudget,
    pub server: StatefulSet,
}

/// The replica set of an accepted instance with a managed target.
#[must_use]
pub fn managed(
    standby: &DisasterRecoveryInstance,
    status: &DisasterRecoveryInstanceStatus,
    options: &Options,
) -> Option<Managed> {
    let spec = standby.spec.target.managed.as_ref()?;
    let leaves = standby.metadata.deletion_timestamp.is_some();
    if leaves || !is_true(&status.conditions, ACCEPTED) {
        return None;
    }
    let set = Set { standby, spec, active: status.phase == Some(StandbyPhase::Active), options };
    let mut services = vec![set.headless(), set.service(format!("{}-ro", standby.name_any()))];
    if set.active {
        services.push(set.service(standby.name_any()));
    }
    Some(Managed {
        services,
        network_policy: set.network_policy(),
        budget: set.budget(),
        server: set.server(),
    })
}

/// What the objects are made from.
pub struct Set<'a> {
    pub standby: &'a DisasterRecoveryInstance,
    pub spec: &'a ManagedReplicaSet,
    pub active: bool,
    pub options: &'a Options,
}

/// What the members' pods are found by.
#[must_use]
pub fn selector(standby: &DisasterRecoveryInstance) -> BTreeMap<String, String> {
    BTreeMap::from([
        ("app.kubernetes.io/managed-by".to_owned(), "farshore".to_owned()),
        (COMPONENT.to_owned(), "database".to_owned()),
        (uid_key::<DisasterRecoveryInstance>(), uid_of(standby)),
    ])
}

/// Of all that we make for a copy.
#[must_use]
pub fn labels(standby: &DisasterRecoveryInstance) -> BTreeMap<String, String> {
    let mut all = selector(standby);
    all.insert("app.kubernetes.io/name".to_owned(), "farshore".to_owned());
    all
}

fn notes(standby: &DisasterRecoveryInstance) -> BTreeMap<String, String> {
    BTreeMap::from([(name_key::<DisasterRecoveryInstance>(), standby.name_any())])
}

impl Set<'_> {
    /// A copy goes with its instance. Once it is active it serves users, and stays whatever becomes of this resource:
    /// who takes a standby out of Git does not mean the database that took over.
    fn metadata(&self, name: String) -> ObjectMeta {
        let owner = self.standby.controller_owner_ref(&()).filter(|_| !self.active);
        ObjectMeta {
            name: Some(name),
            namespace: self.standby.namespace(),
            labels: Some(labels(self.standby)),
            annotations: Some(notes(self.standby)),
            owner_references: owner.map(|owner| vec![owner]),
            ..ObjectMeta::default()
        }
    }

    fn selector(&self) -> LabelSelector {
        LabelSelector { match_labels: Some(selector(self.standby)), ..LabelSelector::default() }
    }

    /// Gives members their names; they look for one another before they are ready.
    fn headless(&self) -> Service {
        let mut service = self.service(members(self.standby));
        if let Some(spec) = service.spec.as_mut() {
            spec.cluster_ip = Some("None".to_owned());
            spec.publish_not_ready_addresses = Some(true);
        }
        service
    }

    fn service(&self, name: String) -> Service {
        Service {
            metadata: self.metadata(name),
            spec: Some(ServiceSpec {
                selector: Some(selector(self.standby)),
                ports: Some(vec![ServicePort {
                    name: Some("mongodb".to_owned()),
                    port: PORT,
                    target_port: Some(IntOrString::Int(PORT)),
                    protocol: Some("TCP".to_owned()),
                    ..ServicePort::default()
                }]),
                ..ServiceSpec::default()
            }),
            ..Service::default()
        }
    }

    /// Until it is active, only pods of its namespace reach it.
    fn network_policy(&self) -> NetworkPolicy {
        let near = NetworkPolicyPeer {
            pod_selector: Some(LabelSelector::default()),
            ..NetworkPolicyPeer::default()
        };
        let port = NetworkPolicyPort {
            port: Some(IntOrString::Int(PORT)),
            protocol: Some("TCP".to_owned()),
            ..NetworkPolicyPort::default()
        };
        NetworkPolicy {
            metadata: self.metadata(self.standby.name_any()),
            spec: Some(NetworkPolicySpec {
                pod_selector: Some(self.selector()),
                policy_types: Some(vec!["Ingress".to_owned()]),
                ingress: Some(vec![NetworkPolicyIngressRule {
                    from: (!self.active).then(|| vec![near]),
                    ports: Some(vec![port]),
                }]),
                ..NetworkPolicySpec::default()
            }),
        }
    }

    /// A majority stays.
    fn budget(&self) -> PodDisruptionBudget {
        PodDisruptionBudget {
            metadata: self.metadata(self.standby.name_any()),
            spec: Some(PodDisruptionBudgetSpec {
                min_available: Some(IntOrString::Int(self.spec.members / 2 + 1)),
                selector: Some(self.selector()),
                ..PodDisruptionBudgetSpec::default()
            }),
            ..PodDisruptionBudget::default()
        }
    }

    fn server(&self) -> StatefulSet {
        // At the activation expiry goes on at run time; the template says so too, for members that start later. None is
        // restarted for it: whoever takes over has no time for elections.
        let strategy = if self.active { "OnDelete" } else { "RollingUpdate" };
        let when_deleted = if self.active { "Retain" } else { "Delete" };
        StatefulSet {
            metadata: self.metadata(self.standby.name_any()),
            spec: Some(StatefulSetSpec {
                replicas: Some(self.spec.members),
                service_name: Some(members(self.standby)),
                // The first one makes the set of them all.
                pod_management_policy: Some("Parallel".to_owned()),
                update_strategy: Some(StatefulSetUpdateStrategy {
                    type_: Some(strategy.to_owned()),
                    ..StatefulSetUpdateStrategy::default()
                }),
                persistent_volume_claim_retention_policy: Some(
                    StatefulSetPersistentVolumeClaimRetentionPolicy {
                        when_deleted: Some(when_deleted.to_owned()),
                        when_scaled: Some("Retain".to_owned()),
                    },
                ),
                selector: self.selector(),
                template: PodTemplateSpec {
                    metadata: Some(ObjectMeta {
                        labels: Some(labels(self.standby)),
                        annotations: Some(notes(self.standby)),
                        ..ObjectMeta::default()
                    }),
                    spec: Some(pod(self)),
                },
                volume_claim_templates: Some(vec![PersistentVolumeClaim { ..claim(self.spec) }]),
                ..StatefulSetSpec::default()
            }),
            ..StatefulSet::default()
        }
    }
}

#[cfg(test)]
#[path = "managed_tests.rs"]
mod tests;
