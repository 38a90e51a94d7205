//! New instances from copies, on the cluster.
//!
//! A day in a minute: a database with all that makes moments hard lives beside the cluster, is archived to the source
//! region's store, and copied from there with a retention that is shorter than its life. Then the region burns down.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::Value;

use crate::{
    buckets,
    cluster::{
        DEMO, Namespace, SOURCE, TARGET, apply, await_service, await_some, get, kubectl, secret_value,
        service, try_kubectl,
    },
    moments,
    mysql_source::{Backups, Kind, Source},
    service::Fixture,
};

const SOON: Duration = Duration::from_mins(4);
/// Longest until a new Service leads to its pod.
const SETTLED: Duration = Duration::from_secs(30);
/// Shorter than the source's life: the window's first moment lies amid its logs, after the base.
const RETENTION: Duration = Duration::from_secs(12);

/// The image of the demo's database, which has the tools as well.
fn image() -> String {
    let orders = get("statefulset", SOURCE, "orders").expect("the demo's database");
    orders["spec"]["template"]["spec"]["containers"][0]["image"].as_str().expect("an image").to_owned()
}

/// An instance, restored from a service's copy in the same namespace.
struct Restored {
    namespace: String,
    name: String,
    service: &'static str,
}

impl Restored {
    fn new(namespace: &str, name: &str, service: &'static str) -> Self {
        Self { namespace: namespace.to_owned(), name: name.to_owned(), service }
    }

