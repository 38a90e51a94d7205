//! What is rendered, as written down in `tests/golden/via`; what is refused; what a status says.

use std::path::Path;

use serde_json::json;

use super::*;

fn yaml<T: serde::de::DeserializeOwned>(text: &str) -> T {
    serde_yaml_ng::from_str(text).unwrap()
}

fn region(more: &str) -> Region {
    yaml(&format!(
        "apiVersion: farshore.dev/v1alpha1\nkind: Region\nmetadata: {{name: east}}\nspec: {{objectStore: {{endpoint: \"https://store.east:9000\", {more}}}}}\n"
    ))
}

fn service() -> BackupSyncService {
    yaml(
        "apiVersion: farshore.dev/v1alpha1
kind: BackupSyncService
metadata: {name: orders, namespace: shop}
spec:
  instanceRef: {name: orders}
  target: {region: east, bucket: dr-backups, prefix: orders/, credentials: {secretRef: {name: copy}}}
status:
  conditions: []
  recoveryWindows:
    - {from: \"2026-11-14T00:00:00Z\", to: \"2026-11-18T12:00:00Z\"}
    - {from: \"2026-11-19T00:00:00Z\", to: \"2026-11-21T09:30:00Z\"}
",
    )
}

fn plan(moment: &str, base: (&str, &str), log: Option<&str>) -> RecoveryPlan {
    let latest = moment == "2026-11-21T09:30:00Z";
    let logs = log.map(|key| json!({"first": "a", "last": "b", "count": 2, "bytes": 10, "key": key}));
    let mut plan = json!({
        "timePoint": moment, "latest": latest, "basis": "Proved", "bytes": 100,
        "madeAt": "2026-11-21T10:00:00Z",
        "bases": [{"name": base.0, "time": "2026-11-20T00:00:00Z", "bytes": 90, "key": base.1}],
    });
    if let Some(logs) = logs {
        plan["logs"] = logs;
    }
    serde_json::from_value(plan).unwrap()
}

const SERVER: &str = "  image: registry.example/database:1
  storage: 20Gi
  storageClassName: fast
  adminSecretRef: {name: orders-admin}
  resources: {limits: {memory: 1Gi}}
  nodeSelector: {disk: ssd}
  imagePullSecrets: [{name: registry}]
";

fn instance(moment: Option<&str>, via: &str, with_server: bool) -> DatabaseInstance {
    let moment = moment.map(|moment| format!("timePoint: \"{moment}\", ")).unwrap_or_default();
    let server = if with_server { format!("instance:\n{SERVER}") } else { String::new() };
    let server = server.replace('\n', "\n    ");
    let engine = match via {
        via if via.contains("CloudNativePG") => "PostgreSQL",
        via if via.contains("MongoDB") => "MongoDB",
        _ => "MySQL",
    };
    yaml(&format!(
        "apiVersion: farshore.dev/v1alpha1
kind: DatabaseInstance
metadata: {{name: orders-2, namespace: shop, uid: 4711}}
spec:
  engine: {engine}
  region: east
  bootstrap:
    recovery: {{serviceRef: {{name: orders}}, {moment}via: {{{via}}}}}
    {server}
"
    ))
}

struct Case<'a> {
    moment: Option<&'a str>,
    via: &'a str,
    store: &'a str,
    plugin: bool,
    plan: RecoveryPlan,
}

impl Case<'_> {
    fn render(&self) -> Result<Vec<Made>, Refusal> {
        let instance = instance(self.moment, self.via, !self.via.contains("clusterRef"));
        let bootstrap = instance.spec.bootstrap.as_ref().unwrap();
        let (service, region) = (service(), region(self.store));
        render(&Order {
            instance: &instance,
            via: bootstrap.recovery.via.as_ref().unwrap(),
            new: bootstrap.instance.as_ref(),
            service: &service,
            region: &region,
            plan: &self.plan,
            attempt: 1,
            plugin: self.plugin,
        })
    }
}

