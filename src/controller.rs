//! Decides what should be, and touches no data: reads resources, Jobs and pods; writes Jobs and status.
//!
//! Every kind alike: observe → decide (pure) → apply. It never reads a Secret.
//!
//! # Rights that it needs
//!
//! | scope | API group | resource | verbs | for |
//! |---|---|---|---|---|
//! | cluster | farshore.dev | regions | get list watch | |
//! | cluster | farshore.dev | regions/status | patch | probes |
//! | cluster | (core) | namespaces | get list watch | terminating namespaces (metadata only) |
//! | `default` | events.k8s.io | events | create | Events about Regions, and about namespaces that go |
//! | watched | farshore.dev | databaseinstances | get list watch create | create: of an active copy |
//! | watched | farshore.dev | databaseinstances/status | patch | |
//! | watched | farshore.dev | backupsyncservices | get list watch patch delete | finalizer; B10 |
//! | watched | farshore.dev | backupsyncservices/status | patch | held by workers' Roles too |
//! | watched | farshore.dev | backupsyncservices/finalizers | update | owner references |
//! | watched | farshore.dev | bucketreplicationrules | get list watch | |
//! | watched | farshore.dev | bucketreplicationrules/status | patch | held by workers' Roles too |
//! | watched | farshore.dev | bucketreplicationrules/finalizers | update | owner references |
//! | watched | farshore.dev | disasterrecoveryinstances | get list watch | |
//! | watched | farshore.dev | disasterrecoveryinstances/status | patch | held by workers' Roles too |
//! | watched | farshore.dev | disasterrecoveryinstances/finalizers | update | owner references |
//! | watched | (core) | configmaps | create delete get patch | tasks; get and patch only so that a worker's Role can hold them |
//! | watched | (core) | serviceaccounts | create | workers' identities |
//! | watched | rbac.authorization.k8s.io | roles, rolebindings | create | workers' rights, all held by us |
//! | watched | batch | jobs | get list watch create delete patch | patch: pods at a time, rest |
//! | watched | apps | statefulsets | get create patch | patch: members of a managed target |
//! | watched | policy | poddisruptionbudgets | create patch | of a managed target |
//! | watched | (core) | secrets | create | key and account of a managed target |
//! | watched | (core) | pods | list watch | |
//! | watched | (core) | events | list | the kubelet's and scheduler's own words |
//! | watched | events.k8s.io | events | create | |
//! | its own | coordination.k8s.io | leases | get create update | leader election |

mod backoff;
mod breaker;
mod changes;
mod context;
mod drill;
mod error;
mod events;
mod instance;
mod jobs;
mod lease;
mod metrics;
mod names;
mod options;
mod probe;
mod queue;
mod region;
mod rule;
mod run;
mod server;
mod service;
mod standby;
mod status;
mod watch;
mod work;

pub use breaker::Pauses;
pub use error::Error;
pub use options::{Options, Timing};
pub use run::{run, run_with};

use context::Context;

/// Field manager of all that the controller writes.
const FIELD_MANAGER: &str = "farshore-controller";
