//! The demo's cluster as these stories see it: through kubectl, like a user.

use std::{
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

/// Namespace of the demo's own instance and service.
pub const DEMO: &str = "databases";
/// The demo's source and target regions: namespaces with a MinIO in each.
pub const SOURCE: &str = "cn-north-1";
pub const TARGET: &str = "cn-east-1";

pub fn kubeconfig() -> String {
    std::env::var("KUBECONFIG").unwrap_or_else(|_| format!("{}/.dev/kubeconfig", env!("CARGO_MANIFEST_DIR")))
}

/// The kubectl that the local cluster was built with, else the machine's.
pub fn kubectl_path() -> String {
    std::env::var("FARSHORE_KUBECTL").unwrap_or_else(|_| "kubectl".to_owned())
}

/// Runs kubectl; its standard output, or its standard error as the failure.
pub fn try_kubectl(args: &[&str], input: Option<&str>) -> Result<String, String> {
    let mut child = Command::new(kubectl_path())
        .env("KUBECONFIG", kubeconfig())
        .args(args)
        .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("kubectl can't be run ({error}): `make test` sets FARSHORE_KUBECTL"))?;
    if let Some(text) = input {
        use std::io::Write;
        child
            .stdin
            .take()
            .expect("stdin is piped")
            .write_all(text.as_bytes())
            .expect("kubectl reads its input");
    }
    let output = child.wait_with_output().expect("kubectl ends");
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(format!("kubectl {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr)))
    }
}

/// Runs kubectl and expects it to succeed.
pub fn kubectl(args: &[&str]) -> String {
    try_kubectl(args, None).unwrap_or_else(|error| panic!("{error}"))
}

/// Applies manifests.
pub fn apply(manifest: &str) {
    try_kubectl(&["apply", "-f", "-"], Some(manifest)).unwrap_or_else(|error| panic!("{error}\n{manifest}"));
}

/// An object, or `None` when there is none.
pub fn get(kind: &str, namespace: &str, name: &str) -> Option<Value> {
    match try_kubectl(&["get", kind, "-n", namespace, name, "-o", "json"], None) {
        Ok(text) => Some(serde_json::from_str(&text).expect("kubectl prints JSON")),
        Err(error) if error.contains("NotFound") || error.contains("not found") => None,
        Err(error) => panic!("{error}"),
    }
}

/// A service of Farshore.
pub fn service(namespace: &str, name: &str) -> Value {
    get("backupsyncservices.farshore.dev", namespace, name)
        .unwrap_or_else(|| panic!("no service {namespace}/{name}"))
}

/// `(status, reason, message)` of a condition; empty where it isn't there.
pub fn condition(object: &Value, type_: &str) -> (String, String, String) {
    let text = |condition: &Value, field: &str| condition[field].as_str().unwrap_or_default().to_owned();
    object["status"]["conditions"]
        .as_array()
        .and_then(|all| all.iter().find(|condition| condition["type"] == type_))
        .map(|found| (text(found, "status"), text(found, "reason"), text(found, "message")))
        .unwrap_or_default()
}

/// Asks again until there is an answer; fails with what `describe` says last.
pub fn await_some<T>(
    what: &str,
    limit: Duration,
    mut ask: impl FnMut() -> Option<T>,
    describe: impl Fn() -> String,
) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(start.elapsed() < limit, "{what}: not after {limit:?}\n{}", describe());
        std::thread::sleep(Duration::from_millis(300));
    }
}

/// Waits until a service satisfies `holds`.
pub fn await_service(
    namespace: &str,
    name: &str,
    what: &str,
    limit: Duration,
    holds: impl Fn(&Value) -> bool,
) -> Value {
    await_some(
        &format!("{namespace}/{name}: {what}"),
        limit,
        || Some(service(namespace, name)).filter(|object| holds(object)),
        || {
            let object = service(namespace, name);
            format!("{:#}", object["status"])
        },
    )
}

/// Waits for an Event about an object; its note.
pub fn await_event(namespace: &str, name: &str, reason: &str, limit: Duration) -> String {
    let selector = format!("regarding.name={name},reason={reason}");
    let query = ["get", "events.events.k8s.io", "-n", namespace, "--field-selector", &selector, "-o"];
    let ask = |output: &str| kubectl(&[&query[..], &[output][..]].concat());
    await_some(
        &format!("{namespace}/{name}: Event {reason}"),
        limit,
        || Some(ask("jsonpath={.items[*].note}")).filter(|note| !note.is_empty()),
        || kubectl(&["get", "events", "-n", namespace]),
    )
}

/// A namespace of a test's own, deleted in the background when the test is over.
pub struct Namespace(pub String);

impl Namespace {
    pub fn new(stem: &str) -> Self {
        let name = format!("e2e-{stem}-{}", std::process::id());
        apply(&format!(
            "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {name}\n  labels: {{pod-security.kubernetes.io/enforce: restricted}}\n"
        ));
        Self(name)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        drop(try_kubectl(&["delete", "namespace", &self.0, "--wait=false", "--ignore-not-found"], None));
    }
}

/// A Secret's value, decoded.
pub fn secret_value(namespace: &str, name: &str, key: &str) -> String {
    use base64::Engine;
    let secret = get("secret", namespace, name)
        .unwrap_or_else(|| panic!("no Secret {namespace}/{name}: is the demo up?"));
    let text =
        secret["data"][key].as_str().unwrap_or_else(|| panic!("Secret {namespace}/{name} has no {key}"));
    String::from_utf8(base64::engine::general_purpose::STANDARD.decode(text).expect("base64")).expect("text")
}

/// Puts a store's credentials into a Secret, in the form that services use.
pub fn store_secret(namespace: &str, name: &str, access_key: &str, secret_key: &str) {
    apply(&format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: {namespace}}}\nstringData:\n  AWS_ACCESS_KEY_ID: \"{access_key}\"\n  AWS_SECRET_ACCESS_KEY: \"{secret_key}\"\n"
    ));
}

/// Another revision of the chart, as an upgrade makes it: the controller starts anew.
pub fn upgrade() {
    let helm = std::env::var("FARSHORE_HELM").unwrap_or_else(|_| "helm".to_owned());
    let chart = format!("{}/charts/farshore", env!("CARGO_MANIFEST_DIR"));
    let stamp = format!("podAnnotations.upgraded=at-{}", jiff::Timestamp::now().as_second());
    let args = [
        "upgrade",
        "farshore",
        &chart,
        "-n",
        "farshore-system",
        "--reuse-values",
        "--set-string",
        &stamp,
        "--wait",
    ];
    let output = Command::new(helm).env("KUBECONFIG", kubeconfig()).args(args).output().expect("helm runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
