//! Stories on the real cluster, told as a user would live them. `dev/demo` has run before: two regions
//! with a MinIO each, a MariaDB that is written to all the time, Farshore installed by Helm.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test fails by a panic

mod buckets;
mod cluster;
mod deletion;
mod main_story;
mod mending;
mod migration;
#[allow(dead_code, reason = "the suite of restores needs more of it")]
#[path = "../restore/moments.rs"]
mod moments;
mod mutual;
#[allow(dead_code, reason = "the suite of restores needs more of it")]
#[path = "../restore/mysql_source.rs"]
mod mysql_source;
mod pair;
mod postgres;
#[allow(dead_code, reason = "not every test binary needs all of it")]
#[path = "../support/postgres.rs"]
mod postgres_source;
mod restore;
mod rule;
#[allow(dead_code, reason = "the suite of restores needs more of it")]
#[path = "../restore/server.rs"]
mod server;
mod service;
#[allow(dead_code, reason = "the suite of restores needs more of it")]
#[path = "../restore/set.rs"]
mod set;
mod standby;
mod standby_troubles;
mod stopped;
mod upgrade;
mod webhook;
