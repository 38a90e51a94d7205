//! What every reconcile can reach.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use jiff::Timestamp;
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{Namespace, Pod},
};
use kube::{
    Api, Client, Resource, ResourceExt,
    core::{NamespaceResourceScope, PartialObjectMeta},
    runtime::reflector::{ObjectRef, Store},
};
use tokio::sync::mpsc;

use super::{Error, Options, backoff::Backoff, breaker::Breaker, events::Recorder, metrics::Reconciles};
use crate::{
    api::{
        BackupSyncService, BucketReplicationRule, CONTROLLER, DatabaseInstance, DisasterRecoveryInstance,
        DrillPhase, InstancePhase, LastProved, RecoveryDrill, Region,
    },
    rules::{Claim, Objection, PairClaim, StandbyClaim, is_viable},
};

/// Everything that is watched.
#[derive(Clone)]
pub struct Caches {
    pub regions: Store<Region>,
    pub instances: Store<DatabaseInstance>,
    pub services: Store<BackupSyncService>,
    pub rules: Store<BucketReplicationRule>,
    pub drills: Store<RecoveryDrill>,
    pub standbys: Store<DisasterRecoveryInstance>,
    pub jobs: Store<Job>,
    pub pods: Store<Pod>,
    pub namespaces: Store<PartialObjectMeta<Namespace>>,
}

/// Where to say that something should be looked at.
#[derive(Clone)]
pub struct Queues {
    pub regions: mpsc::Sender<ObjectRef<Region>>,
    pub instances: mpsc::Sender<ObjectRef<DatabaseInstance>>,
    pub services: mpsc::Sender<ObjectRef<BackupSyncService>>,
    pub rules: mpsc::Sender<ObjectRef<BucketReplicationRule>>,
    pub drills: mpsc::Sender<ObjectRef<RecoveryDrill>>,
    pub standbys: mpsc::Sender<ObjectRef<DisasterRecoveryInstance>>,
}

/// Last answer of an instance's endpoint.
#[derive(Clone, Debug)]
pub struct Asked {
    pub generation: Option<i64>,
    pub at: Timestamp,
    pub answer: Result<(), String>,
}

/// What a reconcile can reach: clients, caches, and the little that is remembered between two looks.
pub struct Context {
    pub client: Client,
    pub options: Options,
    pub caches: Caches,
    pub queues: Queues,
    pub recorder: Recorder,
    pub reconciles: Reconciles,
    pub backoff: Backoff,
    breakers: Mutex<HashMap<String, (Option<i64>, Breaker)>>,
    asked: Mutex<HashMap<String, Asked>>,
    accepted: Mutex<HashSet<String>>,
    turn: Mutex<()>,
    told: Mutex<HashMap<(String, String), String>>,
    runs: Mutex<HashMap<String, String>>,
    opened: Mutex<HashMap<String, Instant>>,
    refused: Mutex<HashMap<String, String>>,
}

impl Context {
    /// A context without any memory.
    #[must_use]
    pub fn new(
        client: Client,
        options: Options,
        caches: Caches,
        queues: Queues,
        reconciles: Reconciles,
    ) -> Self {
        let recorder = Recorder::new(client.clone(), &options.identity);
        Self {
            client,
            options,
            caches,
            queues,
            recorder,
            reconciles,
            backoff: Backoff::default(),
            breakers: Mutex::default(),
            asked: Mutex::default(),
            accepted: Mutex::default(),
            turn: Mutex::default(),
            told: Mutex::default(),
            runs: Mutex::default(),
            opened: Mutex::default(),
            refused: Mutex::default(),
        }
    }

    /// The API of a kind in a namespace.
    #[must_use]
    pub fn api<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// A region by name.
    #[must_use]
    pub fn region(&self, name: &str) -> Option<Region> {
        self.caches.regions.get(&ObjectRef::new(name)).map(|region| (*region).clone())
    }

    /// An instance by name.
    #[must_use]
    pub fn instance(&self, namespace: &str, name: &str) -> Option<DatabaseInstance> {
        self.caches.instances.get(&ObjectRef::new(name).within(namespace)).map(|instance| (*instance).clone())
    }

    /// A service by name.
    #[must_use]
    pub fn service(&self, namespace: &str, name: &str) -> Option<BackupSyncService> {
        self.caches.services.get(&ObjectRef::new(name).within(namespace)).map(|service| (*service).clone())
    }

    /// The last proof that a service's copy can be restored.
    #[must_use]
    pub fn last_proved(&self, namespace: &str, service: &str) -> Option<LastProved> {
        let of_service = |drill: &RecoveryDrill| {
            drill.namespace().as_deref() == Some(namespace) && drill.spec.service_ref.name == service
        };
        let drills = self.caches.drills.state_filter(of_service);
        let proofs = drills.iter().filter_map(|drill| {
            let passed = drill.status.as_ref()?.last_passed.clone()?;
            Some(LastProved {
                at: passed.completed_at,
                time_point: passed.time_point,
                duration: passed.duration,
                drill: drill.name_any(),
            })
        });
        proofs.max_by_key(|proof| proof.at.0)
    }

