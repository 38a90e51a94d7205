//! Backups in a bucket: what is there, what can be restored from it, and how a copy stays true.
//!
//! [`catalog`] reads a bucket (sans I/O) into bases and logs; [`window`] says which moments can be
//! restored and what may be pruned, once for all formats; [`records`] is what Farshore writes
//! beside the copies; [`sync`] keeps a second bucket current; [`purge`] takes a copy away.

pub mod catalog;
pub mod detect;
mod error;
pub mod inspect;
mod join;
pub mod look;
pub mod purge;
pub mod reader;
pub mod records;
mod survey;
pub mod sync;
pub mod window;

pub use error::{Error, Result};
