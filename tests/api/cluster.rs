//! A namespace, regions and a controller of a test's own.

use std::{
    collections::BTreeSet,
    fmt::Debug,
    path::PathBuf,
    sync::Once,
    time::{Duration, Instant},
};

use farshore::{
    api::{BackupSyncService, CONTROLLER, DatabaseInstance, Region},
    controller::{Error, Options, Pauses, Timing, run_with},
};
use jiff::SignedDuration;
use k8s_openapi::api::{batch::v1::Job, core::v1::Namespace, events::v1::Event};
use kube::{
    Api, Client, Config, Resource, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
    core::NamespaceResourceScope,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::installed;

/// Longer than any step takes on a busy machine with two cores.
pub const PATIENCE: Duration = Duration::from_mins(1);

pub async fn config() -> Config {
    static CRYPTO: Once = Once::new();
    CRYPTO.call_once(|| drop(rustls::crypto::aws_lc_rs::default_provider().install_default()));
    let path = std::env::var_os("KUBECONFIG")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(".dev/kubeconfig"), PathBuf::from);
    let kubeconfig = Kubeconfig::read_from(&path).unwrap_or_else(|error| {
        panic!("no cluster ({}: {error}); run `make test`, or start one with dev/cluster up", path.display())
    });
    Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap()
}

/// A namespace `api-<stem>-<time>`, two regions of that name, and at most one controller for them.
pub struct World {
    pub client: Client,
    pub namespace: String,
    pub north: String,
    pub east: String,
    controllers: Vec<Controller>,
}

pub struct Controller {
    stop: CancellationToken,
    task: JoinHandle<Result<(), Error>>,
}

impl Controller {
    pub async fn stop(self) -> Result<(), Error> {
        self.stop.cancel();
        tokio::time::timeout(PATIENCE, self.task).await.expect("ends in time").expect("no panic")
    }

    pub async fn end(self) -> Result<(), Error> {
        tokio::time::timeout(PATIENCE, self.task).await.expect("ends in time").expect("no panic")
    }
}

