//! A worker, whatever it serves: its Job with all that it needs, when the next one comes, how it stands,
//! and what is said of it.

pub mod act;
pub mod beside;
pub mod children;
pub mod findings;
pub mod health;
pub mod next;
pub mod plan;
pub(super) mod pod;
pub mod receiver;
pub mod request;
pub mod seen;
pub mod standing;
pub mod task;
pub mod trouble;
pub mod words;
