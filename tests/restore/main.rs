//! New instances from copies of backups: real databases write, real tools back up, and each restored instance is
//! asked for its rows. The copies lie in a store in memory, or in a real one.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[allow(dead_code, clippy::print_stdout, reason = "it is the suite of stores that starts processes with it")]
#[path = "../store/alone.rs"]
mod alone;
mod copies;
mod dumps;
mod extract;
mod forgotten;
mod mariadb;
mod moments;
mod mongodb;
mod mysql;
mod mysql_source;
mod oplog;
mod own_replay;
mod postgres;
#[path = "../support/stores.rs"]
mod real;
mod scripts;
mod server;
mod set;
#[path = "../support/postgres.rs"]
mod source;
