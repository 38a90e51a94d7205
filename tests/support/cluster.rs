//! The local cluster for tests that need rights and rules: Farshore's definitions, rights and policies of
//! this tree are put there once a run, and each test has a namespace of its own.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
    sync::Once,
    time::{Duration, Instant},
};

use k8s_openapi::api::{
    authorization::v1::SubjectAccessReview,
    core::v1::Namespace,
    rbac::v1::{Role, RoleBinding},
};
use kube::{
    Api, Client, Config,
    api::{DeleteParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

/// Namespace and release that `deploy/` and the README use.
pub const SYSTEM: &str = "farshore-system";
/// Rights and policies take a moment to be known to the API server.
const PATIENCE: Duration = Duration::from_secs(30);

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The cluster's kubeconfig.
pub fn kubeconfig() -> PathBuf {
    std::env::var_os("KUBECONFIG").map_or_else(|| root().join(".dev/kubeconfig"), PathBuf::from)
}

/// A tool that `tests/run` names, else the one that was built for the local cluster.
pub fn tool(variable: &str, source: &str, name: &str) -> PathBuf {
    if let Some(path) = std::env::var_os(variable) {
        return path.into();
    }
    let printed = Command::new(root().join("dev/build")).args(["--path", source]).output().unwrap();
    PathBuf::from(String::from_utf8(printed.stdout).unwrap().trim()).join(name)
}

#[allow(dead_code, reason = "not every test binary needs it")]
/// A kubeconfig file's text for somebody else.
pub fn kubeconfig_for(user: &str) -> String {
    let text = std::fs::read_to_string(kubeconfig()).unwrap();
    let mut config: Value = serde_yaml_ng::from_str(&text).unwrap();
    for entry in config["users"].as_array_mut().unwrap() {
        entry["user"]["as"] = json!(user);
    }
    config.to_string()
}

async fn config() -> Config {
    static CRYPTO: Once = Once::new();
    CRYPTO.call_once(|| drop(rustls::crypto::aws_lc_rs::default_provider().install_default()));
    let path = kubeconfig();
    let kubeconfig = Kubeconfig::read_from(&path).unwrap_or_else(|error| {
        panic!("no cluster ({}: {error}); run `make test`, or start one with dev/cluster up", path.display())
    });
    Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap()
}

/// A client of the cluster's administrator.
pub async fn administrator() -> Client {
    Client::try_from(config().await).unwrap()
}

/// A client of somebody else.
#[allow(dead_code, reason = "not every test binary needs it")]
pub async fn acting_as(user: &str) -> Client {
    let mut config = config().await;
    config.auth_info.impersonate = Some(user.to_owned());
    Client::try_from(config).unwrap()
}

fn output(command: &mut Command, input: &str) -> String {
    use std::io::Write;
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let done = child.wait_with_output().unwrap();
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

/// Runs kubectl as the administrator; what it prints.
pub fn kubectl(args: &[&str], input: &str) -> String {
    let mut command = Command::new(tool("FARSHORE_KUBECTL", "kubernetes", "kubectl"));
    output(command.env("KUBECONFIG", kubeconfig()).args(args), input)
}

/// The image that the installed policy allows, so that a controller that runs there may go on.
pub fn image() -> String {
    let policy = kubectl(
        &["get", "validatingadmissionpolicy", "farshore-controller", "--ignore-not-found", "-o", "json"],
        "",
    );
    let installed = policy.split("c.image == '").nth(1).and_then(|rest| rest.split('\'').next());
    installed.unwrap_or("localhost/farshore:0.1.0").to_owned()
}

/// Puts definitions, rights and policies of this tree into the cluster, marked so that Helm can adopt them.
pub async fn install() {
    static DONE: OnceCell<()> = OnceCell::const_new();
    DONE.get_or_init(|| async {
        tokio::task::spawn_blocking(install_now).await.unwrap();
    })
    .await;
}

fn install_now() {
    let image = image();
    let (repository, tag) = image.rsplit_once(':').unwrap();
    let mut command = Command::new(tool("FARSHORE_HELM", "helm", "helm"));
    command
        .args(["template", "farshore"])
        .arg(root().join("charts/farshore"))
        .args(["--namespace", SYSTEM, "--kube-version", "1.34.4"])
        .arg(format!("--set=image.repository={repository}"))
        .arg(format!("--set-string=image.tag={tag}"))
        // One of them on, the others off.
        .arg("--set=via.cloudNativePG=true");
    for part in ["crds", "rights", "policies/farshore", "policies/secrets"] {
        command.args(["-s", &format!("templates/{part}.yaml")]);
    }
    let rendered = output(&mut command, "");
    kubectl(
        &["apply", "--server-side", "--force-conflicts", "--field-manager=farshore-tests", "-f", "-"],
        &manifests(&rendered),
    );
    let wait = ["wait", "--for=condition=Established", "--timeout=30s"];
    kubectl(&[&wait[..], &["crd", "backupsyncservices.farshore.dev"][..]].concat(), "");
}

/// What was rendered, with Helm's own annotations, behind the namespace that it goes to.
fn manifests(rendered: &str) -> String {
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {
        "name": SYSTEM, "labels": {"pod-security.kubernetes.io/enforce": "restricted"},
    }});
    let mut all = vec![namespace];
    for document in serde_yaml_ng::Deserializer::from_str(rendered) {
        let mut object: Value = serde::Deserialize::deserialize(document).unwrap();
        if object.is_null() {
            continue;
        }
        object["metadata"]["annotations"]["meta.helm.sh/release-name"] = json!("farshore");
        object["metadata"]["annotations"]["meta.helm.sh/release-namespace"] = json!(SYSTEM);
        all.push(object);
    }
    json!({"apiVersion": "v1", "kind": "List", "items": all}).to_string()
}

/// A namespace of a test's own, gone soon after the test, however that ends.
pub struct Room {
    pub client: Client,
    pub namespace: String,
}

impl Room {
    pub async fn new(stem: &str) -> Self {
        install().await;
        let client = administrator().await;
        let time = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_micros() % 10_000_000_000;
        let namespace = format!("{stem}-{time}");
        let object: Namespace = serde_json::from_value(json!({"metadata": {"name": namespace}})).unwrap();
        Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &object).await.unwrap();
        Self { client, namespace }
    }

    /// A Role of this name for a subject, as the administrator gives it.
    pub async fn grant(&self, name: &str, subject: Value, rules: Value) {
        let role: Role = serde_json::from_value(json!({"metadata": {"name": name}, "rules": rules})).unwrap();
        let api = Api::<Role>::namespaced(self.client.clone(), &self.namespace);
        api.create(&PostParams::default(), &role).await.unwrap();
        self.bind(name, subject, "Role", name).await;
    }

    /// Binds a role to a subject.
    pub async fn bind(&self, name: &str, subject: Value, kind: &str, role: &str) {
        let binding: RoleBinding = serde_json::from_value(json!({
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role},
            "subjects": [subject],
        }))
        .unwrap();
        let bindings = Api::<RoleBinding>::namespaced(self.client.clone(), &self.namespace);
        bindings.create(&PostParams::default(), &binding).await.unwrap();
    }

    /// Whether somebody may do something, as `kubectl auth can-i` asks.
    #[allow(dead_code, reason = "not every test binary needs it")]
    pub async fn can(&self, user: &str, attributes: Value) -> bool {
        let review: SubjectAccessReview = serde_json::from_value(json!({
            "metadata": {}, "spec": {"user": user, "resourceAttributes": attributes},
        }))
        .unwrap();
        let reviews = Api::<SubjectAccessReview>::all(self.client.clone());
        let answer = reviews.create(&PostParams::default(), &review).await.unwrap();
        answer.status.is_some_and(|status| status.allowed)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let (client, namespace) = (self.client.clone(), self.namespace.clone());
        let gone = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                drop(client);
                let namespaces: Api<Namespace> = Api::all(administrator().await);
                drop(namespaces.delete(&namespace, &DeleteParams::default()).await);
            });
        });
        drop(gone.join());
    }
}

/// Asks until the answer is yes: new rights and policies take a moment.
#[allow(dead_code, reason = "not every test binary needs it")]
pub async fn allowed<T>(what: &str, ask: impl AsyncFn() -> kube::Result<T>) -> T {
    let start = Instant::now();
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(error) => assert!(start.elapsed() < PATIENCE, "{what} was to be allowed: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Asks until the answer is a refusal with all these words in it. What is asked must be a dry run.
#[allow(dead_code, reason = "not every test binary needs it")]
pub async fn refused<T>(what: &str, words: &[&str], ask: impl AsyncFn() -> kube::Result<T>) -> String {
    let start = Instant::now();
    loop {
        let told = match ask().await {
            Err(kube::Error::Api(status)) => status.message,
            Err(error) => error.to_string(),
            Ok(_) => "it was allowed".to_owned(),
        };
        if words.iter().all(|word| told.contains(word)) {
            return told;
        }
        assert!(start.elapsed() < PATIENCE, "{what} was to be refused with {words:?}: {told}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
