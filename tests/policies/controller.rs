//! A stolen controller is worth no more than its job.

use farshore::api::DatabaseInstance;
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        apps::v1::StatefulSet,
        batch::v1::Job,
        core::v1::{ConfigMap, Secret, Service, ServiceAccount},
        networking::v1::NetworkPolicy,
        rbac::v1::{Role, RoleBinding},
    },
};
use kube::{
    Api, Client, Resource,
    api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::cluster::{Room, SYSTEM, acting_as, allowed, image, kubectl, refused};

const USER: &str = "system:serviceaccount:farshore-system:farshore";

#[tokio::test]
async fn p07_the_controller_can_read_no_secret_and_can_not_become_somebody_else() {
    let room = Room::new("policy-canctl").await;
    for namespace in ["", &room.namespace, SYSTEM, "kube-system"] {
        for verb in ["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"] {
            let asked = json!({"namespace": namespace, "verb": verb, "resource": "secrets"});
            // It makes the key of a replica set that follows a master, and can't read it afterwards.
            assert_eq!(room.can(USER, asked.clone()).await, verb == "create", "{asked}");
        }
    }
    for (verb, group, resource, subresource) in [
        ("create", "", "pods", "exec"),
        ("get", "", "pods", "log"),
        ("create", "", "pods", ""),
        ("create", "", "serviceaccounts", "token"),
        ("update", "batch", "jobs", ""),
        ("update", "", "configmaps", ""),
        ("list", "", "configmaps", ""),
        ("watch", "", "configmaps", ""),
        ("delete", "apps", "statefulsets", ""),
        ("delete", "policy", "poddisruptionbudgets", ""),
        ("create", "farshore.dev", "disasterrecoveryinstances", ""),
        ("patch", "farshore.dev", "disasterrecoveryinstances", ""),
        ("delete", "", "persistentvolumeclaims", ""),
        ("patch", "", "persistentvolumeclaims", ""),
        ("list", "", "services", ""),
        ("update", "", "services", ""),
        ("get", "networking.k8s.io", "networkpolicies", ""),
        ("update", "networking.k8s.io", "networkpolicies", ""),
        ("patch", "rbac.authorization.k8s.io", "roles", ""),
        ("escalate", "rbac.authorization.k8s.io", "roles", ""),
        ("bind", "rbac.authorization.k8s.io", "roles", ""),
        ("create", "rbac.authorization.k8s.io", "clusterrolebindings", ""),
        ("impersonate", "", "users", ""),
        ("impersonate", "", "serviceaccounts", ""),
        ("patch", "admissionregistration.k8s.io", "validatingadmissionpolicies", ""),
        ("delete", "admissionregistration.k8s.io", "validatingadmissionpolicybindings", ""),
        ("patch", "apiextensions.k8s.io", "customresourcedefinitions", ""),
        ("create", "farshore.dev", "backupsyncservices", ""),
        ("patch", "farshore.dev", "databaseinstances", ""),
        ("patch", "farshore.dev", "regions", ""),
        ("use", "farshore.dev", "databaseinstances", ""),
    ] {
        let asked = json!({"namespace": room.namespace, "verb": verb, "group": group, "resource": resource,
                           "subresource": subresource});
        assert!(!room.can(USER, asked.clone()).await, "{asked}");
    }
}

#[tokio::test]
async fn p07_the_controller_deletes_only_what_is_farshores() {
    let room = Room::new("policy-delete").await;
    let client = acting_as(USER).await;
    let maps: Api<ConfigMap> = Api::namespaced(client, &room.namespace);
    let dry = kube::api::DeleteParams { dry_run: true, ..kube::api::DeleteParams::default() };
    // Every namespace has this ConfigMap, and it is Kubernetes' own.
    let theirs = "kube-root-ca.crt";
    refused("another's ConfigMap", &["deletes and changes only objects"], async || {
        maps.delete(theirs, &dry).await.map(drop)
    })
    .await;
}

#[tokio::test]
async fn p07_the_controller_changes_of_a_job_only_how_much_of_it_runs() {
    let room = Room::new("policy-patch").await;
    let admin: Api<Job> = Api::namespaced(room.client.clone(), &room.namespace);
    // Suspended, it has no pods, and some of its template could be changed by who may patch it.
    let mut own = changed(job(), "/spec/suspend", json!(true));
    put(&mut own, "/spec/template/spec/containers/0/image", json!("localhost/earlier"));
    let theirs =
        changed(changed(own.clone(), "/metadata/labels", json!({})), "/metadata/name", json!("theirs"));
    // Their owner is nowhere: the garbage collector takes them away when it comes by.
    let there = async || {
        for object in [&own, &theirs] {
            let job = serde_json::from_value(object.clone()).unwrap();
            admin.create(&PostParams::default(), &job).await.ok();
        }
    };
    let jobs: Api<Job> = Api::namespaced(acting_as(USER).await, &room.namespace);
    let maps: Api<ConfigMap> = Api::namespaced(acting_as(USER).await, &room.namespace);
    let dry = PatchParams { dry_run: true, ..PatchParams::default() };
    let more = json!({"spec": {"parallelism": 8, "suspend": true}});
    // The image is an earlier one: an upgrade does not end what runs.
    allowed("more pods", async || {
        there().await;
        jobs.patch("farshore-copy", &dry, &Patch::Merge(&more)).await
    })
    .await;
    let elsewhere = json!({"spec": {"template": {"spec": {"nodeSelector": {"disk": "theirs"}}}}});
    refused("its pods", &["how many pods"], async || {
        there().await;
        jobs.patch("farshore-copy", &dry, &Patch::Merge(&elsewhere)).await.map(drop)
    })
    .await;
    refused("another's Job", &["deletes and changes only objects"], async || {
        there().await;
        jobs.patch("theirs", &dry, &Patch::Merge(&more)).await.map(drop)
    })
    .await;
    let filled = json!({"data": {"ca.crt": "x"}});
    refused("another's ConfigMap", &["deletes and changes only objects"], async || {
        maps.patch("kube-root-ca.crt", &dry, &Patch::Merge(&filled)).await.map(drop)
    })
    .await;
}

/// The controller, asking what would be.
struct Controller {
    client: Client,
    namespace: String,
}

impl Controller {
    async fn of(room: &Room) -> Self {
        Self { client: acting_as(USER).await, namespace: room.namespace.clone() }
    }

    async fn create<K>(&self, object: &Value) -> kube::Result<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + std::fmt::Debug
            + Serialize
            + DeserializeOwned,
    {
        let object: K = serde_json::from_value(object.clone()).unwrap();
        let api: Api<K> = Api::namespaced(self.client.clone(), &self.namespace);
        api.create(&PostParams { dry_run: true, ..PostParams::default() }, &object).await
    }
}

fn metadata() -> Value {
    json!({
        "name": "farshore-copy", "labels": {"app.kubernetes.io/managed-by": "farshore"},
        "ownerReferences": [{"apiVersion": "farshore.dev/v1alpha1", "kind": "BackupSyncService", "name": "copy",
                             "uid": "0", "controller": true}],
    })
}

/// A Job as the controller makes it.
fn job() -> Value {
    json!({
        "metadata": metadata(),
        "spec": {"template": {"spec": {
            "restartPolicy": "Never", "serviceAccountName": "farshore-copy",
            "securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "fsGroup": 65532,
                                "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "worker", "image": image(), "args": ["worker", "sync"],
                "securityContext": {"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
                                    "runAsNonRoot": true, "capabilities": {"drop": ["ALL"]}},
            }],
            "volumes": [
                {"name": "task", "configMap": {"name": "farshore-copy"}},
                {"name": "target", "secret": {"secretName": "target"}},
                {"name": "scratch", "emptyDir": {}},
            ],
        }}},
    })
}

