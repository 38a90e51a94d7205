//! A restore that another operator of databases carries out: its resource, rendered from what it knows of itself, from
//! the plan and from what the user adds; and what that resource's status says. Pure, but for [`look`].
//!
//! Nothing of it has an owner: data outlives the `DatabaseInstance` that it was restored for.

mod cloudnativepg;
mod look;
mod mariadb;
mod merge;
mod percona;
#[cfg(test)]
mod tests;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{
    ResourceExt,
    api::{ApiResource, DynamicObject, TypeMeta},
};
use serde_json::{Map, Value, json};

pub use self::look::{Delegate, Standing, look};
use super::database;
use crate::{
    api::{
        BackupSyncService, DatabaseInstance, DatabaseOperator, NewInstance, RecoveryPlan, Region,
        RenderedResource, Via,
    },
    controller::jobs::ATTEMPT,
};

/// Keys of every Secret with an object store's credentials.
const ACCESS_KEY: &str = "AWS_ACCESS_KEY_ID";
const SECRET_KEY: &str = "AWS_SECRET_ACCESS_KEY";
/// Key of a Secret with authorities.
const CA_KEY: &str = "ca.crt";

/// A kind of another operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Foreign {
    pub group: &'static str,
    pub version: &'static str,
    pub kind: &'static str,
    pub plural: &'static str,
}

impl Foreign {
    /// As the client asks for it.
    #[must_use]
    pub fn resource(self) -> ApiResource {
        ApiResource {
            group: self.group.to_owned(),
            version: self.version.to_owned(),
            api_version: self.api_version(),
            kind: self.kind.to_owned(),
            plural: self.plural.to_owned(),
        }
    }

    fn api_version(self) -> String {
        format!("{}/{}", self.group, self.version)
    }
}

/// An operator, as far as it is known here.
pub struct Profile {
    /// As people call it.
    pub name: &'static str,
    /// Whose state is followed.
    pub main: Foreign,
    /// What must be there before, and is restored into.
    pub cluster: Option<Foreign>,
    /// What may be made beside it, under the instance's name.
    pub beside: &'static [Foreign],
    /// The chart's value that gives the controller its rights.
    pub value: &'static str,
}

/// What is known of an operator.
#[must_use]
pub const fn profile(operator: DatabaseOperator) -> Profile {
    match operator {
        DatabaseOperator::CloudNativePG => cloudnativepg::PROFILE,
        DatabaseOperator::MariaDBOperator => mariadb::PROFILE,
        DatabaseOperator::PerconaServerMongoDB => percona::MONGODB,
        DatabaseOperator::PerconaXtraDBCluster => percona::XTRADB,
    }
}

/// What something is rendered from.
pub struct Order<'a> {
    pub instance: &'a DatabaseInstance,
    pub via: &'a Via,
    pub new: Option<&'a NewInstance>,
    pub service: &'a BackupSyncService,
    pub region: &'a Region,
    pub plan: &'a RecoveryPlan,
    pub attempt: u32,
    /// `CloudNativePG` has its plugin for Barman's layout.
    pub plugin: bool,
}

/// A resource, and how the client asks for it.
pub type Made = (ApiResource, DynamicObject);

/// Why nothing is rendered: a word, and what to do.
pub type Refusal = (&'static str, String);

/// How far the other operator is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// In its own words.
    Working(String),
    /// It has given up; in its own words.
    Failed(String),
    Ready,
}

/// The resources, in the order in which they are made; the last one is followed.
///
/// # Errors
/// What that operator can't do with this copy, or this moment.
pub fn render(order: &Order) -> Result<Vec<Made>, Refusal> {
    order.authorities()?;
    match order.via.operator {
        DatabaseOperator::CloudNativePG => cloudnativepg::render(order),
        DatabaseOperator::MariaDBOperator => mariadb::render(order),
        DatabaseOperator::PerconaServerMongoDB | DatabaseOperator::PerconaXtraDBCluster => {
            percona::render(order)
        }
    }
}

/// What a resource's status says.
#[must_use]
pub fn state(operator: DatabaseOperator, main: &DynamicObject) -> State {
    let status = &main.data["status"];
    match operator {
        DatabaseOperator::CloudNativePG => cloudnativepg::state(status),
        DatabaseOperator::MariaDBOperator => mariadb::state(main),
        DatabaseOperator::PerconaServerMongoDB | DatabaseOperator::PerconaXtraDBCluster => {
            percona::state(status)
        }
    }
}

/// Name of the resource that is followed.
#[must_use]
pub fn main_name(instance: &DatabaseInstance, operator: DatabaseOperator, attempt: u32) -> String {
    let name = instance.name_any();
    // A restore into a cluster is another one each time.
    if profile(operator).cluster.is_some() { format!("{name}-{attempt}") } else { name }
}

/// Where the instance listens, once that is known.
#[must_use]
pub fn endpoint(instance: &DatabaseInstance, via: &Via, cluster: Option<&DynamicObject>) -> Option<String> {
    let engine = via.operator.engine();
    let (name, namespace) = (instance.name_any(), instance.namespace().unwrap_or_default());
    let host = match via.operator {
        DatabaseOperator::CloudNativePG => format!("{name}-rw.{namespace}"),
        DatabaseOperator::MariaDBOperator => format!("{name}-primary.{namespace}"),
        _ => cluster?.data["status"]["host"].as_str()?.to_owned(),
    };
    let port = if host.contains(':') { String::new() } else { format!(":{}", database::port(engine)) };
    Some(format!("{}://{host}{port}", database::scheme(engine)))
}

