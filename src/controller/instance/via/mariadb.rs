//! mariadb-operator: a `MariaDB` that is bootstrapped from a `PointInTimeRecovery`, whose base comes from where a
//! `PhysicalBackup` says.
//!
//! A `bootstrapFrom.s3` alone would restore the nearest base, and none of the log. The `PhysicalBackup` is suspended:
//! it is there for its address. `strictMode` is on: without it, a moment that the operator does not find in its index
//! becomes an earlier one without a word.

use kube::api::DynamicObject;
use serde_json::{Value, json};

use super::{ACCESS_KEY, Foreign, Made, Order, Profile, Refusal, SECRET_KEY, State, condition, parent};

const fn kind(kind: &'static str, plural: &'static str) -> Foreign {
    Foreign { group: "k8s.mariadb.com", version: "v1alpha1", kind, plural }
}

pub const PROFILE: Profile = Profile {
    name: "mariadb-operator",
    main: kind("MariaDB", "mariadbs"),
    cluster: None,
    beside: &[BASE, LOG],
    value: "via.mariadbOperator",
};
/// Where the base lies.
pub const BASE: Foreign = kind("PhysicalBackup", "physicalbackups");
/// Where the log lies.
pub const LOG: Foreign = kind("PointInTimeRecovery", "pointintimerecoveries");

/// The resources.
///
/// # Errors
/// See [`super::render`].
pub fn render(order: &Order) -> Result<Vec<Made>, Refusal> {
    if !order.is_exact() {
        let message = format!(
            "instance {}: asked for the latest moment, mariadb-operator restores what its index has, which may be less; create the instance anew with a timePoint, or without via",
            order.name()
        );
        return Err(("InvalidMoment", message));
    }
    let until = order.second_after()?;
    let other = || order.other_layout("its own layout, with one physical backup and the log after it");
    let [base] = order.plan.bases.as_slice() else { return Err(other()) };
    let key = base.key.as_deref().filter(|key| file(key).starts_with("physicalbackup-")).ok_or_else(other)?;
    let logs = order.plan.logs.as_ref().and_then(|logs| logs.key.as_deref()).ok_or_else(other)?;
    let server = parent(logs);
    if !file(server).starts_with("server-") {
        return Err(other());
    }
    let name = order.name();
    let objects = vec![
        order.object(
            BASE,
            name.clone(),
            json!({
                "mariaDbRef": {"name": name, "waitForIt": false},
                "schedule": {"cron": "0 0 1 1 *", "suspend": true},
                "compression": compression(key),
                "storage": {"s3": store(order, parent(key))},
            }),
        ),
        order.object(
            LOG,
            name.clone(),
            json!({
                "physicalBackupRef": {"name": name},
                "compression": compression(logs),
                "storage": {"s3": store(order, parent(server))},
                "strictMode": true,
            }),
        ),
    ];
    let mut ours = instance(order)?;
    ours["bootstrapFrom"] =
        json!({"pointInTimeRecoveryRef": {"name": name}, "targetRecoveryTime": until.to_string()});
    // It replays logs only into what replicates.
    let main = order.main(ours, json!({"replicas": 2, "replication": {"enabled": true}}))?;
    Ok(objects.into_iter().chain([main]).collect())
}

/// Ready alone may be said of the base.
#[must_use]
pub fn state(main: &DynamicObject) -> State {
    let status = &main.data["status"];
    let ready = condition(status, "Ready");
    match (ready, condition(status, "BinlogsReplayed")) {
        (Some(("True", _)), Some(("True", _))) => State::Ready,
        (Some(("True", _)), replayed) => {
            let said = replayed.map_or("it does not say that it replayed the log", |(_, said)| said);
            State::Working(said.to_owned())
        }
        (Some((_, said)), _) if !said.is_empty() => State::Working(said.to_owned()),
        _ => State::Working("it was not looked at yet".to_owned()),
    }
}

fn file(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn compression(key: &str) -> &'static str {
    match key.rsplit('.').next() {
        Some("gz") => "gzip",
        Some("bz2") => "bzip2",
        _ => "none",
    }
}

fn store(order: &Order, below: &str) -> Value {
    let at = &order.region.spec.object_store;
    let endpoint = at.endpoint.trim_end_matches('/');
    let host = endpoint.split_once("://").map_or(endpoint, |(_, host)| host);
    let mut store = json!({
        "bucket": order.bucket(),
        "endpoint": host,
        "region": at.signing_region,
        "accessKeyIdSecretKeyRef": order.secret_key(ACCESS_KEY),
        "secretAccessKeySecretKeyRef": order.secret_key(SECRET_KEY),
    });
    let prefix = order.folder(below);
    if !prefix.is_empty() {
        store["prefix"] = json!(prefix);
    }
    if endpoint.starts_with("https://") {
        store["tls"] = json!({"enabled": true});
        if let Some(ca) = order.ca() {
            store["tls"]["caSecretKeyRef"] = ca;
        }
    }
    store
}

/// What `spec.bootstrap.instance` says, as a `MariaDB` says it.
fn instance(order: &Order) -> Result<Value, Refusal> {
    let new = order.new_instance()?;
    let (admin, new) = (&new.admin_secret_ref.name, &new.server);
    let mut storage = json!({"size": new.storage});
    if let Some(class) = &new.storage_class_name {
        storage["storageClassName"] = json!(class);
    }
    let mut spec = json!({
        "image": new.image,
        "storage": storage,
        "rootPasswordSecretKeyRef": {"name": admin, "key": "password"},
    });
    if !new.arguments.is_empty() {
        spec["args"] = json!(new.arguments);
    }
    let fields = [
        ("resources", new.resources.as_ref().map(|value| json!(value))),
        ("nodeSelector", new.node_selector.as_ref().map(|value| json!(value))),
        ("tolerations", new.tolerations.as_ref().map(|value| json!(value))),
        ("affinity", new.affinity.as_ref().map(|value| json!(value))),
        ("imagePullSecrets", new.image_pull_secrets.as_ref().map(|value| json!(value))),
    ];
    for (key, value) in fields {
        if let Some(value) = value {
            spec[key] = value;
        }
    }
    Ok(spec)
}
