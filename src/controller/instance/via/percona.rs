//! Percona's operators: a restore into a cluster that is there.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Foreign, Made, Order, Profile, Refusal, State, parent};
use crate::api::DatabaseOperator;

const fn mongodb(kind: &'static str, plural: &'static str) -> Foreign {
    Foreign { group: "psmdb.percona.com", version: "v1", kind, plural }
}

const fn xtradb(kind: &'static str, plural: &'static str) -> Foreign {
    Foreign { group: "pxc.percona.com", version: "v1", kind, plural }
}

pub const MONGODB: Profile = Profile {
    name: "Percona Operator for MongoDB",
    main: mongodb("PerconaServerMongoDBRestore", "perconaservermongodbrestores"),
    cluster: Some(mongodb("PerconaServerMongoDB", "perconaservermongodbs")),
    beside: &[],
    value: "via.perconaServerMongoDB",
};
pub const XTRADB: Profile = Profile {
    name: "Percona Operator for XtraDB Cluster",
    main: xtradb("PerconaXtraDBClusterRestore", "perconaxtradbclusterrestores"),
    cluster: Some(xtradb("PerconaXtraDBCluster", "perconaxtradbclusters")),
    beside: &[],
    value: "via.perconaXtraDBCluster",
};

/// The resource.
///
/// # Errors
/// See [`super::render`].
pub fn render(order: &Order) -> Result<Vec<Made>, Refusal> {
    let ours = match order.via.operator {
        DatabaseOperator::PerconaServerMongoDB => into_mongodb(order)?,
        _ => into_xtradb(order)?,
    };
    Ok(vec![order.main(ours, json!({}))?])
}

/// What the status says, of either.
#[must_use]
pub fn state(status: &Value) -> State {
    let said =
        [&status["error"], &status["comments"]].into_iter().find_map(Value::as_str).unwrap_or_default();
    match status["state"].as_str().unwrap_or_default() {
        "ready" | "Succeeded" => State::Ready,
        "error" | "rejected" | "Failed" => {
            State::Failed(if said.is_empty() { "it does not say why".to_owned() } else { said.to_owned() })
        }
        "" => State::Working("it was not looked at yet".to_owned()),
        state if said.is_empty() => State::Working(state.to_owned()),
        state => State::Working(format!("{state}: {said}")),
    }
}

fn cluster<'a>(order: &'a Order) -> &'a str {
    order.via.cluster_ref.as_ref().map(|cluster| cluster.name.as_str()).unwrap_or_default()
}

/// The agents know the kind of a backup from its own metadata; the operator asks for it all the same, in
/// `backupSource.type`, which is the user's to say.
fn into_mongodb(order: &Order) -> Result<Value, Refusal> {
    let other = || order.other_layout("sets of Percona Backup for MongoDB");
    let base = order.plan.bases.last().ok_or_else(other)?;
    if base.key.as_deref() != Some(&format!("{}/", base.name)) {
        return Err(other());
    }
    let mut store = store(order, order.bucket());
    let prefix = order.folder("");
    if !prefix.is_empty() {
        store["prefix"] = json!(prefix);
    }
    let mut ours = json!({
        "clusterName": cluster(order),
        "backupSource": {"destination": order.url(&base.name), "s3": store},
    });
    if order.plan.logs.is_some() {
        ours["pitr"] = moment(order)?;
    }
    Ok(ours)
}

fn into_xtradb(order: &Order) -> Result<Value, Refusal> {
    let other = || order.other_layout("backups of Percona XtraDB Cluster");
    let [base] = order.plan.bases.as_slice() else { return Err(other()) };
    let key = base.key.as_deref().map(|key| key.trim_end_matches('/'));
    let key = key.filter(|key| key.ends_with("-full")).ok_or_else(other)?;
    let mut ours = json!({
        "pxcCluster": cluster(order),
        "backupSource": {"destination": order.url(key), "s3": store(order, &bucket(order, parent(key)))},
    });
    if let Some(logs) = &order.plan.logs {
        let first = logs.key.as_deref().filter(|key| key.contains("binlog_")).ok_or_else(other)?;
        let mut pitr = moment(order)?;
        pitr["backupSource"] = json!({"s3": store(order, &bucket(order, parent(first)))});
        ours["pitr"] = pitr;
    }
    Ok(ours)
}

/// This operator takes a folder as part of the bucket's name.
fn bucket(order: &Order, below: &str) -> String {
    order.url(below).trim_start_matches("s3://").to_owned()
}

fn moment(order: &Order) -> Result<Value, Refusal> {
    if !order.is_exact() {
        return Ok(json!({"type": "latest"}));
    }
    if order.is_at_an_end() {
        let message = format!(
            "instance {}: {} is where the log ends, and the operator wants more of it than that; create the instance anew without timePoint for the latest, with an earlier one, or without via",
            order.name(),
            order.plan.time_point.0
        );
        return Err(("EndOfLog", message));
    }
    Ok(json!({"type": "date", "date": date(order.second_after()?)}))
}

/// In UTC.
fn date(moment: Timestamp) -> String {
    moment.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

fn store(order: &Order, bucket: &str) -> Value {
    let at = &order.region.spec.object_store;
    let mut store = json!({
        "bucket": bucket,
        "credentialsSecret": order.secret(),
        "endpointUrl": at.endpoint,
        "region": at.signing_region,
    });
    if let Some(ca) = order.ca() {
        store["caBundle"] = ca;
    }
    store
}