const MOMENT: &str = "2026-11-21T08:00:00Z";
const END: &str = "2026-11-21T09:30:00Z";
const BARMAN: (&str, &str) = ("pg/src/20261120T000000", "pg/src/base/20261120T000000/data.tar.gz");
const WAL: Option<&str> = Some("pg/src/wals/0000000100000000/000000010000000000000005.gz");
const MARIADB: (&str, &str) = ("physicalbackup-20261120000000", "base/physicalbackup-20261120000000.xb.bz2");
const BINLOG: Option<&str> = Some("logs/server-10/mariadb-bin.000007.gz");
const PBM: (&str, &str) = ("2026-11-20T00:00:00Z", "2026-11-20T00:00:00Z/");
const SLICE: Option<&str> = Some("pbmPitr/rs0/20261120/20261120000430-3.20261120001430-1.oplog.s2");
const PXC: (&str, &str) = ("orders-2026-11-20-00:00:00-full", "orders-2026-11-20-00:00:00-full/");
const PXC_LOG: Option<&str> = Some("binlogs/binlog_1763596800_1_0123456789abcdef0123456789abcdef");

fn case<'a>((moment, via): (Option<&'a str>, &'a str), base: (&str, &str), log: Option<&str>) -> Case<'a> {
    let plan = plan(moment.unwrap_or(END), base, log);
    Case { moment, via, store: "signingRegion: us-east-1", plugin: false, plan }
}

#[test]
fn b08_what_is_rendered_is_as_written_down() {
    let cnpg = "operator: CloudNativePG, spec: {instances: 3, postgresql: {parameters: {work_mem: 64MB}}}";
    let ca = "signingRegion: east-1, caBundle: \"-----BEGIN CERTIFICATE-----\"";
    let with_ca =
        "operator: CloudNativePG, caSecretRef: {name: store-ca}, credentials: {secretRef: {name: reader}}";
    let maria = "operator: MariaDBOperator, spec: {replicas: 3}";
    let psmdb = "operator: PerconaServerMongoDB, clusterRef: {name: sessions}, spec: {backupSource: {type: physical}}";
    let pxc = "operator: PerconaXtraDBCluster, clusterRef: {name: shop}";
    let cases = [
        ("cloudnativepg-moment", case((Some(MOMENT), cnpg), BARMAN, WAL)),
        ("cloudnativepg-ca", Case { store: ca, ..case((Some(MOMENT), with_ca), BARMAN, WAL) }),
        (
            "cloudnativepg-plugin-latest",
            Case { store: ca, plugin: true, ..case((None, with_ca), BARMAN, WAL) },
        ),
        ("mariadb-operator-moment", case((Some(MOMENT), maria), MARIADB, BINLOG)),
        ("percona-mongodb-moment", case((Some(MOMENT), psmdb), PBM, SLICE)),
        ("percona-mongodb-latest", case((None, psmdb), PBM, SLICE)),
        ("percona-xtradb-moment", case((Some(MOMENT), pxc), PXC, PXC_LOG)),
        ("percona-xtradb-latest", case((None, pxc), PXC, PXC_LOG)),
    ];
    for (name, case) in cases {
        let objects: Vec<_> = case.render().unwrap().into_iter().map(|(_, object)| object).collect();
        let texts = objects.iter().map(|object| serde_yaml_ng::to_string(object).unwrap());
        let text = texts.fold(String::new(), |text, object| {
            text + "---
" + &object
        });
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/via/{name}.yaml"));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &text).unwrap();
        }
        let golden = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(text, golden, "tests/golden/via/{name}.yaml differs; UPDATE_GOLDEN=1 writes it");
    }
}

