//! A live copy of a MongoDB master, on servers that speak its protocol.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod activation;
mod apply;
mod converge;
mod feed;
mod fence;
mod real;
#[allow(dead_code, reason = "not every test needs all of it")]
#[path = "../support/secantus.rs"]
mod secantus;
mod seed;
mod state;
mod takeover;