    fn manifest(&self, moment: Option<Timestamp>) -> String {
        let Self { namespace, name, service } = self;
        let moment = moment.map(|moment| format!("timePoint: \"{moment}\"")).unwrap_or_default();
        format!(
            "apiVersion: farshore.dev/v1alpha1
kind: DatabaseInstance
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  engine: MySQL
  region: {TARGET}
  bootstrap:
    recovery:
      serviceRef: {{name: {service}}}
      {moment}
    instance: {{image: \"{}\", storage: 1Gi, runAsUser: 65532, adminSecretRef: {{name: orders-admin}}}}
",
            image()
        )
    }

    fn status(&self) -> Value {
        get("databaseinstances.farshore.dev", &self.namespace, &self.name)
            .map(|found| found["status"].clone())
            .unwrap_or_default()
    }

    fn await_phase(&self, phase: &str) -> Value {
        let reached = || Some(self.status()).filter(|status| status["phase"] == phase);
        let what = format!("instance {}: {phase}", self.name);
        await_some(&what, SOON, reached, || format!("{:#}", self.status()))
    }

    /// Answers of a query, as the new instance's administrator, at the address that its status tells.
    fn ask(&self, query: &str) -> String {
        let endpoint = self.status()["endpoint"].as_str().expect("an endpoint").to_owned();
        let address = endpoint.strip_prefix("mysql://").expect("mysql").to_owned();
        let (host, port) = address.rsplit_once(':').expect("a port");
        let password = secret_value(&self.namespace, "orders-admin", "password");
        let settings = format!("[client]\nhost={host}\nport={port}\nuser=admin\npassword={password}\n");
        let (namespace, pod) = (&self.namespace, format!("{}-0", self.name));
        let command = [
            "exec",
            "-i",
            "-n",
            namespace,
            &pod,
            "--",
            "mariadb",
            "--defaults-file=/dev/stdin",
            "-BNe",
            query,
        ];
        let begin = Instant::now();
        loop {
            match try_kubectl(&command, Some(&settings)) {
                Ok(answer) => return answer.trim().to_owned(),
                // The node learns where a Service leads a moment after the pod is ready.
                Err(error) if error.contains("Can't connect") && begin.elapsed() < SETTLED => {
                    std::thread::sleep(Duration::from_millis(500));
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn forget(&self) {
        let Self { namespace, name, .. } = self;
        kubectl(&["delete", "databaseinstances.farshore.dev", name, "-n", namespace, "--ignore-not-found"]);
        let claim = format!("data-{name}-0");
        kubectl(&["delete", "pvc", &claim, "-n", namespace, "--ignore-not-found", "--wait=false"]);
    }
}

/// The newest window of a service. A base that outlived the logs after it is a window of its own, of one moment.
fn window(service: &Value) -> Option<(Timestamp, Timestamp)> {
    let newest = service["status"]["recoveryWindows"].as_array()?.last()?.clone();
    let moment = |key: &str| newest[key].as_str()?.parse().ok();
    Some((moment("from")?, moment("to")?))
}

/// Leads the address of the source region's store to its pods, or to nobody.
fn lead_source_to(app: &str) {
    let patch = format!("{{\"spec\":{{\"selector\":{{\"app\":\"{app}\"}}}}}}");
    kubectl(&["patch", "service", "minio", "-n", SOURCE, "--patch", &patch]);
}

/// While it lives, nobody reaches the source region's store.
struct Cut;

impl Cut {
    fn new() -> Self {
        lead_source_to("nobody");
        Self
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        lead_source_to("minio");
    }
}

/// The source's life, archived to the source region's store: what it wrote, and when, and the last log that was archived.
fn live(folder: &std::path::Path, prefix: &str) -> (moments::Journal, String) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let archive = runtime.block_on(async { buckets::store(SOURCE, "backups") });
    let kind = (Kind::MariaDb, Backups::Files);
    let mut source = Source::archived_to(kind, folder, (std::sync::Arc::new(archive), prefix));
    runtime.block_on(source.live((2, &[2, 16])));
    assert!(source.logs().len() > 20, "{:?}", source.logs());
    let logs = source.logs();
    (source.journal(), logs[logs.len() - 2].clone())
}

#[test]
#[ignore = "alone: the source region's store is taken away"]
fn b07_b08_b16_moments_of_a_day_are_restored_while_the_source_region_is_gone() {
    let space = Namespace::new("day");
    let namespace = space.0.as_str();
    let fixture = Fixture::without_backups(namespace, TARGET, "dr-backups");
    fixture.create_service_that(&format!("retention: {}s", RETENTION.as_secs()));
    let password = secret_value(DEMO, "orders-admin", "password");
    apply(&format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: orders-admin, namespace: {namespace}}}\nstringData: {{username: admin, password: \"{password}\"}}\n"
    ));
    let folder = tempfile::tempdir().expect("a folder");
    let (journal, last_log) = live(folder.path(), &fixture.prefix);
    let backwards = journal.windows(2).any(|pair| pair[1].0 < pair[0].0);
    assert!(backwards, "a transaction that waited bears an earlier time than the one before it");
    // Of the second in which the last log was closed, the next one may hold more.
    let last = journal.last().expect("transactions").0 - Duration::from_secs(1);
    // All that was archived is at the target, and was looked at there: a cycle takes a second, each five seconds. The
    // first moments are no promise any more.
    let target = buckets::open(TARGET, "dr-backups");
    let last_log = format!("{}binlogs/server-101/{last_log}.gz", fixture.prefix);
    let arrived = || buckets::read_all(&target, &last_log).pop();
    await_some("the last log at the target", SOON, arrived, String::new);
    std::thread::sleep(Duration::from_secs(10));
    await_service(namespace, "copy", "holds all of the day", SOON, |told| {
        window(told).is_some_and(|(from, to)| to >= last && from + RETENTION <= to)
    });
    let window = window(&service(namespace, "copy")).expect("a window");
    // T = the displayed latest.
    assert_eq!(service(namespace, "copy")["status"]["latestDataTimePoint"], window.1.to_string());
    assert!(window.0 > journal[10].0, "{window:?}: the first moment lies amid the source's life");
    let _cut = Cut::new();
    for (number, asked) in moments::of(window, 1).into_iter().enumerate() {
        let restored = Restored::new(namespace, &format!("at-{number}"), "copy");
        apply(&restored.manifest(asked));
        let told = restored.await_phase("Running");
        let moment = asked.unwrap_or(window.1);
        let reached = told["recovery"]["timePoint"].as_str().and_then(|text| text.parse().ok());
        assert_eq!(reached, Some(moment), "{told:#}");
        assert!(told["recovery"]["plan"]["bytes"].as_u64() > Some(0), "{told:#}");
        let rows = restored.ask("SELECT id FROM shop.orders ORDER BY id");
        let rows: Vec<u32> = rows.lines().map(|row| row.parse().expect("a number")).collect();
        assert_eq!(rows, moments::rows_at(&journal, moment), "{moment}");
        println!("{moment}: {} rows, {}", rows.len(), told["recovery"]["duration"]);
        restored.forget();
    }
    for outside in [window.0 - Duration::from_secs(1), window.1 + Duration::from_secs(1)] {
        let never = Restored::new(namespace, "never", "copy").manifest(Some(outside));
        let refused = try_kubectl(&["apply", "-f", "-"], Some(&never)).expect_err("refused");
        let said = [window.0, window.1].iter().all(|end| refused.contains(&end.to_string()));
        assert!(said && refused.contains("can't be restored"), "{refused}");
    }
}

#[test]
#[ignore = "alone: it restores beside the others"]
fn b08_p05_what_can_not_be_restored_says_at_which_step_and_a_new_attempt_starts_clean() {
    let mended = Restored::new(DEMO, "orders-mended", "orders");
    mended.forget();
    // Too small an image: it has none of the tools.
    let manifest = mended.manifest(None);
    apply(&manifest.replace(&image(), &minio_image()));
    let failed = mended.await_phase("Failed");
    let failure = &failed["recovery"]["failure"];
    let text = failure["message"].as_str().unwrap_or_default();
    assert!(text.contains(&mended.name) && text.contains("farshore.dev/run-requested"), "{failed:#}");
    apply(&manifest);
    let request = format!("farshore.dev/run-requested={}", Timestamp::now());
    let instance = format!("databaseinstance/{}", mended.name);
    kubectl(&["annotate", &instance, "-n", DEMO, "--overwrite", &request]);
    let told = mended.await_phase("Running");
    assert_eq!(told["recovery"]["attempt"], 2, "{told:#}");
    assert!(told["recovery"]["failure"].is_null(), "{told:#}");
    let count = mended.ask("SELECT COUNT(*) = MAX(id) FROM orders.orders");
    assert_eq!(count, "1", "no order is missing");
    mended.forget();
}

/// An image without a database.
fn minio_image() -> String {
    let minio = get("deployment", TARGET, "minio").expect("the region's store");
    minio["spec"]["template"]["spec"]["containers"][0]["image"].as_str().expect("an image").to_owned()
}
