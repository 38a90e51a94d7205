//! New PostgreSQL instances from copies of pgBackRest's repositories, by Jobs in pods: at a moment, and with a key.

use std::{path::Path, time::Duration};

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::Value;

use crate::{
    buckets,
    cluster::{
        Namespace, SOURCE, TARGET, apply, await_service, await_some, get, kubectl, secret_value,
        store_secret, try_kubectl,
    },
    postgres_source::{backrest, files, pgbackrest, run},
    service::PATIENCE,
};

const PASSWORD: &str = "it's a secret";
const PASSPHRASE: &str = "correct horse";

/// PostgreSQL and pgBackRest of Debian: `dev/image postgres`.
fn image() -> String {
    std::env::var("FARSHORE_TEST_POSTGRES").unwrap_or_else(|_| "localhost/postgres:dev".to_owned())
}

/// A repository in the source region, and each row's commit time.
fn back_up(prefix: &str, cipher: Option<&str>) -> Vec<(Timestamp, u32)> {
    let (mut source, config) = pgbackrest(cipher);
    source.write(3);
    run(backrest(&source, &config).args(["--type=full", "backup"]));
    std::thread::sleep(Duration::from_millis(1100));
    source.write(4);
    source.switch();
    let journal = source.journal();
    let bucket = buckets::open(SOURCE, "backups");
    let repository: &Path = &source.folder.path.join("repository");
    for (name, bytes) in files(repository, repository) {
        buckets::write(&bucket, &format!("{prefix}{name}"), Bytes::from(bytes));
    }
    journal
}

fn secret(namespace: &str, name: &str, values: &[(&str, &str)]) {
    let values: Vec<String> = values.iter().map(|(key, value)| format!("  {key}: \"{value}\"\n")).collect();
    let values = values.concat();
    apply(&format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: {namespace}}}\nstringData:\n{values}"
    ));
}

/// A service that has copied a repository.
fn copied(namespace: &str, name: &str, prefix: &str) {
    apply(&format!(
        "apiVersion: farshore.dev/v1alpha1
kind: DatabaseInstance
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  engine: PostgreSQL
  region: {SOURCE}
  backups: {{format: PgBackRest, bucket: backups, prefix: {prefix}, credentials: {{secretRef: {{name: source}}}}}}
---
apiVersion: farshore.dev/v1alpha1
kind: BackupSyncService
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  instanceRef: {{name: {name}}}
  target: {{region: {TARGET}, bucket: dr-backups, prefix: {prefix}, credentials: {{secretRef: {{name: target}}}}}}
  interval: 5s
"
    ));
    await_service(namespace, name, "is synced", PATIENCE, |s| s["status"]["phase"] == "Synced");
}

fn restore(namespace: &str, name: &str, service: &str, more: &str) {
    apply(&format!(
        "apiVersion: farshore.dev/v1alpha1
kind: DatabaseInstance
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  engine: PostgreSQL
  region: {TARGET}
  bootstrap:
    recovery: {{serviceRef: {{name: {service}}}, {more}}}
    instance: {{image: \"{}\", storage: 1Gi, runAsUser: 65532, adminSecretRef: {{name: admin}}}}
",
        image()
    ));
}

fn await_phase(namespace: &str, name: &str, phase: &str) -> Value {
    let status =
        || get("databaseinstances.farshore.dev", namespace, name).map(|found| found["status"].clone());
    let reached = || status().filter(|status| status["phase"] == phase);
    await_some(&format!("instance {name}: {phase}"), PATIENCE, reached, || {
        format!("{:#}", status().unwrap_or_default())
    })
}

/// The orders, asked over the network as the administrator.
fn orders(namespace: &str, name: &str, status: &Value) -> Vec<u32> {
    let endpoint = status["endpoint"].as_str().expect("an endpoint");
    let address = endpoint.strip_prefix("postgresql://").expect("postgresql");
    let (host, port) = address.rsplit_once(':').expect("a port");
    let client = format!(
        "read -r PGPASSWORD && export PGPASSWORD && psql -XqAt -h {host} -p {port} -U admin -d postgres -c 'SELECT id FROM orders ORDER BY id'"
    );
    let pod = format!("{name}-0");
    let asked = ["exec", "-i", "-n", namespace, &pod, "--", "sh", "-c", &client];
    let rows = try_kubectl(&asked, Some(&format!("{PASSWORD}\n"))).expect("an answer");
    rows.lines().map(|row| row.parse().expect("a number")).collect()
}

#[test]
fn b08_b14_a_postgresql_is_restored_in_its_pod_to_a_moment_and_an_encrypted_one_with_its_key() {
    let space = Namespace::new("postgres");
    let namespace = &space.0;
    for (name, region) in [("source", SOURCE), ("target", TARGET)] {
        let key = |key: &str| secret_value(region, "minio", key);
        store_secret(namespace, name, &key("rootUser"), &key("rootPassword"));
    }
    secret(namespace, "admin", &[("username", "admin"), ("password", PASSWORD)]);
    secret(namespace, "key", &[("repo1-cipher-pass", PASSPHRASE)]);
    let prefix = |name: &str| format!("{namespace}/{name}/");
    let (plain, locked) = std::thread::scope(|scope| {
        let locked = scope.spawn(|| back_up(&prefix("locked"), Some(PASSPHRASE)));
        (back_up(&prefix("plain"), None), locked.join().expect("a repository"))
    });
    copied(namespace, "plain", &prefix("plain"));
    copied(namespace, "locked", &prefix("locked"));

    let (moment, _) = plain[plain.len() - 2];
    restore(namespace, "at", "plain", &format!("timePoint: \"{moment}\""));
    restore(namespace, "opened", "locked", "");
    let failed = await_phase(namespace, "opened", "Failed");
    assert_eq!(failed["recovery"]["failure"]["reason"], "DecryptionFailed", "{failed:#}");
    let told = failed["recovery"]["failure"]["message"].as_str().unwrap_or_default();
    assert!(told.contains("encrypted") && told.contains("spec.bootstrap.recovery.decryption"), "{told}");
    restore(namespace, "opened", "locked", "decryption: {secretRef: {name: key}}");
    kubectl(&[
        "annotate",
        "databaseinstances.farshore.dev",
        "opened",
        "-n",
        namespace,
        &format!("farshore.dev/run-requested={}", Timestamp::now()),
    ]);

    let status = await_phase(namespace, "at", "Running");
    let expected: Vec<u32> =
        (1..=7).filter(|id| plain.iter().any(|(at, of)| of == id && *at <= moment)).collect();
    assert_eq!((orders(namespace, "at", &status), expected.len()), (expected, 6), "{status:#}");
    assert_eq!(
        status["recovery"]["timePoint"].as_str().map(|t| t.parse().ok()),
        Some(Some(moment)),
        "{status:#}"
    );
    let status = await_phase(namespace, "opened", "Running");
    assert_eq!(orders(namespace, "opened", &status).len(), locked.len(), "{status:#}");
}
