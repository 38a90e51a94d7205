//! Starts everything, and ends when one part does.

use std::{future::Future, sync::Arc, time::Duration};

use futures::FutureExt;
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{Namespace, Pod},
};
use kube::{
    Api, Client, Config, CustomResourceExt, Resource,
    api::ListParams,
    core::{DeserializeGuard, NamespaceResourceScope, PartialObjectMeta},
    runtime::{
        reflector::{self, store::Writer},
        watcher,
    },
};
use prometheus_client::registry::Registry;
use tokio::{sync::mpsc, task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    Context, Error, Options, changes,
    context::{Caches, Queues},
    drill, instance,
    lease::Elector,
    metrics::{Reconciles, Resources},
    queue, region, rule, server, service, standby,
    watch::{Seen, Watched, watch},
};
use crate::api::{
    BackupSyncService, BucketReplicationRule, DatabaseInstance, DisasterRecoveryInstance, RecoveryDrill,
    Region,
};

/// A queue holds names; a watch that outruns the reconciles waits.
const QUEUE: usize = 1024;
const REQUEST: Duration = Duration::from_secs(15);

/// Our children carry this label; nothing else is watched of Jobs and pods.
pub(super) const MANAGED: &str = "app.kubernetes.io/managed-by=farshore";

/// Runs the controller against the cluster of the environment until `stop`.
///
/// # Errors
/// When there is no cluster, a definition is missing, leadership is lost, or any part ends.
pub async fn run(options: Options, stop: CancellationToken) -> Result<(), Error> {
    let config = Config::infer().await.map_err(Error::Config)?;
    run_with(config, options, stop).await
}

/// Runs the controller against a cluster until `stop`.
///
/// # Errors
/// See [`run`].
pub async fn run_with(mut config: Config, options: Options, stop: CancellationToken) -> Result<(), Error> {
    // Hidden retries would hold a reconcile for minutes; what fails is tried again by its object's back-off.
    config.default_retry = false;
    config.connect_timeout = Some(Duration::from_secs(5));
    let watches = Client::try_from(config.clone())?;
    // A request that is not answered is given up. Watches have their own client: they are silent for long.
    config.read_timeout = Some(REQUEST);
    config.write_timeout = Some(REQUEST);
    config.reset_reader_on_write = true;
    let client = Client::try_from(config)?;
    require_definitions(&client).await?;

    let mut registry = Registry::default();
    let reconciles = Reconciles::register(&mut registry);
    let (stores, writers) = stores();
    let collector = Resources {
        services: stores.services.clone(),
        rules: stores.rules.clone(),
        drills: stores.drills.clone(),
        standbys: stores.standbys.clone(),
        regions: stores.regions.clone(),
    };
    registry.register_collector(Box::new(collector));

    let mut tasks = Tasks::new(stop.clone());
    if let Some(address) = options.listen {
        tasks.spawn("server", server::serve(address, Arc::new(registry), stop.clone()));
    }
    let leads = CancellationToken::new();
    let ends = CancellationToken::new();
    if options.leader_election {
        let mut elector =
            Elector::new(client.clone(), &options.namespace, &options.lease_name, &options.identity);
        let acquired = tokio::select! {
            () = elector.acquire() => true,
            ended = tasks.first() => return ended,
            () = stop.cancelled() => false,
        };
        if !acquired {
            return tasks.end().await;
        }
        tracing::info!(lease = options.lease_name, "leading");
        // The Lease is given back last, when nothing is written any more.
        tasks.spawn("lease", elector.keep(ends.clone()));
    }
    leads.cancel();
    let lead = lead(client, watches, (options, reconciles), (stores, writers), stop.clone());
    tasks.spawn(
        "reconciles",
        lead.map(move |result| {
            ends.cancel();
            result
        }),
    );
    tasks.end().await
}

/// Parts of the process: when one ends before it should, all do.
struct Tasks {
    set: JoinSet<(&'static str, Result<(), Error>)>,
    stop: CancellationToken,
}

impl Tasks {
    fn new(stop: CancellationToken) -> Self {
        Self { set: JoinSet::new(), stop }
    }

    fn spawn(&mut self, name: &'static str, part: impl Future<Output = Result<(), Error>> + Send + 'static) {
        self.set.spawn(async move { (name, part.await) });
    }