    /// What is being restored from a service's copy now: instances and drills, in words.
    #[must_use]
    pub fn restores(&self, namespace: &str, service: &str) -> Vec<String> {
        let here = |found: Option<String>| found.as_deref() == Some(namespace);
        let instances = self.caches.instances.state();
        let instances = instances.iter().filter(|instance| {
            let from = instance.spec.bootstrap.as_ref().map(|b| b.recovery.service_ref.name.as_str());
            let phase = instance.status.as_ref().and_then(|status| status.phase);
            let reads = matches!(phase, Some(InstancePhase::Planning | InstancePhase::Restoring));
            here(instance.namespace()) && from == Some(service) && reads
        });
        let drills = self.caches.drills.state();
        let drills = drills.iter().filter(|drill| {
            let runs = drill.status.as_ref().and_then(|status| status.phase) == Some(DrillPhase::Running);
            here(drill.namespace()) && drill.spec.service_ref.name == service && runs
        });
        let instances = instances.map(|instance| format!("DatabaseInstance {}", instance.name_any()));
        instances.chain(drills.map(|drill| format!("RecoveryDrill {}", drill.name_any()))).collect()
    }

    /// Claims of every service that is known; those accepted a moment ago count as accepted, although the
    /// cache does not know yet.
    #[must_use]
    pub fn claims(&self) -> Vec<Claim> {
        let accepted = locked(&self.accepted);
        let mut claims: Vec<_> =
            self.caches.services.state().iter().map(|service| self.claim(service)).collect();
        for claim in &mut claims {
            claim.accepted |= accepted.contains(&claim.uid);
        }
        claims
    }

    fn claim(&self, service: &BackupSyncService) -> Claim {
        let namespace = service.namespace().unwrap_or_default();
        let instance = self.instance(&namespace, &service.spec.instance_ref.name);
        let source = instance.as_ref().and_then(|instance| self.region(&instance.spec.region));
        let target = self.region(&service.spec.target.region);
        Claim::new(service, instance.as_ref(), source.as_ref(), target.as_ref())
    }

    /// Claims of every rule that is known, like those of services.
    #[must_use]
    pub fn pair_claims(&self) -> Vec<PairClaim> {
        let accepted = locked(&self.accepted);
        let rules = self.caches.rules.state();
        let mut claims: Vec<_> = rules
            .iter()
            .map(|rule| {
                let (source, target) =
                    (self.region(&rule.spec.source.region), self.region(&rule.spec.target.region));
                PairClaim::new(rule, source.as_ref(), target.as_ref())
            })
            .collect();
        for claim in &mut claims {
            claim.accepted |= accepted.contains(&claim.uid);
        }
        claims
    }

    /// Claims of every disaster recovery instance that is known, like those of services.
    #[must_use]
    pub fn standby_claims(&self) -> Vec<StandbyClaim> {
        let accepted = locked(&self.accepted);
        let standbys = self.caches.standbys.state();
        let mut claims: Vec<_> = standbys.iter().map(|standby| self.standby_claim(standby)).collect();
        for claim in &mut claims {
            claim.accepted |= accepted.contains(&claim.uid);
        }
        claims
    }

    fn standby_claim(&self, standby: &DisasterRecoveryInstance) -> StandbyClaim {
        let namespace = standby.namespace().unwrap_or_default();
        let master = self.instance(&namespace, &standby.spec.master_ref.name);
        let of_master = master.as_ref().and_then(|master| self.region(&master.spec.region));
        let region = self.region(&standby.spec.region);
        let viable = is_viable(standby, master.as_ref(), (of_master.as_ref(), region.as_ref()));
        StandbyClaim::new(standby, viable)
    }

    /// Runs a ruling and remembers an acceptance in one breath, so that of two resources that are looked
    /// at together only one is accepted. `judge` asks for the claims.
    ///
    /// # Errors
    /// What the ruling objects to.
    pub fn judged<T>(&self, uid: &str, judge: impl FnOnce() -> Result<T, Objection>) -> Result<T, Objection> {
        // Held until the answer is known; nothing awaits in between.
        let _turn = locked(&self.turn);
        let answer = judge();
        let mut known = locked(&self.accepted);
        if answer.is_ok() {
            known.insert(uid.to_owned());
        } else {
            known.remove(uid);
        }
        answer
    }

    /// Memory of a region's breaker, for this generation of the region.
    #[must_use]
    pub fn breaker(&self, region: &Region) -> Option<Breaker> {
        let breakers = locked(&self.breakers);
        let (generation, breaker) = breakers.get(&region.name_any())?;
        (*generation == region.metadata.generation).then(|| breaker.clone())
    }

    /// Remembers a region's breaker.
    pub fn keep_breaker(&self, region: &Region, breaker: Breaker) {
        locked(&self.breakers).insert(region.name_any(), (region.metadata.generation, breaker));
    }

