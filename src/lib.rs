//! Farshore keeps a second region ready.
//!
//! The map, from the ground up: [`store`] is the seam to object storage, [`replicate`] copies and
//! compares objects through it, [`backup`] understands what database tools leave in a bucket,
//! [`mongo`] what MongoDB writes, and [`restore`] makes a database of it again; [`standby`] keeps a
//! replica set that follows another one, and takes over.
//! None of these knows Kubernetes. [`api`] holds the resources, [`rules`] what must hold between
//! them, [`task`] what the controller hands to a worker. [`controller`] decides and touches no
//! data, [`worker`] moves data and knows one task. [`cli`] wires them to the command line.
//! Which room may use which is written, and enforced, in `tests/architecture.rs`.

pub mod api;
pub mod backup;
pub mod cli;
pub mod controller;
pub mod mongo;
pub mod replicate;
pub mod restore;
pub mod rules;
pub mod standby;
pub mod store;
pub mod task;
pub mod worker;