    /// Waits for one part to end; before `stop`, that is an error.
    async fn first(&mut self) -> Result<(), Error> {
        match self.set.join_next().await {
            None => std::future::pending().await,
            Some(Err(panic)) => Err(panic.into()),
            Some(Ok((_, Err(error)))) => Err(error),
            Some(Ok((name, Ok(())))) if !self.stop.is_cancelled() => Err(Error::Ended(name)),
            Some(Ok((_, Ok(())))) => Ok(()),
        }
    }

    /// Waits for all parts; the first that ends too early ends the others.
    async fn end(mut self) -> Result<(), Error> {
        while !self.set.is_empty() {
            self.first().await?;
        }
        Ok(())
    }
}

async fn require_definitions(client: &Client) -> Result<(), Error> {
    let found = [
        known::<Region>(client).await,
        known::<DatabaseInstance>(client).await,
        known::<BackupSyncService>(client).await,
        known::<BucketReplicationRule>(client).await,
        known::<RecoveryDrill>(client).await,
        known::<DisasterRecoveryInstance>(client).await,
    ];
    let mut missing = Vec::new();
    for (name, error) in found {
        match error {
            Some(kube::Error::Api(status)) if status.is_not_found() => missing.push(name),
            // With rights on some namespaces only, being refused says that the kind is known.
            Some(kube::Error::Api(status)) if status.is_forbidden() => {}
            Some(error) => return Err(error.into()),
            None => {}
        }
    }
    if missing.is_empty() { Ok(()) } else { Err(Error::MissingDefinitions { kinds: missing.join(", ") }) }
}

/// A kind's name, and what the API server says when it is asked for one object of it.
async fn known<K>(client: &Client) -> (&'static str, Option<kube::Error>)
where
    K: Watched + CustomResourceExt,
{
    let api = Api::<DeserializeGuard<K>>::all(client.clone());
    (K::crd_name(), api.list(&ListParams::default().limit(1)).await.err())
}

struct Writers {
    regions: Writer<Region>,
    instances: Writer<DatabaseInstance>,
    services: Writer<BackupSyncService>,
    rules: Writer<BucketReplicationRule>,
    drills: Writer<RecoveryDrill>,
    standbys: Writer<DisasterRecoveryInstance>,
    jobs: Writer<Job>,
    pods: Writer<Pod>,
    namespaces: Writer<PartialObjectMeta<Namespace>>,
}

fn stores() -> (Caches, Writers) {
    let (regions, write_regions) = reflector::store();
    let (instances, write_instances) = reflector::store();
    let (services, write_services) = reflector::store();
    let (rules, write_rules) = reflector::store();
    let (drills, write_drills) = reflector::store();
    let (standbys, write_standbys) = reflector::store();
    let (jobs, write_jobs) = reflector::store();
    let (pods, write_pods) = reflector::store();
    let (namespaces, write_namespaces) = reflector::store();
    let writers = Writers {
        regions: write_regions,
        instances: write_instances,
        services: write_services,
        rules: write_rules,
        drills: write_drills,
        standbys: write_standbys,
        jobs: write_jobs,
        pods: write_pods,
        namespaces: write_namespaces,
    };
    (Caches { regions, instances, services, rules, drills, standbys, jobs, pods, namespaces }, writers)
}

fn apis<K>(client: &Client, options: &Options) -> Vec<Api<DeserializeGuard<K>>>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
{
    if options.watch_namespaces.is_empty() {
        return vec![Api::all(client.clone())];
    }
    options.watch_namespaces.iter().map(|namespace| Api::namespaced(client.clone(), namespace)).collect()
}

async fn lead(
    client: Client,
    watches: Client,
    (options, reconciles): (Options, Reconciles),
    (caches, writers): (Caches, Writers),
    stop: CancellationToken,
) -> Result<(), Error> {
    let (regions, region_queue) = mpsc::channel(QUEUE);
    let (instances, instance_queue) = mpsc::channel(QUEUE);
    let (services, service_queue) = mpsc::channel(QUEUE);
    let (rules, rule_queue) = mpsc::channel(QUEUE);
    let (drills, drill_queue) = mpsc::channel(QUEUE);
    let (standbys, standby_queue) = mpsc::channel(QUEUE);
    let queues = Queues { regions, instances, services, rules, drills, standbys };
    let context = Arc::new(Context::new(client, options, caches.clone(), queues, reconciles));
    let mut tasks = Tasks::new(stop.clone());
    spawn_watches(&mut tasks, &watches, writers, &context);
    // Services are decided from all that is known: not before it is.
    let known = tokio::select! {
        known = all_listed(&caches) => known,
        ended = tasks.first() => return ended,
        () = stop.cancelled() => return Ok(()),
    };
    if !known {
        return Err(Error::Ended("watch"));
    }
    let mut drives = JoinSet::new();
    let shared = || (Arc::clone(&context), stop.clone());
    drives.spawn(queue::drive(caches.regions.clone(), region_queue, shared(), |r, c| {
        region::reconcile(r, c).boxed()
    }));
    drives.spawn(queue::drive(caches.instances.clone(), instance_queue, shared(), |i, c| {
        instance::reconcile(i, c).boxed()
    }));
    drives.spawn(queue::drive(caches.services.clone(), service_queue, shared(), |s, c| {
        service::reconcile(s, c).boxed()
    }));
    drives.spawn(queue::drive(caches.rules.clone(), rule_queue, shared(), |r, c| {
        rule::reconcile(r, c).boxed()
    }));
    drives.spawn(queue::drive(caches.drills.clone(), drill_queue, shared(), |d, c| {
        drill::reconcile(d, c).boxed()
    }));
    drives.spawn(queue::drive(caches.standbys.clone(), standby_queue, shared(), |s, c| {
        standby::reconcile(s, c).boxed()
    }));
    loop {
        tokio::select! {
            ended = drives.join_next() => match ended {
                None => return Ok(()),
                Some(Err(panic)) => return Err(panic.into()),
                Some(Ok(())) if !stop.is_cancelled() => return Err(Error::Ended("queue")),
                Some(Ok(())) => {}
            },
            ended = tasks.first() => return ended,
        }
    }
}

async fn all_listed(caches: &Caches) -> bool {
    let start = Instant::now();
    let Caches { regions, instances, services, rules, drills, standbys, jobs, pods, namespaces } = caches;
    let listed = regions.wait_until_ready().await.is_ok()
        && instances.wait_until_ready().await.is_ok()
        && services.wait_until_ready().await.is_ok()
        && rules.wait_until_ready().await.is_ok()
        && drills.wait_until_ready().await.is_ok()
        && standbys.wait_until_ready().await.is_ok()
        && jobs.wait_until_ready().await.is_ok()
        && pods.wait_until_ready().await.is_ok()
        && namespaces.wait_until_ready().await.is_ok();
    tracing::info!(services = services.len(), rules = rules.len(), regions = regions.len(), took = ?start.elapsed(), "all is listed");
    listed
}

/// Spawns a watch a kind.
struct Watches<'a> {
    tasks: &'a mut Tasks,
    context: &'a Arc<Context>,
}

impl Watches<'_> {
    fn spawn<K, F>(
        &mut self,
        apis: Vec<Api<DeserializeGuard<K>>>,
        config: watcher::Config,
        writer: Writer<K>,
        tell: fn(Arc<Context>, Seen<K>) -> F,
    ) where
        K: Watched,
        F: Future<Output = ()> + Send + 'static,
    {
        let context = Arc::clone(self.context);
        let watching = watch(apis, config, writer, move |seen| tell(Arc::clone(&context), seen).boxed());
        self.tasks.spawn("watch", watching.map(Ok));
    }
}

fn spawn_watches(tasks: &mut Tasks, client: &Client, writers: Writers, context: &Arc<Context>) {
    let all = watcher::Config::default;
    let ours = || watcher::Config::default().labels(MANAGED);
    let Writers { regions, instances, services, rules, drills, standbys, jobs, pods, namespaces } = writers;
    let options = &context.options;
    let mut watches = Watches { tasks, context };
    watches.spawn(vec![Api::all(client.clone())], all(), regions, changes::region_seen);
    watches.spawn(apis(client, options), all(), instances, changes::instance_seen);
    watches.spawn(apis(client, options), all(), services, changes::service_seen);
    watches.spawn(apis(client, options), all(), rules, changes::rule_seen);
    watches.spawn(apis(client, options), all(), drills, changes::drill_seen);
    watches.spawn(apis(client, options), all(), standbys, changes::standby_seen);
    watches.spawn(apis::<Job>(client, options), ours(), jobs, changes::child_seen);
    watches.spawn(apis::<Pod>(client, options), ours(), pods, changes::child_seen);
    watches.spawn(vec![Api::all(client.clone())], all(), namespaces, changes::namespace_seen);
}