    /// A worker could not reach a region's store: have it asked at once.
    pub fn nudge(&self, region: &str) {
        let Some(pauses) = self.options.timing.probes else { return };
        if let Some((_, breaker)) = locked(&self.breakers).get_mut(region) {
            *breaker = breaker.clone().nudged(&pauses);
        }
        if self.queues.regions.try_send(ObjectRef::new(region)).is_err() {
            tracing::debug!(region, "queue is full; the region is looked at soon anyway");
        }
    }

    /// Last answer of an instance.
    #[must_use]
    pub fn asked(&self, uid: &str) -> Option<Asked> {
        locked(&self.asked).get(uid).cloned()
    }

    /// Remembers an answer of an instance.
    pub fn keep_asked(&self, uid: &str, asked: Asked) {
        locked(&self.asked).insert(uid.to_owned(), asked);
    }

    /// True the first time that this is told of an object, and whenever the text has changed.
    #[must_use]
    pub fn is_news(&self, uid: &str, subject: &str, text: &str) -> bool {
        locked(&self.told)
            .insert((uid.to_owned(), subject.to_owned()), text.to_owned())
            .is_none_or(|old| old != text)
    }

    /// Id of the last run that was started here, for when nothing else of it is left.
    #[must_use]
    pub fn last_run(&self, uid: &str) -> Option<String> {
        locked(&self.runs).get(uid).cloned()
    }

    /// Remembers a run that was started.
    pub fn keep_run(&self, uid: &str, run_id: &str) {
        locked(&self.runs).insert(uid.to_owned(), run_id.to_owned());
    }

    /// Whether the way to a resource's receiver was opened since everything was looked at last.
    #[must_use]
    pub fn has_opened(&self, uid: &str) -> bool {
        locked(&self.opened).get(uid).is_some_and(|at| at.elapsed() < self.options.timing.recheck)
    }

    /// Remembers that it is open.
    pub fn keep_opened(&self, uid: &str) {
        locked(&self.opened).insert(uid.to_owned(), Instant::now());
    }

    /// Forgets that it was open.
    pub fn forget_opened(&self, uid: &str) {
        locked(&self.opened).remove(uid);
    }

    /// Why another operator's resource was not taken by the API server, when that was last tried.
    #[must_use]
    pub fn refused(&self, uid: &str) -> Option<String> {
        locked(&self.refused).get(uid).cloned()
    }

    /// Remembers that it was not taken, or was.
    pub fn keep_refused(&self, uid: &str, why: Option<String>) {
        let mut refused = locked(&self.refused);
        match why {
            Some(why) => refused.insert(uid.to_owned(), why),
            None => refused.remove(uid),
        };
    }

    /// Forgets an object that is gone.
    pub fn forget(&self, uid: &str) {
        locked(&self.asked).remove(uid);
        locked(&self.accepted).remove(uid);
        locked(&self.runs).remove(uid);
        locked(&self.opened).retain(|known, _| !known.starts_with(uid));
        locked(&self.refused).remove(uid);
        locked(&self.told).retain(|(known, _), _| known != uid);
        self.backoff.reset(uid);
    }

    /// Whether an object with these labels is ours, and not given to another controller.
    #[must_use]
    pub fn is_ours(&self, labels: Option<&BTreeMap<String, String>>) -> bool {
        labels.and_then(|labels| labels.get(CONTROLLER)).is_none_or(|name| *name == self.options.lease_name)
    }

    /// Whether the resources of a namespace are ours.
    #[must_use]
    pub fn serves_namespace(&self, namespace: &str) -> bool {
        let known = self.caches.namespaces.get(&ObjectRef::new(namespace));
        known.is_none_or(|namespace| self.is_ours(namespace.metadata.labels.as_ref()))
    }

    /// What tells this cluster from others: the UID of a namespace that every cluster has.
    pub fn cluster(&self) -> Option<String> {
        let system = self.caches.namespaces.get(&ObjectRef::new("kube-system"))?;
        system.metadata.uid.clone()
    }

    /// Whether a namespace is on its way out: nothing can be created there.
    pub fn is_terminating(&self, namespace: &str) -> bool {
        let known = self.caches.namespaces.get(&ObjectRef::new(namespace));
        // A namespace that is gone from the cache is past terminating.
        known.is_none_or(|namespace| namespace.metadata.deletion_timestamp.is_some())
    }
}

/// A lock; what a panic left behind is still whole, since nothing here panics half-way.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// UID of an object; every object that came from the API server has one.
#[must_use]
pub fn uid_of<K: Resource>(object: &K) -> String {
    object.meta().uid.clone().unwrap_or_default()
}

/// A call that may find nothing.
///
/// # Errors
/// Every error but `NotFound`.
pub fn unless_gone<T>(result: kube::Result<T>) -> Result<Option<T>, Error> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(None),
        Err(error) => Err(error.into()),
    }
}
