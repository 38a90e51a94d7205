//! Least privilege (`P07`), asked from a real API server: what users, the controller and workers can't do.
//!
//! Needs a cluster: `make test` starts one. Each test has a namespace and users of its own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may")]

#[path = "../support/cluster.rs"]
mod cluster;
mod controller;
mod definitions;
mod secrets;
mod worker;
