//! Starts everything, and ends when one part does.

use std::{future::Future, sync::Arc, time::Duration};

use futures::{FutureExt, future::BoxFuture};
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{Namespace, ObjectReference, Pod},
};
use kube::{
    Api, Client, Config, CustomResourceExt, Resource, ResourceExt,
    api::ListParams,
    core::{DeserializeGuard, NamespaceResourceScope, PartialObjectMeta},
    runtime::{
        reflector::{self, ObjectRef, store::Writer},
        watcher,
    },
};
use prometheus_client::registry::Registry;
use tokio::{sync::mpsc, task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    Context, Error, Options,
    context::{Caches, Queues, uid_of},
    events::Announcement,
    instance,
    lease::Elector,
    metrics::{Reconciles, Resources},
    queue, region, server, service,
    watch::{Seen, Watched, watch},
};
use crate::api::{BackupSyncService, DatabaseInstance, Region};

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
    let collector = Resources { services: stores.services.clone(), regions: stores.regions.clone() };
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
    let limit = ListParams::default().limit(1);
    let found = [
        (Region::crd_name(), Api::<DeserializeGuard<Region>>::all(client.clone()).list(&limit).await.err()),
        (
            DatabaseInstance::crd_name(),
            Api::<DeserializeGuard<DatabaseInstance>>::all(client.clone()).list(&limit).await.err(),
        ),
        (
            BackupSyncService::crd_name(),
            Api::<DeserializeGuard<BackupSyncService>>::all(client.clone()).list(&limit).await.err(),
        ),
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

struct Writers {
    regions: Writer<Region>,
    instances: Writer<DatabaseInstance>,
    services: Writer<BackupSyncService>,
    jobs: Writer<Job>,
    pods: Writer<Pod>,
    namespaces: Writer<PartialObjectMeta<Namespace>>,
}

fn stores() -> (Caches, Writers) {
    let (regions, write_regions) = reflector::store();
    let (instances, write_instances) = reflector::store();
    let (services, write_services) = reflector::store();
    let (jobs, write_jobs) = reflector::store();
    let (pods, write_pods) = reflector::store();
    let (namespaces, write_namespaces) = reflector::store();
    let writers = Writers {
        regions: write_regions,
        instances: write_instances,
        services: write_services,
        jobs: write_jobs,
        pods: write_pods,
        namespaces: write_namespaces,
    };
    (Caches { regions, instances, services, jobs, pods, namespaces }, writers)
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
    let queues = Queues { regions, instances, services };
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
    let Caches { regions, instances, services, jobs, pods, namespaces } = caches;
    let listed = regions.wait_until_ready().await.is_ok()
        && instances.wait_until_ready().await.is_ok()
        && services.wait_until_ready().await.is_ok()
        && jobs.wait_until_ready().await.is_ok()
        && pods.wait_until_ready().await.is_ok()
        && namespaces.wait_until_ready().await.is_ok();
    tracing::info!(services = services.len(), regions = regions.len(), took = ?start.elapsed(), "all is listed");
    listed
}

fn spawn_watches(tasks: &mut Tasks, client: &Client, writers: Writers, context: &Arc<Context>) {
    let options = &context.options;
    let all = watcher::Config::default();
    let ours = watcher::Config::default().labels(MANAGED);
    let Writers { regions, instances, services, jobs, pods, namespaces } = writers;
    let spawn = |tasks: &mut Tasks, part: BoxFuture<'static, ()>| {
        tasks.spawn("watch", part.map(Ok));
    };
    let tell = |context: &Arc<Context>| Arc::clone(context);
    let c = tell(context);
    spawn(
        tasks,
        watch(vec![Api::all(client.clone())], all.clone(), regions, move |seen| {
            region_seen(Arc::clone(&c), seen).boxed()
        })
        .boxed(),
    );
    let c = tell(context);
    spawn(
        tasks,
        watch(apis(client, options), all.clone(), instances, move |seen| {
            instance_seen(Arc::clone(&c), seen).boxed()
        })
        .boxed(),
    );
    let c = tell(context);
    spawn(
        tasks,
        watch(apis(client, options), all.clone(), services, move |seen| {
            service_seen(Arc::clone(&c), seen).boxed()
        })
        .boxed(),
    );
    let c = tell(context);
    spawn(
        tasks,
        watch(apis::<Job>(client, options), ours.clone(), jobs, move |seen| {
            child_seen(Arc::clone(&c), seen).boxed()
        })
        .boxed(),
    );
    let c = tell(context);
    spawn(
        tasks,
        watch(apis::<Pod>(client, options), ours, pods, move |seen| child_seen(Arc::clone(&c), seen).boxed())
            .boxed(),
    );
    let c = tell(context);
    spawn(
        tasks,
        watch(vec![Api::all(client.clone())], all, namespaces, move |seen| {
            namespace_seen(Arc::clone(&c), seen).boxed()
        })
        .boxed(),
    );
}

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

async fn region_seen(context: Arc<Context>, seen: Seen<Region>) {
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
}

async fn instance_seen(context: Arc<Context>, seen: Seen<DatabaseInstance>) {
    let Some(instance) = readable(&context, seen).await else { return };
    send(&context.queues.instances, ObjectRef::from_obj(&instance)).await;
    // Its region may not have been asked before somebody needed it.
    send(&context.queues.regions, ObjectRef::new(&instance.spec.region)).await;
    send_services(&context, |service| {
        service.namespace() == instance.namespace() && service.spec.instance_ref.name == instance.name_any()
    })
    .await;
}

async fn service_seen(context: Arc<Context>, seen: Seen<BackupSyncService>) {
    let gone = matches!(seen, Seen::Gone(_));
    let Some(service) = readable(&context, seen).await else { return };
    if !gone {
        send(&context.queues.services, ObjectRef::from_obj(&service)).await;
    }
    let instance =
        ObjectRef::new(&service.spec.instance_ref.name).within(&service.namespace().unwrap_or_default());
    send(&context.queues.instances, instance).await;
    if gone {
        // Whoever was refused for its sake may be accepted now.
        send_services(&context, |other| !service::is_accepted(other)).await;
    }
}

async fn child_seen<K: Watched>(context: Arc<Context>, seen: Seen<K>) {
    let Some(child) = readable(&context, seen).await else { return };
    if let Some(name) = child.annotations().get(super::jobs::SERVICE) {
        let service = ObjectRef::new(name).within(&child.namespace().unwrap_or_default());
        send(&context.queues.services, service).await;
    }
}

async fn namespace_seen(context: Arc<Context>, seen: Seen<PartialObjectMeta<Namespace>>) {
    let Some(namespace) = readable(&context, seen).await else { return };
    if namespace.metadata.deletion_timestamp.is_some() {
        send_services(&context, |service| {
            service.namespace().as_deref() == namespace.metadata.name.as_deref()
        })
        .await;
    }
}