fn put(object: &mut Value, pointer: &str, value: Value) {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let parent = object.pointer_mut(parent).unwrap();
    match (parent, name.parse::<usize>()) {
        (Value::Array(items), Ok(at)) if at < items.len() => items[at] = value,
        (Value::Array(items), _) => items.push(value),
        (parent, _) => parent[name] = value,
    }
}

fn changed(mut object: Value, pointer: &str, value: Value) -> Value {
    put(&mut object, pointer, value);
    object
}

const POD: &str = "/spec/template/spec";
const IMAGE: &str = "only its own image";
const RESTRICTED: &str = "as restricted as";
const VOLUMES: &str = "mount only ConfigMaps, Secrets, empty directories";
const OWNED: &str = "one of its resources owns";
const LABELLED: &str = "app.kubernetes.io/managed-by=farshore";
const WORKER: &str = "starts workers only";
const ACCOUNT: &str = "their own service accounts";

#[tokio::test]
async fn p07_the_controller_starts_only_its_own_restricted_workers() {
    let room = Room::new("policy-job").await;
    let controller = Controller::of(&room).await;
    allowed("its own Job", async || controller.create::<Job>(&job()).await).await;
    let pod = |below: &str| format!("{POD}{below}");
    for (pointer, value, words) in [
        (pod("/containers/0/command"), json!(["sh", "-c", "cat /s/*"]), WORKER),
        (pod("/containers/0/args"), json!(["protected"]), WORKER),
        (
            pod("/containers/0/env"),
            json!([{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]),
            WORKER,
        ),
        (pod("/containers/0/lifecycle"), json!({"postStart": {"exec": {"command": ["sh"]}}}), WORKER),
        (pod("/containers/0/image"), json!("evil.invalid/shell"), IMAGE),
        (pod("/containers/1"), json!({"name": "b", "image": "evil.invalid/shell"}), IMAGE),
        (pod("/initContainers"), json!([{"name": "first", "image": image()}]), IMAGE),
        (pod("/hostNetwork"), json!(true), RESTRICTED),
        (pod("/hostPID"), json!(true), RESTRICTED),
        (pod("/hostIPC"), json!(true), RESTRICTED),
        (pod("/securityContext"), json!(null), RESTRICTED),
        (pod("/securityContext/runAsNonRoot"), json!(false), RESTRICTED),
        (pod("/securityContext/runAsUser"), json!(0), RESTRICTED),
        (pod("/securityContext/seccompProfile"), json!({"type": "Unconfined"}), RESTRICTED),
        (pod("/containers/0/securityContext/privileged"), json!(true), "privileged"),
        (pod("/containers/0/securityContext/allowPrivilegeEscalation"), json!(true), RESTRICTED),
        (pod("/containers/0/securityContext/readOnlyRootFilesystem"), json!(false), RESTRICTED),
        (pod("/containers/0/securityContext/capabilities/drop"), json!([]), RESTRICTED),
        (pod("/containers/0/securityContext/capabilities/add"), json!(["NET_ADMIN"]), RESTRICTED),
        (pod("/containers/0/securityContext/capabilities/add"), json!(["NET_BIND_SERVICE"]), RESTRICTED),
        (pod("/containers/0/securityContext/runAsNonRoot"), json!(false), RESTRICTED),
        (pod("/containers/0/securityContext/runAsUser"), json!(0), RESTRICTED),
        (pod("/containers/0/securityContext/seccompProfile"), json!({"type": "Unconfined"}), RESTRICTED),
        (pod("/containers/0/ports"), json!([{"containerPort": 80, "hostPort": 80}]), RESTRICTED),
        (pod("/volumes/0"), json!({"name": "task", "hostPath": {"path": "/"}}), VOLUMES),
        (
            pod("/volumes/0"),
            json!({"name": "task", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}),
            VOLUMES,
        ),
        (pod("/serviceAccountName"), json!("default"), ACCOUNT),
        (pod("/serviceAccountName"), json!(null), ACCOUNT),
        ("/metadata/ownerReferences".to_owned(), json!([]), OWNED),
        ("/metadata/ownerReferences/0/apiVersion".to_owned(), json!("v1"), OWNED),
        ("/metadata/ownerReferences/0/controller".to_owned(), json!(false), OWNED),
        ("/metadata/labels".to_owned(), json!({}), LABELLED),
    ] {
        let what = format!("{pointer} = {value}");
        let changed = changed(job(), &pointer, value);
        refused(&what, &[words], async || controller.create::<Job>(&changed).await).await;
    }
}

/// A Job that restores, in an image of a user's choice.
fn restore() -> Value {
    let mut job = job();
    let confined = job["spec"]["template"]["spec"]["containers"][0]["securityContext"].clone();
    for (below, value) in [
        ("/containers/0/image", json!("registry.invalid/mariadb:10.11")),
        ("/containers/0/command", json!(["/var/run/farshore/bin/farshore"])),
        ("/containers/0/args", json!(["worker", "restore"])),
        ("/volumes/3", json!({"name": "data", "persistentVolumeClaim": {"claimName": "data-orders-0"}})),
        (
            "/initContainers",
            json!([{"name": "program", "image": image(), "args": ["worker", "install", "/var/run/farshore/bin"],
                    "securityContext": confined}]),
        ),
    ] {
        put(&mut job, &format!("{POD}{below}"), value);
    }
    job
}

#[tokio::test]
async fn b08_p07_the_controller_restores_with_its_own_program_beside_a_users_image() {
    let room = Room::new("policy-restore").await;
    let controller = Controller::of(&room).await;
    allowed("a restore", async || controller.create::<Job>(&restore()).await).await;
    let pod = |below: &str| format!("{POD}{below}");
    let add = "/securityContext/capabilities/add";
    let binding = changed(restore(), &pod(&format!("/containers/0{add}")), json!(["NET_BIND_SERVICE"]));
    allowed("of SQL Server", async || controller.create::<Job>(&binding).await).await;
    for (pointer, value, words) in [
        (pod("/containers/0/command"), json!(["sh", "-c", "cat /s/*"]), WORKER),
        (pod("/containers/0/args"), json!(["worker", "sync"]), IMAGE),
        (pod("/containers/1"), json!({"name": "b", "image": "evil.invalid/shell"}), IMAGE),
        (pod("/initContainers/0/image"), json!("evil.invalid/shell"), IMAGE),
        (pod("/initContainers/0/args"), json!(["worker", "install", "/elsewhere"]), IMAGE),
        (pod("/initContainers/0/command"), json!(["sh"]), IMAGE),
        (pod("/initContainers/0/securityContext/privileged"), json!(true), "privileged"),
        (pod("/initContainers"), json!([]), IMAGE),
        (pod(&format!("/initContainers/0{add}")), json!(["NET_BIND_SERVICE"]), RESTRICTED),
        (pod(&format!("/containers/0{add}")), json!(["NET_BIND_SERVICE", "NET_RAW"]), RESTRICTED),
        (pod("/volumes/3/persistentVolumeClaim/claimName"), json!("theirs"), VOLUMES),
    ] {
        let what = format!("{pointer} = {value}");
        let changed = changed(restore(), &pointer, value);
        refused(&what, &[words], async || controller.create::<Job>(&changed).await).await;
    }
}

/// The server of a restored instance.
fn server() -> Value {
    let labels =
        json!({"app.kubernetes.io/managed-by": "farshore", "app.kubernetes.io/component": "database"});
    let job = restore();
    let pod = &job["spec"]["template"]["spec"];
    json!({
        "metadata": metadata(),
        "spec": {
            "serviceName": "orders", "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {
                "automountServiceAccountToken": false, "securityContext": pod["securityContext"],
                "containers": [{"name": "database", "image": "registry.invalid/mariadb:10.11",
                                "securityContext": pod["containers"][0]["securityContext"]}],
                "volumes": [{"name": "tmp", "emptyDir": {}}],
            }},
        },
    })
}

