//! Copies of backup sets, from names to whole stories, on a store in memory.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod archives;
mod catalogs;
mod catalogs_mongo;
mod catalogs_pxc;
mod catalogs_sqlserver;
mod detecting;
#[path = "../support/history.rs"]
mod history;
mod inspecting;
mod memory;
mod random;
#[path = "../support/stores.rs"]
mod real;
mod stores;
mod stories;