impl World {
    pub async fn new(stem: &str) -> Self {
        let client = Client::try_from(config().await).unwrap();
        installed::install().await;
        let time = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_micros() % 10_000_000_000;
        let namespace = format!("api-{stem}-{time}");
        let object: Namespace = serde_json::from_value(json!({"metadata": {"name": namespace, "labels": {
            "pod-security.kubernetes.io/enforce": "restricted",
            // Another controller of the same cluster leaves it alone.
            CONTROLLER: namespace,
        }}}))
        .unwrap();
        Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &object).await.unwrap();
        let (north, east) = (format!("{namespace}-north"), format!("{namespace}-east"));
        let world = Self { client, namespace, north, east, controllers: Vec::new() };
        // Endpoints of their own: what is stored at one endpoint is one store, whatever the test.
        for name in [&world.north, &world.east] {
            world.region(name, &format!("http://{name}:9000")).await;
        }
        world
    }

    /// Options for this world alone. No region is asked: nothing listens at their endpoints.
    pub fn options(&self) -> Options {
        Options {
            regions: BTreeSet::from([self.north.clone(), self.east.clone()]),
            watch_namespaces: BTreeSet::from([self.namespace.clone()]),
            worker_image: "registry.invalid/farshore:none".to_owned(),
            leader_election: false,
            lease_name: self.namespace.clone(),
            namespace: self.namespace.clone(),
            identity: "tests".to_owned(),
            timing: Timing {
                probes: None,
                start_grace: Duration::from_secs(8),
                instance_grace: Duration::from_secs(4),
                catch_up: Duration::from_secs(2),
                recheck: Duration::from_secs(5),
                ..Timing::default()
            },
            ..Options::default()
        }
    }

    pub fn probing(&self) -> Options {
        let mut options = self.options();
        options.timing.probes = Some(Pauses {
            healthy: Duration::from_secs(1),
            first: Duration::from_millis(300),
            longest: Duration::from_secs(2),
            failures: 2,
        });
        options
    }

    pub async fn start(&mut self) -> &Self {
        self.start_with(self.options()).await;
        self
    }

    pub async fn start_with(&mut self, options: Options) {
        let controller = self.controller(options).await;
        self.controllers.push(controller);
    }

    pub async fn controller(&self, options: Options) -> Controller {
        let stop = CancellationToken::new();
        let task = tokio::spawn(run_with(config().await, options, stop.clone()));
        Controller { stop, task }
    }

    pub fn api<K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>>(&self) -> Api<K> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub async fn region(&self, name: &str, endpoint: &str) -> Region {
        self.region_with(name, endpoint, json!({})).await
    }

    pub async fn region_with(&self, name: &str, endpoint: &str, more: Value) -> Region {
        let mut spec = json!({"objectStore": {"endpoint": endpoint}});
        merge(&mut spec, more);
        let body = json!({"apiVersion": "farshore.dev/v1alpha1", "kind": "Region", "metadata": {"name": name, "labels": {CONTROLLER: self.namespace}}, "spec": spec});
        let api: Api<Region> = Api::all(self.client.clone());
        api.patch(name, &PatchParams::apply("tests").force(), &Patch::Apply(&body)).await.unwrap()
    }

    pub async fn instance(&self, name: &str, more: Value) -> DatabaseInstance {
        let mut spec = json!({
            "engine": "MySQL",
            "region": self.north,
            "backups": {
                "format": "MariaDBOperator", "bucket": "backups", "prefix": format!("{name}/"),
                "credentials": {"secretRef": {"name": "source"}},
            },
        });
        merge(&mut spec, more);
        self.create("DatabaseInstance", name, spec).await.unwrap()
    }

    pub async fn service(&self, name: &str, instance: &str, more: Value) -> BackupSyncService {
        self.try_service(name, instance, more).await.unwrap()
    }

    pub async fn try_service(
        &self,
        name: &str,
        instance: &str,
        more: Value,
    ) -> kube::Result<BackupSyncService> {
        let mut spec = json!({
            "instanceRef": {"name": instance},
            "target": {
                "region": self.east, "bucket": "dr-backups", "prefix": format!("{instance}/"),
                "credentials": {"secretRef": {"name": "target"}},
            },
        });
        merge(&mut spec, more);
        self.create("BackupSyncService", name, spec).await
    }

    pub async fn create<K>(&self, kind: &str, name: &str, spec: Value) -> kube::Result<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + Debug
            + DeserializeOwned
            + Serialize,
    {
        let body = json!({"apiVersion": "farshore.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec});
        self.api::<K>().patch(name, &PatchParams::apply("tests").force(), &Patch::Apply(&body)).await
    }

    pub async fn edit<K>(&self, name: &str, patch: Value) -> K
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        self.api::<K>().patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap()
    }

    pub async fn get(&self, name: &str) -> Option<BackupSyncService> {
        self.api::<BackupSyncService>().get_opt(name).await.unwrap()
    }

    /// Waits until a service is as it should be.
    pub async fn until(
        &self,
        name: &str,
        what: &str,
        holds: impl Fn(&BackupSyncService) -> bool,
    ) -> BackupSyncService {
        let start = Instant::now();
        loop {
            let service = self.get(name).await;
            match service {
                Some(service) if holds(&service) => return service,
                other => assert!(
                    start.elapsed() < PATIENCE,
                    "{name} was to: {what}; it is {}",
                    serde_json::to_string_pretty(&other.map(|service| service.status)).unwrap()
                ),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    pub async fn until_gone(&self, name: &str) {
        let start = Instant::now();
        while let Some(service) = self.get(name).await {
            assert!(start.elapsed() < PATIENCE, "{name} was to go; it is {:#?}", service.status);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    pub async fn jobs(&self) -> Vec<Job> {
        let mut jobs = self.api::<Job>().list(&ListParams::default()).await.unwrap().items;
        jobs.sort_by_key(|job| job.annotations().get("farshore.dev/run-id").cloned());
        jobs
    }

    /// Waits until the Jobs are as they should be.
    pub async fn until_jobs(&self, what: &str, holds: impl Fn(&[Job]) -> bool) -> Vec<Job> {
        let start = Instant::now();
        loop {
            let jobs = self.jobs().await;
            if holds(&jobs) {
                return jobs;
            }
            let names: Vec<_> = jobs.iter().map(|job| (job.name_any(), job.status.clone())).collect();
            assert!(start.elapsed() < PATIENCE, "Jobs were to: {what}; they are {names:#?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// What a worker would report for its run.
    pub async fn report(&self, service: &str, job: &Job, more: Value) {
        let now = jiff::Timestamp::now();
        let mut observed = json!({
            "runID": job.annotations()["farshore.dev/run-id"],
            "generation": 1,
            "reportedAt": now,
            "cycle": {
                "startedAt": now, "completedAt": now,
                "latestDataTimePoint": now, "basis": "Proved",
                "windows": [{"from": now - jiff::SignedDuration::from_hours(24), "to": now}],
                "sourceLatestTime": now,
                "backups": {"full": 1, "incremental": 0, "logs": 3, "bytes": 1234},
                "usage": {"storedBytes": 1234, "transferredBytes": 2345},
                "pending": {"objects": 0, "bytes": 0},
            },
        });
        merge(&mut observed, more);
        let body = json!({
            "apiVersion": "farshore.dev/v1alpha1", "kind": "BackupSyncService",
            "metadata": {"name": service}, "status": {"observed": observed},
        });
        let params = PatchParams::apply("farshore-worker");
        self.api::<BackupSyncService>().patch_status(service, &params, &Patch::Apply(&body)).await.unwrap();
    }

    /// Reasons of the Events about an object, here or in `default`.
    pub async fn events(&self, namespace: &str, about: &str) -> Vec<(String, String)> {
        let api: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        let events = api.list(&ListParams::default()).await.unwrap().items;
        let ours = events.into_iter().filter(|event| {
            event.regarding.as_ref().and_then(|regarding| regarding.name.as_deref()) == Some(about)
                && event.reporting_controller.as_deref() == Some("farshore.dev/controller")
        });
        ours.map(|event| (event.reason.unwrap_or_default(), event.note.unwrap_or_default())).collect()
    }

    pub async fn until_event(&self, about: &str, reason: &str) -> String {
        self.until_event_in(&self.namespace, about, reason).await
    }

    pub async fn until_event_in(&self, namespace: &str, about: &str, reason: &str) -> String {
        let start = Instant::now();
        loop {
            let events = self.events(namespace, about).await;
            if let Some((_, note)) = events.iter().find(|(found, _)| found == reason) {
                return note.clone();
            }
            assert!(start.elapsed() < PATIENCE, "{about} was to have an Event {reason}; it has {events:#?}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Ends the controllers in good order; the rest goes with the world itself.
    pub async fn end(mut self) {
        for controller in std::mem::take(&mut self.controllers) {
            controller.stop().await.unwrap();
        }
    }
}

impl Drop for World {
    /// Takes everything away, without waiting for it, also when the test has failed.
    fn drop(&mut self) {
        for controller in &self.controllers {
            controller.task.abort();
        }
        let namespace = self.namespace.clone();
        let cleaner = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(take_away(&namespace));
        });
        if cleaner.join().is_err() {
            eprintln!("{} could not be taken away", self.namespace);
        }
    }
}

async fn take_away(name: &str) {
    let client = Client::try_from(config().await).unwrap();
    let background = DeleteParams::background();
    let services: Api<BackupSyncService> = Api::namespaced(client.clone(), name);
    for service in services.list(&ListParams::default()).await.unwrap() {
        let patch = json!({"metadata": {"finalizers": null}});
        drop(services.patch(&service.name_any(), &PatchParams::default(), &Patch::Merge(&patch)).await);
    }
    drop(Api::<Namespace>::all(client.clone()).delete(name, &background).await);
    let regions: Api<Region> = Api::all(client);
    for region in regions.list_metadata(&ListParams::default()).await.unwrap() {
        if region.name_any().starts_with(name) {
            drop(regions.delete(&region.name_any(), &background).await);
        }
    }
}

pub fn merge(into: &mut Value, more: Value) {
    match (into, more) {
        (Value::Object(into), Value::Object(more)) => {
            for (key, value) in more {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, more) => *into = more,
    }
}

/// Status, reason and message of a condition; empty when it is not there.
pub fn condition(service: &BackupSyncService, type_: &str) -> (String, String, String) {
    let found =
        service.status.as_ref().and_then(|status| farshore::api::condition::find(&status.conditions, type_));
    found.map(|c| (c.status.clone(), c.reason.clone(), c.message.clone())).unwrap_or_default()
}

pub fn reason(service: &BackupSyncService, type_: &str) -> String {
    condition(service, type_).1
}

pub fn status(service: &BackupSyncService, type_: &str) -> String {
    condition(service, type_).0
}

/// A port that answers HTTP with a refusal, as an object store does to a stranger, until it is dropped.
pub struct Store {
    pub endpoint: String,
    address: std::net::SocketAddr,
    task: JoinHandle<()>,
}

impl Store {
    pub async fn new() -> Self {
        Self::ahead(SignedDuration::ZERO).await
    }

    /// One whose clock is ahead of ours.
    pub async fn ahead(offset: SignedDuration) -> Self {
        Self::at("127.0.0.1:0".parse().unwrap(), offset).await
    }

    async fn at(address: std::net::SocketAddr, offset: SignedDuration) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = axum::Router::new().fallback(move || async move {
            let date = (jiff::Timestamp::now() + offset).strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
            (axum::http::StatusCode::FORBIDDEN, [(axum::http::header::DATE, date)])
        });
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { endpoint: format!("http://{address}"), address, task }
    }

    pub fn go_down(self) -> std::net::SocketAddr {
        self.task.abort();
        self.address
    }

    pub async fn come_back(address: std::net::SocketAddr) -> Self {
        Self::at(address, SignedDuration::ZERO).await
    }
}