#[tokio::test]
async fn b08_p07_a_restored_server_knows_no_secret_and_no_token() {
    let room = Room::new("policy-server").await;
    let controller = Controller::of(&room).await;
    allowed("a server", async || controller.create::<StatefulSet>(&server()).await).await;
    let pod = |below: &str| format!("{POD}{below}");
    let add = pod("/containers/0/securityContext/capabilities/add");
    let binding = changed(server(), &add, json!(["NET_BIND_SERVICE"]));
    allowed("of SQL Server", async || controller.create::<StatefulSet>(&binding).await).await;
    let knows = "know no Secret and no token";
    for (pointer, value, words) in [
        (pod("/volumes/0"), json!({"name": "tmp", "secret": {"secretName": "theirs"}}), knows),
        (pod("/automountServiceAccountToken"), json!(true), knows),
        (pod("/initContainers"), json!([{"name": "first", "image": "evil.invalid/shell"}]), RESTRICTED),
        (
            pod("/containers/0/env"),
            json!([{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]),
            knows,
        ),
        (pod("/hostNetwork"), json!(true), RESTRICTED),
        (add.clone(), json!(["SYS_PTRACE"]), RESTRICTED),
        (pod("/containers/0/securityContext/privileged"), json!(true), "privileged"),
        ("/metadata/ownerReferences".to_owned(), json!([]), OWNED),
    ] {
        let what = format!("{pointer} = {value}");
        let changed = changed(server(), &pointer, value);
        refused(&what, &[words], async || controller.create::<StatefulSet>(&changed).await).await;
    }
}

/// A member of a replica set that follows a master.
fn member() -> Value {
    let mut server = server();
    let user = server["spec"]["template"]["spec"]["containers"][0].clone();
    server["metadata"]["labels"]["farshore.dev/standby-uid"] = json!("uid");
    let agent = json!({
        "name": "agent", "image": image(), "args": ["agent", "--set=rs0"], "securityContext": user["securityContext"],
        "env": [{"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
        "volumeMounts": [{"name": "account", "mountPath": "/account"}],
    });
    put(&mut server, &format!("{POD}/containers"), json!([user, agent]));
    let secret = |name: &str| json!({"name": name, "secret": {"secretName": "copy-0123456789"}});
    put(
        &mut server,
        &format!("{POD}/volumes"),
        json!([secret("key"), secret("account"), {"name": "tmp", "emptyDir": {}}]),
    );
    server
}

#[tokio::test]
async fn d02_p07_a_member_has_its_own_key_and_our_program_beside_it() {
    let room = Room::new("policy-member").await;
    let controller = Controller::of(&room).await;
    allowed("a member", async || controller.create::<StatefulSet>(&member()).await).await;
    let mut active = member();
    active["metadata"]["ownerReferences"] = json!([]);
    allowed("an active one", async || controller.create::<StatefulSet>(&active).await).await;
    let pod = |below: &str| format!("{POD}{below}");
    let knows = "members of a replica set";
    for (pointer, value) in [
        (pod("/volumes/0/secret/secretName"), json!("theirs")),
        (pod("/volumes/0"), json!({"name": "key", "hostPath": {"path": "/"}})),
        (pod("/automountServiceAccountToken"), json!(true)),
        (pod("/containers/1/image"), json!("evil.invalid/agent")),
        (pod("/containers/1/args"), json!(["worker", "sync"])),
        (pod("/containers/1/command"), json!(["/bin/sh"])),
        (pod("/containers/0/volumeMounts"), json!([{"name": "account", "mountPath": "/a"}])),
        (
            pod("/containers/0/env"),
            json!([{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]),
        ),
        (pod("/containers/1/env/0/valueFrom"), json!({"secretKeyRef": {"name": "s", "key": "k"}})),
    ] {
        let what = format!("{pointer} = {value}");
        let changed = changed(member(), &pointer, value);
        refused(&what, &[knows], async || controller.create::<StatefulSet>(&changed).await).await;
    }
    let secret = json!({"metadata": metadata(), "immutable": true, "data": {}});
    let named = changed(secret, "/metadata/name", json!("copy-0123456789"));
    allowed("a key", async || controller.create::<Secret>(&named).await).await;
    for (pointer, value) in [("/metadata/name", json!("theirs")), ("/immutable", json!(false))] {
        let changed = changed(named.clone(), pointer, value);
        refused(pointer, &["only the Secrets of replica sets"], async || {
            controller.create::<Secret>(&changed).await
        })
        .await;
    }
}

#[tokio::test]
async fn d11_p07_the_controller_makes_instances_of_active_copies_only() {
    let room = Room::new("policy-made").await;
    let controller = Controller::of(&room).await;
    let made = json!({
        "metadata": {"name": "copy", "labels": {"app.kubernetes.io/managed-by": "farshore", "farshore.dev/standby-uid": "uid"}},
        "spec": {"engine": "MongoDB", "region": "east", "endpoint": {
            "uri": "mongodb://dr-0.east:27017/?replicaSet=dr", "credentials": {"secretRef": {"name": "nobody-asks"}},
        }},
    });
    allowed("an instance", async || controller.create::<DatabaseInstance>(&made).await).await;
    let backups = json!({"bucket": "backups", "credentials": {"secretRef": {"name": "theirs"}}});
    for (pointer, value, words) in [
        ("/spec/backups", backups, "of an active copy only"),
        ("/metadata/labels", json!({"app.kubernetes.io/managed-by": "farshore"}), OWNED),
    ] {
        let changed = changed(made.clone(), pointer, value);
        refused(pointer, &[words], async || controller.create::<DatabaseInstance>(&changed).await).await;
    }
}

#[tokio::test]
async fn p07_the_controller_gives_no_more_than_one_resource_of_farshore_by_name() {
    let room = Room::new("policy-role").await;
    let controller = Controller::of(&room).await;
    let rule = |group: &str, resource: &str, verbs: Value| json!({"apiGroups": [group], "resources": [resource], "resourceNames": ["copy"], "verbs": verbs});
    let own = json!({"metadata": metadata(), "rules": [
        rule("farshore.dev", "backupsyncservices", json!(["get", "list", "watch"])),
        rule("farshore.dev", "backupsyncservices/status", json!(["patch"])),
    ]});
    allowed("a worker's Role", async || controller.create::<Role>(&own).await).await;
    let map = |name: &str, verbs: Value| json!({"apiGroups": [""], "resources": ["configmaps"], "resourceNames": [name], "verbs": verbs});
    let with_plan = changed(own.clone(), "/rules/2", map("farshore-copy", json!(["get", "patch"])));
    allowed("with a plan", async || controller.create::<Role>(&with_plan).await).await;

    let about = "read one resource by name and report to its status";
    let pods = rule("", "pods", json!(["get"]));
    let all =
        json!({"apiGroups": ["farshore.dev"], "resources": ["backupsyncservices"], "verbs": ["get", "list"]});
    // Of Secrets, and of verbs, that it doesn't hold itself, RBAC speaks first.
    for (changed_rule, words) in [
        (pods, about),
        (all, about),
        (map("kube-root-ca.crt", json!(["get"])), about),
        (map("farshore-copy", json!(["delete"])), about),
        (rule("farshore.dev", "databaseinstances", json!(["patch"])), "not currently held"),
        (rule("farshore.dev", "backupsyncservices", json!(["delete"])), about),
        (rule("farshore.dev", "backupsyncservices", json!(["patch"])), about),
        (rule("", "secrets", json!(["get"])), "not currently held"),
        (rule("farshore.dev", "*", json!(["*"])), "not currently held"),
    ] {
        let given = changed(own.clone(), "/rules/0", changed_rule.clone());
        let what = format!("{changed_rule}");
        refused(&what, &[words], async || controller.create::<Role>(&given).await).await;
    }
    let orphan = changed(own, "/metadata/ownerReferences", json!([]));
    refused("without an owner", &[OWNED], async || controller.create::<Role>(&orphan).await).await;
}

#[tokio::test]
async fn p07_the_controller_binds_its_own_roles_to_workers_only() {
    let room = Room::new("policy-bind").await;
    let controller = Controller::of(&room).await;
    let rules = json!([{"apiGroups": ["farshore.dev"], "resources": ["backupsyncservices"],
                        "resourceNames": ["copy"], "verbs": ["get"]}]);
    let nobody = json!({"kind": "User", "name": "nobody"});
    room.grant("farshore-copy", nobody.clone(), rules.clone()).await;
    room.grant("other", nobody, rules).await;
    let worker = json!({"kind": "ServiceAccount", "name": "farshore-copy", "namespace": room.namespace});
    let own = json!({
        "metadata": changed(metadata(), "/name", json!("farshore-new")), "subjects": [worker],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "farshore-copy"},
    });
    allowed("a worker's binding", async || controller.create::<RoleBinding>(&own).await).await;

    let binds = "binds only its own Roles";
    let user = json!({"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "ann"});
    let group =
        json!({"kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": "system:serviceaccounts"});
    for (pointer, value) in [
        ("/subjects/0", user),
        ("/subjects/0", group),
        ("/subjects/0/name", json!("default")),
        ("/subjects/0/namespace", json!(SYSTEM)),
        ("/roleRef/name", json!("other")),
        (
            "/roleRef",
            json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "farshore"}),
        ),
    ] {
        let what = format!("{pointer} = {value}");
        let binding = changed(own.clone(), pointer, value);
        refused(&what, &[binds], async || controller.create::<RoleBinding>(&binding).await).await;
    }
}

#[tokio::test]
async fn p07_what_the_controller_makes_has_an_owner_and_a_label() {
    let room = Room::new("policy-owner").await;
    let controller = Controller::of(&room).await;
    let own = json!({"metadata": metadata()});
    allowed("a ConfigMap", async || controller.create::<ConfigMap>(&own).await).await;
    allowed("a ServiceAccount", async || controller.create::<ServiceAccount>(&own).await).await;
    let orphan = changed(own.clone(), "/metadata/ownerReferences", json!([]));
    refused("a ConfigMap", &[OWNED], async || controller.create::<ConfigMap>(&orphan).await).await;
    let bare = changed(own, "/metadata/labels", json!({}));
    refused("an account", &[LABELLED], async || controller.create::<ServiceAccount>(&bare).await).await;
}

/// What the chart's `via` allows, and no more: `cloudNativePG` is on here, the others are off.
#[tokio::test]
async fn b08_p07_the_controller_makes_of_another_operator_what_the_chart_allows() {
    let room = Room::new("policy-foreign").await;
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "clusters.postgresql.cnpg.io"},
        "spec": {
            "group": "postgresql.cnpg.io", "scope": "Namespaced",
            "names": {"kind": "Cluster", "plural": "clusters", "singular": "cluster"},
            "versions": [{
                "name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
            }],
        },
    });
    let apply = ["apply", "--server-side", "--force-conflicts", "--field-manager=tests", "-f", "-"];
    kubectl(&apply, &definition.to_string());
    for (verb, group, resource, may) in [
        ("create", "postgresql.cnpg.io", "clusters", true),
        ("get", "postgresql.cnpg.io", "clusters", true),
        ("list", "postgresql.cnpg.io", "clusters", false),
        ("patch", "postgresql.cnpg.io", "clusters", false),
        ("delete", "postgresql.cnpg.io", "clusters", false),
        ("create", "k8s.mariadb.com", "mariadbs", false),
        ("get", "psmdb.percona.com", "perconaservermongodbs", false),
    ] {
        let asked = json!({"namespace": room.namespace, "verb": verb, "group": group, "resource": resource});
        assert_eq!(room.can(USER, asked.clone()).await, may, "{asked}");
    }
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("postgresql.cnpg.io", "v1", "Cluster"));
    let api: Api<DynamicObject> = Api::namespaced_with(acting_as(USER).await, &room.namespace, &kind);
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    let create = async |labels: Value| {
        let object = json!({
            "apiVersion": "postgresql.cnpg.io/v1", "kind": "Cluster",
            "metadata": {"name": "orders", "labels": labels}, "spec": {},
        });
        api.create(&dry, &serde_json::from_value(object).unwrap()).await
    };
    let managed = "app.kubernetes.io/managed-by";
    let good = json!({managed: "farshore", "farshore.dev/instance-uid": "0"});
    allowed("a Cluster", async || create(good.clone()).await).await;
    refused("a Cluster of nobody", &[OWNED], async || create(json!({managed: "farshore"})).await).await;
    let bare = json!({"farshore.dev/instance-uid": "0"});
    refused("a Cluster without a label", &[LABELLED], async || create(bare.clone()).await).await;
}

