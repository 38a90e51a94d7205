//! The resources and the controller against a real API server, with the controller in this process.
//!
//! Needs a cluster: `make test` starts one. Each test has a namespace and regions of its own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]

mod acceptance;
mod cluster;
mod deletion;
mod exclusive;
mod feeds;
mod found;
mod input;
#[allow(dead_code, reason = "other tests need the rest")]
#[path = "../support/cluster.rs"]
mod installed;
mod keeping;
mod migrating;
mod mutual;
mod outage;
mod standby;
mod starting;
mod via;
mod working;
