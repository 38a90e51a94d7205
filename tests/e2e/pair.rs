//! A master and its copy in a namespace of a test's own: servers of `dev/image secantusdb`, which have MongoDB's
//! protocol and accounts, and no write block.

use std::time::Duration;

use mongodb::{
    Client, Collection,
    bson::Document,
    options::{ClientOptions, Credential},
};
use serde_json::Value;

use crate::cluster::{SOURCE, TARGET, apply, await_some, get, kubectl};

pub const PATIENCE: Duration = Duration::from_mins(3);
pub const PASSWORD: &str = "correct horse";
pub const KIND: &str = "disasterrecoveryinstances.farshore.dev";

/// Starts both servers, with more arguments for the master, and waits for them.
pub fn servers(namespace: &str, of_master: &[&str]) {
    server(namespace, "master", of_master);
    server(namespace, "copy", &[]);
    for name in ["master", "copy"] {
        let set = format!("statefulset/{name}");
        kubectl(&["rollout", "status", "-n", namespace, &set, "--timeout=120s"]);
    }
}

/// A server with its accounts.
fn server(namespace: &str, name: &str, arguments: &[&str]) {
    let manifest =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/dev/manifests/mongodb.yaml"))
            .expect("it");
    let command = format!("command: {:?}", [&["server"], arguments].concat());
    apply(&format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}-accounts, namespace: {namespace}}}\nstringData: {{admin: {PASSWORD}, farshore: {PASSWORD}, tenant: {PASSWORD}, writer: {PASSWORD}}}\n---\n{}",
        manifest
            .replace("@REGION@", namespace)
            .replace("@NAME@", name)
            .replace("@IMAGE_SECANTUSDB@", "localhost/secantusdb:dev")
            .replace("command: [server]", &command)
    ));
}

/// Who follows the master.
pub fn standby(namespace: &str) -> String {
    format!(
        "apiVersion: farshore.dev/v1alpha1
kind: DisasterRecoveryInstance
metadata: {{name: copy, namespace: {namespace}}}
spec:
  masterRef: {{name: master}}
  region: {TARGET}
  target:
    existing:
      uri: mongodb://copy.{namespace}:27017/?directConnection=true
      credentials: {{secretRef: {{name: farshore}}}}
"
    )
}

/// The master as an instance.
pub fn instance(namespace: &str) -> String {
    format!(
        "apiVersion: v1
kind: Secret
metadata: {{name: farshore, namespace: {namespace}}}
stringData: {{username: farshore, password: {PASSWORD}}}
---
apiVersion: farshore.dev/v1alpha1
kind: DatabaseInstance
metadata: {{name: master, namespace: {namespace}}}
spec:
  engine: MongoDB
  version: \"8.2\"
  region: {SOURCE}
  endpoint:
    uri: mongodb://master.{namespace}:27017/?directConnection=true
    credentials: {{secretRef: {{name: farshore}}}}
"
    )
}

pub fn found(namespace: &str) -> Value {
    get(KIND, namespace, "copy").expect("the standby")
}

pub fn await_copy(namespace: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let ask = || get(KIND, namespace, "copy").filter(|copy| holds(copy));
    await_some(&format!("standby copy: {what}"), PATIENCE, ask, || {
        format!("{:#}", found(namespace)["status"])
    })
}

pub fn await_phase(namespace: &str, phase: &str) -> Value {
    await_copy(namespace, phase, |copy| copy["status"]["phase"] == phase)
}

/// A change of the copy's spec.
pub fn patch(namespace: &str, change: &str) {
    kubectl(&["patch", KIND, "copy", "-n", namespace, "--type=merge", "-p", change]);
}

/// A client at the pod's own address: no Service is between.
pub async fn login(namespace: &str, pod: &str, account: &str) -> Client {
    let address = get("pod", namespace, pod).expect("the pod")["status"]["podIP"]
        .as_str()
        .expect("an address")
        .to_owned();
    let uri = format!("mongodb://{address}:27017/?directConnection=true&serverSelectionTimeoutMS=5000");
    let mut options = ClientOptions::parse(uri).await.expect("options");
    let credential = Credential::builder().username(account.to_owned()).password(PASSWORD.to_owned());
    options.credential = Some(credential.build());
    Client::with_options(options).expect("a client")
}

/// What is written at the master, as a server has it.
pub async fn orders(namespace: &str, pod: &str) -> Collection<Document> {
    login(namespace, pod, "admin").await.database("shop").collection("orders")
}
