//! A service, two buckets, and workers between them as child processes.

use std::{
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use bytes::Bytes;
use farshore::{
    api::{BackupSyncService, Observed},
    store::{ListRequest, ObjectStore, PutOptions, s3::S3Store},
};
use jiff::{SignedDuration, Timestamp};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    cluster::{Room, kubeconfig_for},
    history::Server,
    stores,
};

const PATIENCE: Duration = Duration::from_secs(90);

pub struct Setting {
    room: Room,
    uid: String,
    folder: TempDir,
    pub source: S3Store,
    pub target: S3Store,
    server: Server,
}

/// A change of the task: a shift of this length that looks this often.
pub fn shift(seconds: u64, interval: u64) -> impl FnOnce(&mut Value) {
    move |task| {
        task["work"]["sync"]["mode"] = json!({"shift": {"seconds": seconds}});
        task["work"]["sync"]["intervalSeconds"] = json!(interval);
    }
}

impl Setting {
    pub async fn new(stem: &str) -> Self {
        let room = Room::new(stem).await;
        let service: BackupSyncService = serde_json::from_value(json!({
            "metadata": {"name": "copy"},
            "spec": {"instanceRef": {"name": "orders"}, "suspend": true, "target": {
                "region": room.namespace, "bucket": "dr-backups", "prefix": "orders/",
                "credentials": {"secretRef": {"name": "target"}},
            }},
        }))
        .unwrap();
        let api = Api::<BackupSyncService>::namespaced(room.client.clone(), &room.namespace);
        let service = api.create(&PostParams::default(), &service).await.unwrap();
        let rules = json!([
            {"apiGroups": ["farshore.dev"], "resources": ["backupsyncservices"], "resourceNames": ["copy"],
             "verbs": ["get", "list", "watch"]},
            {"apiGroups": ["farshore.dev"], "resources": ["backupsyncservices/status"], "resourceNames": ["copy"],
             "verbs": ["patch"]},
        ]);
        let account = json!({"kind": "ServiceAccount", "name": "farshore-copy", "namespace": room.namespace});
        room.grant("farshore-copy", account, rules).await;
        let folder = TempDir::new().unwrap();
        let user = format!("system:serviceaccount:{}:farshore-copy", room.namespace);
        std::fs::write(folder.path().join("kubeconfig"), kubeconfig_for(&user)).unwrap();
        let server = Server::new(101, Timestamp::now() - SignedDuration::from_mins(90));
        let (source, target) = (stores::minio_a().await, stores::minio_b().await);
        let setting = Self { room, uid: service.metadata.uid.unwrap(), folder, source, target, server };
        setting.right_keys("source");
        setting.right_keys("target");
        setting
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn right_keys(&self, side: &str) {
        let variable = |name: &str| std::env::var(name).unwrap();
        self.keys(side, &variable("FARSHORE_TEST_ACCESS_KEY"), &variable("FARSHORE_TEST_SECRET_KEY"));
    }

    /// Puts keys where a Secret would be mounted.
    pub fn keys(&self, side: &str, access: &str, secret: &str) {
        let folder = self.path(side);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("AWS_ACCESS_KEY_ID"), access).unwrap();
        std::fs::write(folder.join("AWS_SECRET_ACCESS_KEY"), secret).unwrap();
    }

    /// A log, a base of `size` bytes, and `logs` more; the newest moment that they restore.
    pub async fn history(&mut self, size: usize, logs: usize) -> Timestamp {
        let mut latest = self.more().await;
        let mut made = Vec::new();
        self.server.base(size, &mut |key: &str, body: Bytes, _| made.push((key.to_owned(), body)));
        self.upload(made).await;
        for _ in 0..logs {
            latest = self.more().await;
        }
        latest
    }

    /// A minute of work that ends in a closed log; the newest moment that it restores.
    pub async fn more(&mut self) -> Timestamp {
        let mut made = Vec::new();
        self.server.pass(20);
        self.server.commit();
        self.server.pass(20);
        self.server.rotate(&mut |key: &str, body: Bytes, _| made.push((key.to_owned(), body)));
        self.upload(made).await;
        let second = self.server.now.as_second() - 1;
        Timestamp::from_second(second).unwrap()
    }

    async fn upload(&self, made: Vec<(String, Bytes)>) {
        for (key, body) in made {
            self.source.put(&format!("orders/{key}"), body, &PutOptions::default()).await.unwrap();
        }
    }

    fn task(&self) -> Value {
        let place = |region: &str, variable: &str, store: &S3Store| {
            json!({"region": region, "endpoint": stores::endpoint(variable), "signingRegion": "us-east-1",
                   "addressing": "Path", "bucket": store.bucket(), "prefix": "orders/"})
        };
        json!({
            "version": 1,
            "owner": {"kind": "BackupSyncService", "namespace": self.room.namespace, "name": "copy",
                      "uid": self.uid, "generation": 1},
            "work": {"sync": {
                "source": place("north", "FARSHORE_TEST_MINIO_A", &self.source),
                "target": place("east", "FARSHORE_TEST_MINIO_B", &self.target),
                "format": {"name": "mariaDBOperator"}, "engine": "MySQL",
                "retentionSeconds": 604_800, "intervalSeconds": 5, "mode": "cycle",
            }},
        })
    }