#[test]
fn b08_what_an_operator_can_not_do_is_refused_with_what_can_be_done() {
    let cnpg = "operator: CloudNativePG";
    let maria = "operator: MariaDBOperator";
    let pxc = "operator: PerconaXtraDBCluster, clusterRef: {name: shop}";
    let ca = "caBundle: \"-----BEGIN CERTIFICATE-----\"";
    let fraction = "2026-11-21T08:00:00.5Z";
    let gap = "2026-11-18T12:00:00Z";
    let foreign = ("base_0001", "basebackups_005/base_0001/");
    let root = ("20261120T000000", "base/20261120T000000/data.tar");
    let own = "operator: CloudNativePG, spec: {bootstrap: {recovery: {source: elsewhere}}}";
    let increment = ("incremental-20261120010000", "incremental-20261120010000.xb");
    let cases = [
        (Case { store: ca, ..case((Some(MOMENT), cnpg), BARMAN, WAL) }, "NoAuthorities", "caSecretRef"),
        (case((Some(END), cnpg), BARMAN, WAL), "EndOfLog", "without timePoint for the latest"),
        (case((Some(gap), cnpg), BARMAN, WAL), "EndOfLog", "an earlier one"),
        (case((Some(MOMENT), cnpg), foreign, WAL), "OtherLayout", "CloudNativePG reads Barman's layout"),
        (
            case((Some(MOMENT), own), BARMAN, WAL),
            "InvalidSpec",
            "spec.bootstrap.recovery.via.spec.bootstrap.recovery.source",
        ),
        (case((None, maria), MARIADB, BINLOG), "InvalidMoment", "with a timePoint, or without via"),
        (case((Some(fraction), maria), MARIADB, BINLOG), "InvalidMoment", "whole second"),
        (case((Some(MOMENT), maria), increment, BINLOG), "OtherLayout", "one physical backup"),
        (case((Some(MOMENT), maria), MARIADB, None), "OtherLayout", "the log after it"),
        (case((Some(fraction), pxc), PXC, PXC_LOG), "InvalidMoment", "whole second"),
        (case((Some(END), pxc), PXC, PXC_LOG), "EndOfLog", "without timePoint"),
        (case((Some(MOMENT), pxc), MARIADB, BINLOG), "OtherLayout", "without via"),
    ];
    for (case, reason, words) in cases {
        let (found, message) = case.render().map(|made| made.len()).unwrap_err();
        assert_eq!(found, reason, "{}: {message}", case.via);
        assert!(message.contains("instance orders-2") && message.contains(words), "{message}");
    }
    // A server's folder is needed, be it the copy's own.
    let objects = case((Some(MOMENT), cnpg), root, WAL).render().unwrap();
    let source = &objects[0].1.data["spec"]["externalClusters"][0]["barmanObjectStore"];
    assert_eq!(
        (&source["destinationPath"], &source["serverName"]),
        (&json!("s3://dr-backups"), &json!("orders"))
    );
}

#[test]
fn b08_nothing_that_is_rendered_goes_with_the_instance_and_all_of_it_says_whose_it_is() {
    let maria = "operator: MariaDBOperator";
    for (resource, object) in case((Some(MOMENT), maria), MARIADB, BINLOG).render().unwrap() {
        assert_eq!(object.metadata.owner_references, None);
        assert_eq!(object.labels()["farshore.dev/instance-uid"], "4711");
        assert_eq!(object.labels()["app.kubernetes.io/managed-by"], "farshore");
        assert_eq!(object.annotations()[ATTEMPT], "1");
        assert_eq!(object.types.unwrap().kind, resource.kind);
    }
}

fn told(operator: DatabaseOperator, status: Value) -> State {
    let (_, mut object) =
        case((Some(MOMENT), "operator: MariaDBOperator"), MARIADB, BINLOG).render().unwrap().remove(2);
    object.data["status"] = status;
    state(operator, &object)
}