#[tokio::test]
async fn c03_p07_the_controller_opens_ways_to_its_own_workers_only() {
    let room = Room::new("policy-way").await;
    let controller = Controller::of(&room).await;
    let workers =
        json!({"app.kubernetes.io/component": "worker", "app.kubernetes.io/managed-by": "farshore"});
    let service = json!({"metadata": metadata(), "spec": {"selector": workers, "ports": [{"port": 8082}]}});
    let policy = json!({"metadata": metadata(), "spec": {
        "podSelector": {"matchLabels": workers}, "policyTypes": ["Ingress"], "ingress": [{"ports": [{"port": 8082}]}],
    }});
    allowed("a Service", async || controller.create::<Service>(&service).await).await;
    allowed("a NetworkPolicy", async || controller.create::<NetworkPolicy>(&policy).await).await;

    let (leads, about) = (
        "Services lead to its own workers and the instances that it restored only",
        "what reaches its own workers only",
    );
    for (pointer, value, words) in [
        ("/spec/selector", json!({"app": "theirs"}), leads),
        ("/spec/selector", json!(null), leads),
        ("/spec/externalIPs", json!(["203.0.113.7"]), leads),
        (
            "/spec",
            json!({"type": "ExternalName", "externalName": "theirs.invalid", "selector": workers}),
            leads,
        ),
        ("/metadata/name", json!("theirs"), leads),
        ("/metadata/ownerReferences", json!([]), OWNED),
        ("/metadata/labels", json!({}), LABELLED),
    ] {
        let astray = changed(service.clone(), pointer, value);
        refused(&format!("{astray}"), &[words], async || controller.create::<Service>(&astray).await).await;
    }
    for (pointer, value, words) in [
        ("/spec/podSelector", json!({}), about),
        ("/spec/podSelector", json!({"matchLabels": {"app": "theirs"}}), about),
        ("/spec/policyTypes", json!(["Ingress", "Egress"]), about),
        ("/metadata/name", json!("theirs"), about),
        ("/metadata/ownerReferences", json!([]), OWNED),
    ] {
        let astray = changed(policy.clone(), pointer, value);
        refused(&format!("{astray}"), &[words], async || controller.create::<NetworkPolicy>(&astray).await)
            .await;
    }

    // It applies them, again and again; what is another's it leaves alone.
    let admin: Api<Service> = Api::namespaced(room.client.clone(), &room.namespace);
    let theirs = changed(
        changed(service.clone(), "/metadata/name", json!("farshore-theirs")),
        "/metadata/labels",
        json!({}),
    );
    let there = async || {
        for object in [&service, &theirs] {
            let object = serde_json::from_value(object.clone()).unwrap();
            admin.create(&PostParams::default(), &object).await.ok();
        }
    };
    let api: Api<Service> = Api::namespaced(acting_as(USER).await, &room.namespace);
    let params = PatchParams { dry_run: true, ..PatchParams::apply("farshore").force() };
    let apply = async |name: &str| {
        there().await;
        let mut body = changed(service.clone(), "/metadata/name", json!(name));
        (body["apiVersion"], body["kind"]) = (json!("v1"), json!("Service"));
        api.patch(name, &params, &Patch::Apply(&body)).await.map(drop)
    };
    allowed("its own, once more", async || apply("farshore-copy").await).await;
    allowed("a new one", async || apply("farshore-new").await).await;
    let others = &["deletes and changes only objects"];
    refused("another's", others, async || apply("farshore-theirs").await).await;
    let dry = kube::api::DeleteParams { dry_run: true, ..kube::api::DeleteParams::default() };
    refused("another's", others, async || {
        there().await;
        api.delete("farshore-theirs", &dry).await.map(drop)
    })
    .await;
}
