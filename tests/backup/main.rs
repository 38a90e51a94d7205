//! Copies of backup sets, from names to whole stories, on a store in memory.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod catalogs;
#[path = "../support/history.rs"]
mod history;
mod inspecting;
mod random;
#[path = "../support/stores.rs"]
mod real;
mod stores;
mod stories;