#[test]
fn b08_only_a_resource_that_says_so_is_ready() {
    use DatabaseOperator::{CloudNativePG, MariaDBOperator, PerconaServerMongoDB, PerconaXtraDBCluster};
    let conditions = |list: &[(&str, &str, &str)]| {
        let list: Vec<_> = list
            .iter()
            .map(|(type_, status, message)| json!({"type": type_, "status": status, "message": message}))
            .collect();
        json!({"phase": "Setting up primary", "conditions": list})
    };
    let working = |said: &str| State::Working(said.to_owned());
    let failed = |said: &str| State::Failed(said.to_owned());
    let unseen = working("it was not looked at yet");
    let cases = [
        (CloudNativePG, json!(null), unseen.clone()),
        (CloudNativePG, conditions(&[("Ready", "False", "")]), working("Setting up primary")),
        (CloudNativePG, conditions(&[("ContinuousArchiving", "True", "")]), working("Setting up primary")),
        (CloudNativePG, conditions(&[("Ready", "True", "")]), State::Ready),
        (MariaDBOperator, json!({}), unseen.clone()),
        (
            MariaDBOperator,
            conditions(&[("Ready", "False", "Init error: no such key")]),
            working("Init error: no such key"),
        ),
        // The base alone is not the moment.
        (
            MariaDBOperator,
            conditions(&[("Ready", "True", "Running")]),
            working("it does not say that it replayed the log"),
        ),
        (
            MariaDBOperator,
            conditions(&[
                ("Ready", "True", "Running"),
                ("BinlogsReplayed", "False", "timeline did not reach target time"),
            ]),
            working("timeline did not reach target time"),
        ),
        (
            MariaDBOperator,
            conditions(&[("Ready", "True", ""), ("BinlogsReplayed", "True", "")]),
            State::Ready,
        ),
        (PerconaServerMongoDB, json!({}), unseen),
        (PerconaServerMongoDB, json!({"state": "running"}), working("running")),
        (PerconaServerMongoDB, json!({"state": "error", "error": "no oplog"}), failed("no oplog")),
        (PerconaServerMongoDB, json!({"state": "rejected"}), failed("it does not say why")),
        (PerconaServerMongoDB, json!({"state": "ready"}), State::Ready),
        (PerconaXtraDBCluster, json!({"state": "Restoring"}), working("Restoring")),
        (PerconaXtraDBCluster, json!({"state": "Failed", "comments": "no cluster"}), failed("no cluster")),
        (PerconaXtraDBCluster, json!({"state": "Succeeded"}), State::Ready),
    ];
    for (operator, status, wanted) in cases {
        assert_eq!(told(operator, status.clone()), wanted, "{operator:?} {status}");
    }
}

#[test]
fn b08_the_endpoint_is_the_operators_own() {
    let known = |via: &str, host: Option<&str>| {
        let instance = instance(Some(MOMENT), via, false);
        let via = instance.spec.bootstrap.as_ref().unwrap().recovery.via.clone().unwrap();
        let cluster = host.map(|host| {
            let (_, mut object) = case((Some(MOMENT), "operator: MariaDBOperator"), MARIADB, BINLOG)
                .render()
                .unwrap()
                .remove(2);
            object.data = json!({"status": {"host": host}});
            object
        });
        endpoint(&instance, &via, cluster.as_ref())
    };
    let cases = [
        ("operator: CloudNativePG", None, Some("postgresql://orders-2-rw.shop:5432")),
        ("operator: MariaDBOperator", None, Some("mysql://orders-2-primary.shop:3306")),
        (
            "operator: PerconaXtraDBCluster, clusterRef: {name: x}",
            Some("x-haproxy.shop"),
            Some("mysql://x-haproxy.shop:3306"),
        ),
        (
            "operator: PerconaServerMongoDB, clusterRef: {name: x}",
            Some("x-mongos.shop:27017"),
            Some("mongodb://x-mongos.shop:27017"),
        ),
        ("operator: PerconaServerMongoDB, clusterRef: {name: x}", None, None),
    ];
    for (via, host, wanted) in cases {
        assert_eq!(known(via, host).as_deref(), wanted, "{via}");
    }
}