    /// Starts a worker with a task.
    pub fn start(&self, run_id: &str, change: impl FnOnce(&mut Value)) -> Worker {
        let mut task = self.task();
        change(&mut task);
        Worker::start(self.folder.path(), "sync", run_id, &task.to_string())
    }

    /// Empties both buckets: the stores outlive the test.
    pub async fn clear(&self) {
        for store in [&self.source, &self.target] {
            let page = store.list(&ListRequest::default()).await.unwrap();
            for object in page.objects {
                store.delete(&object.key, None).await.unwrap();
            }
        }
    }

    fn api(&self) -> Api<BackupSyncService> {
        Api::namespaced(self.room.client.clone(), &self.room.namespace)
    }

    pub async fn observed(&self) -> Option<Observed> {
        self.api().get("copy").await.unwrap().status.and_then(|status| status.observed)
    }

    /// Waits for a report, while the worker lives.
    pub async fn until(
        &self,
        worker: &mut Worker,
        what: &str,
        holds: impl Fn(&Observed) -> bool,
    ) -> Observed {
        let start = Instant::now();
        loop {
            let told = self.observed().await;
            if let Some(told) = told.as_ref().filter(|told| holds(told)) {
                return told.clone();
            }
            let ended = worker.child.try_wait().unwrap();
            assert!(
                ended.is_none() && start.elapsed() < PATIENCE,
                "was to {what}: {told:#?}\n{}",
                worker.log()
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    pub async fn annotate(&self, name: &str, value: &str) {
        let patch = json!({"metadata": {"annotations": {name: value}}});
        self.api().patch("copy", &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    }

    pub async fn delete(&self) {
        self.api().delete("copy", &DeleteParams::default()).await.unwrap();
    }
}

/// Where nobody listens.
pub fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// A worker's process, killed with its test.
pub struct Worker {
    child: Child,
    pub health: SocketAddr,
    log: PathBuf,
    words: PathBuf,
}

impl Worker {
    /// A process with a task's text. `folder` holds its kubeconfig and the stores' keys, and takes its files.
    pub fn start(folder: &Path, role: &str, run_id: &str, task: &str) -> Self {
        Self::start_at(folder, role, run_id, (task, free_address()))
    }

    /// It receives a store's messages at an address, if its task says so.
    pub fn start_at(folder: &Path, role: &str, run_id: &str, (task, receiver): (&str, SocketAddr)) -> Self {
        let file = |name: &str| folder.join(format!("{run_id}.{name}"));
        std::fs::write(file("task"), task).unwrap();
        let health = free_address();
        let child = Command::new(env!("CARGO_BIN_EXE_farshore"))
            .args(["worker", role, "--run-id", run_id, "--task-hash", &farshore::task::hash(task)])
            .arg("--task")
            .arg(file("task"))
            .arg("--source-credentials")
            .arg(folder.join("source"))
            .arg("--target-credentials")
            .arg(folder.join("target"))
            .arg("--instance-credentials")
            .arg(folder.join("instance"))
            .arg("--receiver-token")
            .arg(folder.join("receiver"))
            .arg("--queue-credentials")
            .arg(folder.join("queue"))
            .arg("--termination-log")
            .arg(file("words"))
            .args(["--health-address", &health.to_string()])
            // Of a migration only.
            .arg("--plan")
            .arg(folder.join("plan"))
            .args(["--index", "0"])
            .args(["--receiver-address", &receiver.to_string()])
            .env("KUBECONFIG", folder.join("kubeconfig"))
            .stdin(Stdio::null())
            .stderr(std::fs::File::create(file("log")).unwrap())
            .spawn()
            .unwrap();
        Self { child, health, log: file("log"), words: file("words") }
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    pub fn last_words(&self) -> Value {
        serde_json::from_str(&std::fs::read_to_string(&self.words).unwrap()).unwrap()
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn terminate(&self) {
        assert!(Command::new("kill").arg(self.child.id().to_string()).status().unwrap().success());
    }

    /// Waits for its end; the exit code.
    pub async fn end(&mut self, limit: Duration) -> Option<i32> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(start.elapsed() < limit, "still there after {limit:?}: {}", self.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The most memory that it ever held, without the pages of the program's file: these are many in a debug build,
    /// and nobody's but the kernel's, which drops them as it likes.
    pub fn peak_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let kib = |name: &str| -> u64 {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse().unwrap()
        };
        kib("VmHWM:") - kib("RssFile:")
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