/// `Cluster orders`.
#[must_use]
pub fn called(operator: DatabaseOperator, name: &str) -> String {
    format!("{} {name}", profile(operator).main.kind)
}

/// As the status names it.
#[must_use]
pub fn reference(operator: DatabaseOperator, name: &str) -> RenderedResource {
    let kind = profile(operator).main;
    RenderedResource { api_version: kind.api_version(), kind: kind.kind.to_owned(), name: name.to_owned() }
}

impl Order<'_> {
    fn name(&self) -> String {
        self.instance.name_any()
    }

    /// An object of this order, with what the user adds already in its spec.
    fn object(&self, kind: Foreign, name: String, spec: Value) -> Made {
        let metadata = database::metadata(self.instance, name);
        let mut annotations = metadata.annotations.unwrap_or_default();
        annotations.insert(ATTEMPT.to_owned(), self.attempt.to_string());
        let metadata = ObjectMeta { owner_references: None, annotations: Some(annotations), ..metadata };
        let types = TypeMeta { api_version: kind.api_version(), kind: kind.kind.to_owned() };
        (
            kind.resource(),
            DynamicObject {
                types: Some(types),
                metadata,
                data: Value::Object(Map::from_iter([("spec".to_owned(), spec)])),
            },
        )
    }

    /// The resource that is followed: ours, and what the user adds.
    fn main(&self, ours: Value, defaults: Value) -> Result<Made, Refusal> {
        let operator = self.via.operator;
        let spec = merge::merged(ours, defaults, self.via.spec.as_ref()).map_err(|path| {
            let message = format!(
                "instance {}: spec.bootstrap.recovery.via.spec.{path} is for Farshore to say; create the instance anew without it",
                self.name()
            );
            ("InvalidSpec", message)
        })?;
        let name = main_name(self.instance, operator, self.attempt);
        Ok(self.object(profile(operator).main, name, spec))
    }

    fn secret(&self) -> &str {
        let own = self.via.credentials.as_ref();
        &own.unwrap_or(&self.service.spec.target.credentials).secret_ref.name
    }

    fn secret_key(&self, key: &str) -> Value {
        json!({"name": self.secret(), "key": key})
    }

    fn ca(&self) -> Option<Value> {
        self.via.ca_secret_ref.as_ref().map(|secret| json!({"name": secret.name, "key": CA_KEY}))
    }

    fn authorities(&self) -> Result<(), Refusal> {
        if self.region.spec.object_store.ca_bundle.is_none() || self.via.ca_secret_ref.is_some() {
            return Ok(());
        }
        let message = format!(
            "instance {}: Region {} has a caBundle, which {} takes from a Secret; put it into one, as {CA_KEY}, and create the instance anew with spec.bootstrap.recovery.via.caSecretRef",
            self.name(),
            self.region.name_any(),
            profile(self.via.operator).name,
        );
        Err(("NoAuthorities", message))
    }

    fn bucket(&self) -> &str {
        &self.service.spec.target.bucket
    }

    /// Folder of the bucket in which something of the copy lies: without slashes at its ends.
    fn folder(&self, below: &str) -> String {
        format!("{}{below}", self.service.spec.target.prefix).trim_matches('/').to_owned()
    }

    /// `s3://bucket/folder`
    fn url(&self, below: &str) -> String {
        format!("s3://{}/{}", self.bucket(), self.folder(below)).trim_end_matches('/').to_owned()
    }

    /// True where the moment was asked for, not just the latest that there is.
    fn is_exact(&self) -> bool {
        self.instance.spec.bootstrap.as_ref().is_some_and(|bootstrap| bootstrap.recovery.time_point.is_some())
    }

    /// True where nothing follows the moment in the log, as far as it is whole.
    fn is_at_an_end(&self) -> bool {
        let windows = self.service.status.as_ref().map(|status| status.recovery_windows.as_slice());
        let moment = &self.plan.time_point;
        self.plan.latest || windows.unwrap_or_default().iter().any(|window| window.to == *moment)
    }

    /// What is given to tools that stop before the second that they are told: all of the moment's second is
    /// restored, as its transactions are no later than the moment.
    fn second_after(&self) -> Result<Timestamp, Refusal> {
        let moment = self.plan.time_point.0;
        if moment.subsec_nanosecond() == 0 {
            return Ok(moment + SignedDuration::from_secs(1));
        }
        let message = format!(
            "instance {}: {} knows whole seconds only, and {moment} is none; create the instance anew with a whole second, or without via",
            self.name(),
            profile(self.via.operator).name,
        );
        Err(("InvalidMoment", message))
    }

    /// The copy is not laid out as this operator reads it.
    fn other_layout(&self, wanted: &str) -> Refusal {
        let message = format!(
            "instance {}: {} reads {wanted}, and the copy of service {} is something else; create the instance anew without via",
            self.name(),
            profile(self.via.operator).name,
            self.service.name_any(),
        );
        ("OtherLayout", message)
    }

    fn new_instance(&self) -> Result<&NewInstance, Refusal> {
        self.new.ok_or_else(|| {
            ("InvalidSpec", format!("instance {}: spec.bootstrap.instance is needed", self.name()))
        })
    }
}

/// Folder of a key, without the slash at its end.
fn parent(key: &str) -> &str {
    key.trim_end_matches('/').rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// Status and message of a condition.
fn condition<'a>(status: &'a Value, type_: &str) -> Option<(&'a str, &'a str)> {
    let found = status["conditions"].as_array()?.iter().find(|condition| condition["type"] == type_)?;
    Some((found["status"].as_str()?, found["message"].as_str().unwrap_or_default()))
}
