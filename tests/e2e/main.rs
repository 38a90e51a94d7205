//! Stories on the real cluster, told as a user would live them. `dev/demo` has run before: two regions
//! with a MinIO each, a MariaDB that is written to all the time, Farshore installed by Helm.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test fails by a panic

mod buckets;
mod cluster;
mod deletion;
mod main_story;
mod mending;
mod migration;
mod mutual;
mod rule;
mod service;
mod upgrade;
mod webhook;
