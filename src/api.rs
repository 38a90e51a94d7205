//! The resources of `farshore.dev/v1alpha1`: plain data, no client, no I/O.
//!
//! One file a kind. The field docs are the user's manual: they end up in the CRDs and in
//! `kubectl explain`. What the API server can check is a CEL rule here; what it can't is in
//! `rules`, and shown as a condition.

mod backup_sync_service;
mod bucket_replication_rule;
mod comparison;
pub mod condition;
mod convergence;
mod database_instance;
mod disaster_recovery_instance;
mod existing;
mod feed;
mod kept;
mod moment;
mod observed;
mod quantity;
mod recovery;
mod recovery_drill;
mod reference;
mod region;
mod served;
mod sql_server;
mod standby_report;
mod standby_target;
mod via;

pub use backup_sync_service::*;
pub use bucket_replication_rule::*;
pub use comparison::*;
pub use convergence::*;
pub use database_instance::*;
pub use disaster_recovery_instance::*;
pub use existing::*;
pub use feed::*;
pub use kept::*;
pub use moment::Moment;
pub use observed::*;
pub use quantity::{ByteRate, HumanDuration};
pub use recovery::*;
pub use recovery_drill::*;
pub use reference::*;
pub use region::*;
pub use served::{ActivationWish, Measure, PlanEnded, Served};
pub use sql_server::*;
pub use standby_report::*;
pub use standby_target::*;
pub use via::*;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

/// API group of every kind.
pub const GROUP: &str = "farshore.dev";
/// Served and stored version.
pub const VERSION: &str = "v1alpha1";

/// Annotation that asks for a cycle now; the value is an RFC 3339 time, the same value again is no request (`P09`).
pub const RUN_REQUESTED: &str = "farshore.dev/run-requested";
/// Annotation that lets a purge go that can't finish: the backups stay where they are. RFC 3339 time,
/// not before the deletion.
pub const ABANDON_PURGE: &str = "farshore.dev/abandon-purge";
/// Annotation that releases the deletes of a rule that are held; RFC 3339 time, of the release: what is held
/// later needs another (`C18`).
pub const RELEASE_DELETES: &str = "farshore.dev/release-deletes";
/// Annotation that makes void the claim that another cluster's rule has put on a bucket: the UID of that rule, as
/// the refusal names it (`C07`).
pub const VOID_CLAIM: &str = "farshore.dev/void-claim";
/// Annotation that has a disaster recovery instance copied anew from its master; the value is an RFC 3339 time, the
/// same value again is no request (`D09`).
pub const RESYNC_REQUESTED: &str = "farshore.dev/resync-requested";
/// Annotation that lets a disaster recovery instance become active although its master lives and can't be kept from
/// writing. RFC 3339 time, at most an hour ago when it is read (`D13`).
pub const ACCEPT_SPLIT_BRAIN: &str = "farshore.dev/accept-split-brain";
/// Annotation of a Region: buckets of it that fetch what they lack from elsewhere, where their store doesn't say
/// so, separated by commas (`C09`).
pub const MIRRORING_BUCKETS: &str = "farshore.dev/mirror-back-to-source";
/// Label of a Namespace or a Region that gives it to one controller: the one whose Lease has this name
/// (`--lease-name`). All others leave it alone. Without the label, every controller serves it.
pub const CONTROLLER: &str = "farshore.dev/controller";
/// Finalizer that holds a service until its target backups are purged (`B11`).
pub const PURGE_FINALIZER: &str = "farshore.dev/purge";

/// Every definition, in the order in which they are applied.
#[must_use]
pub fn definitions() -> Vec<CustomResourceDefinition> {
    vec![
        Region::crd(),
        DatabaseInstance::crd(),
        BackupSyncService::crd(),
        BucketReplicationRule::crd(),
        RecoveryDrill::crd(),
        DisasterRecoveryInstance::crd(),
    ]
}
