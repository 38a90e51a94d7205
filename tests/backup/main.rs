//! Copies of backup sets, from names to whole stories, on a store in memory.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod catalogs;
#[path = "../support/history.rs"]
mod history;
mod inspecting;
mod memory;
mod random;
#[path = "../support/stores.rs"]
mod real;
mod stores;
mod stories;
