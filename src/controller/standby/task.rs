//! What the worker is told.

use std::time::Duration;

use super::{annotations::resync, target::target};
use crate::{
    api::{AcceptedMaster, DisasterRecoveryInstance},
    controller::{
        Options,
        work::{
            children::{Keys, Work},
            task::{shift, task},
        },
    },
    task::{self, INSTANCE_CREDENTIALS_DIR, StandbyTask, TARGET_CREDENTIALS_DIR, Task},
};

/// The word for the worker's part.
pub const ROLE: &str = "standby";

/// Has the target follow the master.
#[must_use]
pub fn follow(standby: &DisasterRecoveryInstance, master: &AcceptedMaster, options: &Options) -> Task {
    let target = target(standby);
    let work = StandbyTask {
        master_uri: master.uri.clone(),
        master_credentials: master.credentials.is_some(),
        target_uri: target.uri,
        target_credentials: target.secret.is_some(),
        seconds: shift(standby, options).as_secs(),
        resync: resync(standby),
        managed: target.managed,
    };
    task(standby, task::Work::Standby(Box::new(work)))
}

/// How it is run.
#[must_use]
pub fn work(standby: &DisasterRecoveryInstance, master: &AcceptedMaster, shift: Duration) -> Work {
    let keys = |volume, directory, secret: &str| Keys {
        volume,
        directory,
        secret: secret.to_owned(),
        optional: false,
    };
    let of_master = master.credentials.as_ref().map(|credentials| &credentials.secret_ref.name);
    let of_target = target(standby).secret;
    Work {
        role: ROLE,
        shift: Some(shift),
        reports: true,
        keys: [
            of_target.map(|secret| keys("target", TARGET_CREDENTIALS_DIR, &secret)),
            of_master.map(|secret| keys("instance", INSTANCE_CREDENTIALS_DIR, secret)),
        ]
        .into_iter()
        .flatten()
        .collect(),
        paper: None,
        parts: None,
        database: None,
        settings: None,
    }
}
