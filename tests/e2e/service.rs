//! A service of a test's own: a copy of real backups under a prefix of its own, an instance, Secrets.

use std::time::Duration;

use crate::{
    buckets,
    cluster::{Namespace, SOURCE, apply, await_service, kubectl, secret_value, store_secret},
};

/// Longer than any of these steps takes on a busy machine with two cores.
pub const PATIENCE: Duration = Duration::from_mins(2);

/// An instance `source` whose backups lie in the source region, and a service `copy` to be made.
pub struct Fixture {
    namespace: String,
    region: String,
    bucket: String,
    /// Prefix of the backups at both sides.
    pub prefix: String,
}

impl Fixture {
    /// The instance with real backups (the samples' MariaDB set), and both Secrets.
    pub fn new(namespace: &str, region: &str, bucket: &str) -> Self {
        let fixture = Self::without_backups(namespace, region, bucket);
        let source = buckets::open(SOURCE, "backups");
        for (name, bytes) in buckets::sample_files() {
            buckets::write(&source, &format!("{}{name}", fixture.prefix), bytes);
        }
        fixture
    }

    /// The same with an empty prefix at the source.
    pub fn without_backups(namespace: &str, region: &str, bucket: &str) -> Self {
        let prefix = format!("{namespace}/");
        store_secret(
            namespace,
            "source",
            &secret_value(SOURCE, "minio", "rootUser"),
            &secret_value(SOURCE, "minio", "rootPassword"),
        );
        store_secret(
            namespace,
            "target",
            &secret_value(region, "minio", "rootUser"),
            &secret_value(region, "minio", "rootPassword"),
        );
        apply(&format!(
            "apiVersion: farshore.dev/v1alpha1
kind: DatabaseInstance
metadata: {{name: source, namespace: {namespace}}}
spec:
  engine: MySQL
  region: {SOURCE}
  backups: {{format: MariaDBOperator, bucket: backups, prefix: {prefix}, credentials: {{secretRef: {{name: source}}}}}}
"
        ));
        Self { namespace: namespace.to_owned(), region: region.to_owned(), bucket: bucket.to_owned(), prefix }
    }

    pub fn create_service(&self, deletion_policy: &str) {
        self.create_service_that(&format!("deletionPolicy: {deletion_policy}"));
    }

    /// With a line of its spec.
    pub fn create_service_that(&self, line: &str) {
        let Self { namespace, region, bucket, prefix } = self;
        apply(&format!(
            "apiVersion: farshore.dev/v1alpha1
kind: BackupSyncService
metadata: {{name: copy, namespace: {namespace}}}
spec:
  instanceRef: {{name: source}}
  target: {{region: {region}, bucket: {bucket}, prefix: {prefix}, credentials: {{secretRef: {{name: target}}}}}}
  interval: 5s
  {line}
"
        ));
    }

    /// A service that has copied everything.
    pub fn synced(namespace: &str, region: &str, bucket: &str) -> Self {
        let fixture = Self::new(namespace, region, bucket);
        fixture.create_service("Delete");
        await_service(namespace, "copy", "is synced", PATIENCE, |s| s["status"]["phase"] == "Synced");
        fixture
    }
}

/// A region with a MinIO of its own, that a test may take down.
pub fn region_of_its_own(stem: &str) -> Namespace {
    let space = Namespace::new(stem);
    let name = &space.0;
    let image = |kind: &str, namespace: &str, object: &str, path: &str| {
        kubectl(&["get", kind, "-n", namespace, object, "-o", &format!("jsonpath={path}")])
    };
    let minio = image("deployment", SOURCE, "minio", "{.spec.template.spec.containers[0].image}");
    let mariadb = image("statefulset", SOURCE, "orders", "{.spec.template.spec.containers[0].image}");
    apply(&format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: minio, namespace: {name}}}\nstringData: {{rootUser: farshore, rootPassword: \"{}\"}}\n",
        secret_value(SOURCE, "minio", "rootPassword")
    ));
    let manifest = include_str!("../../dev/manifests/region.yaml")
        .replace("@REGION@", name)
        .replace("@BUCKETS@", "dr-backups")
        .replace("@VERSIONED@", "")
        .replace("@IMAGE_MINIO@", &minio)
        .replace("@IMAGE_MARIADB@", &mariadb);
    apply(&manifest);
    kubectl(&["wait", "-n", name, "job/buckets", "--for=condition=Complete", "--timeout=120s"]);
    apply(&format!(
        "apiVersion: farshore.dev/v1alpha1\nkind: Region\nmetadata: {{name: {name}}}\nspec:\n  objectStore: {{endpoint: \"http://minio.{name}:9000\"}}\n"
    ));
    space
}
