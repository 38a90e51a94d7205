//! `CloudNativePG`: a `Cluster` that recovers from Barman's layout.
//!
//! Where the plugin for Barman is installed, the copy is described to it in an `ObjectStore`; else in the Cluster
//! itself, as versions that still have Barman within know it.

use serde_json::{Map, Value, json};

use super::{ACCESS_KEY, Foreign, Made, Order, Profile, Refusal, SECRET_KEY, State, condition};

pub const PROFILE: Profile = Profile {
    name: "CloudNativePG",
    main: Foreign { group: "postgresql.cnpg.io", version: "v1", kind: "Cluster", plural: "clusters" },
    cluster: None,
    beside: &[STORE],
    value: "via.cloudNativePG",
};
/// The plugin's kind.
pub const STORE: Foreign =
    Foreign { group: "barmancloud.cnpg.io", version: "v1", kind: "ObjectStore", plural: "objectstores" };
const PLUGIN: &str = "barman-cloud.cloudnative-pg.io";
/// What the copy is called within the Cluster.
const SOURCE: &str = "farshore-copy";
/// What requests are signed for unless somebody says otherwise.
const USUAL_REGION: &str = "us-east-1";

/// Where the backups lie, as Barman thinks of it.
struct Place {
    url: String,
    server: String,
    backup: String,
}

/// The resources.
///
/// # Errors
/// See [`super::render`].
pub fn render(order: &Order) -> Result<Vec<Made>, Refusal> {
    let place = place(order)?;
    let target = target(order, &place)?;
    let mut recovery = json!({"source": SOURCE});
    if let Some(target) = target {
        recovery["recoveryTarget"] = target;
    }
    let mut ours = instance(order)?;
    ours["bootstrap"] = json!({"recovery": recovery});
    let mut source = json!({"name": SOURCE});
    let mut objects = Vec::new();
    let region = signing_region(order);
    if order.plugin {
        let name = order.name();
        source["plugin"] = json!({
            "name": PLUGIN,
            "parameters": {"barmanObjectName": name, "serverName": place.server},
        });
        let mut spec = json!({"configuration": store(order, &place)});
        if let Some(region) = region {
            spec["instanceSidecarConfiguration"] = json!({"env": [region]});
        }
        objects.push(order.object(STORE, name, spec));
    } else {
        let mut store = store(order, &place);
        store["serverName"] = json!(place.server);
        source["barmanObjectStore"] = store;
        if let Some(region) = region {
            ours["env"] = json!([region]);
        }
    }
    ours["externalClusters"] = json!([source]);
    objects.push(order.main(ours, json!({"instances": 1}))?);
    Ok(objects)
}

/// What the status says.
#[must_use]
pub fn state(status: &Value) -> State {
    if let Some(("True", _)) = condition(status, "Ready") {
        return State::Ready;
    }
    let said = [&status["phase"], &status["phaseReason"]];
    let said: Vec<_> = said.into_iter().filter_map(Value::as_str).filter(|said| !said.is_empty()).collect();
    State::Working(if said.is_empty() { "it was not looked at yet".to_owned() } else { said.join(": ") })
}

/// `[any/]<server>/base/<backup>/…`: the server's folder is in the names of our backups.
fn place(order: &Order) -> Result<Place, Refusal> {
    let other = || order.other_layout("Barman's layout");
    let base = order.plan.bases.last().ok_or_else(other)?;
    let (server, backup) = base.name.rsplit_once('/').unwrap_or(("", &base.name));
    let below = if server.is_empty() { String::new() } else { format!("{server}/") };
    let is_there = |key: &String| key.starts_with(&format!("{below}base/{backup}/"));
    if !base.key.as_ref().is_some_and(is_there) {
        return Err(other());
    }
    let folder = order.folder(server);
    let (above, server) = folder.rsplit_once('/').unwrap_or(("", &folder));
    if server.is_empty() {
        let message = format!(
            "instance {}: the backups lie at the bucket's root, and CloudNativePG looks for a server's folder; create the instance anew without via",
            order.name()
        );
        return Err(("OtherLayout", message));
    }
    let url = format!("s3://{}/{above}", order.bucket()).trim_end_matches('/').to_owned();
    Ok(Place { url, server: server.to_owned(), backup: backup.to_owned() })
}

/// `None`: the whole log is replayed. A server ends with an error when its log ends without a later commit, so that
/// the end of the log can't be told as a time.
fn target(order: &Order, place: &Place) -> Result<Option<Value>, Refusal> {
    if !order.is_exact() {
        return Ok(None);
    }
    let moment = order.plan.time_point.0;
    if order.is_at_an_end() {
        let message = format!(
            "instance {}: nothing follows {moment} in the log, and PostgreSQL stops at a time only when something does; create the instance anew without timePoint for the latest, with an earlier one, or without via",
            order.name()
        );
        return Err(("EndOfLog", message));
    }
    Ok(Some(json!({"backupID": place.backup, "targetTime": moment.to_string()})))
}

fn store(order: &Order, place: &Place) -> Value {
    let mut store = json!({
        "destinationPath": place.url,
        "endpointURL": order.region.spec.object_store.endpoint,
        "s3Credentials": {
            "accessKeyId": order.secret_key(ACCESS_KEY),
            "secretAccessKey": order.secret_key(SECRET_KEY),
        },
        "wal": {"maxParallel": 8},
    });
    if let Some(ca) = order.ca() {
        store["endpointCA"] = ca;
    }
    store
}

/// Barman learns it from its environment.
fn signing_region(order: &Order) -> Option<Value> {
    let region = &order.region.spec.object_store.signing_region;
    (region != USUAL_REGION).then(|| json!({"name": "AWS_DEFAULT_REGION", "value": region}))
}

/// What `spec.bootstrap.instance` says, as a Cluster says it.
fn instance(order: &Order) -> Result<Value, Refusal> {
    let new = order.new_instance()?;
    let (admin, new) = (&new.admin_secret_ref.name, &new.server);
    if !new.arguments.is_empty() {
        let message = format!(
            "instance {}: CloudNativePG takes no arguments for the server; create the instance anew with spec.bootstrap.recovery.via.spec.postgresql.parameters",
            order.name()
        );
        return Err(("InvalidSpec", message));
    }
    let mut storage = json!({"size": new.storage});
    if let Some(class) = &new.storage_class_name {
        storage["storageClass"] = json!(class);
    }
    let mut spec = json!({
        "imageName": new.image,
        "storage": storage,
        "enableSuperuserAccess": true,
        "superuserSecret": {"name": admin},
    });
    if let Some(resources) = &new.resources {
        spec["resources"] = json!(resources);
    }
    if let Some(secrets) = &new.image_pull_secrets {
        spec["imagePullSecrets"] = json!(secrets);
    }
    let mut affinity = Map::new();
    let rules = new.affinity.as_ref();
    let fields = [
        ("nodeSelector", new.node_selector.as_ref().map(|value| json!(value))),
        ("tolerations", new.tolerations.as_ref().map(|value| json!(value))),
        ("nodeAffinity", rules.and_then(|rules| rules.node_affinity.as_ref()).map(|value| json!(value))),
        (
            "additionalPodAffinity",
            rules.and_then(|rules| rules.pod_affinity.as_ref()).map(|value| json!(value)),
        ),
        (
            "additionalPodAntiAffinity",
            rules.and_then(|rules| rules.pod_anti_affinity.as_ref()).map(|value| json!(value)),
        ),
    ];
    affinity.extend(fields.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))));
    if !affinity.is_empty() {
        spec["affinity"] = Value::Object(affinity);
    }
    Ok(spec)
}
