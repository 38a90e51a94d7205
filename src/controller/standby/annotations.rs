//! What people ask for by annotations.

use jiff::Timestamp;
use kube::ResourceExt;

use crate::{
    api::{ACCEPT_SPLIT_BRAIN, DisasterRecoveryInstance, RESYNC_REQUESTED},
    controller::{events::Announcement, work::standing::about},
};

/// When a new copy was asked for.
#[must_use]
pub fn resync(standby: &DisasterRecoveryInstance) -> Option<Timestamp> {
    standby.annotations().get(RESYNC_REQUESTED)?.parse().ok()
}

/// Values that are no time, told once each.
pub fn malformed(standby: &DisasterRecoveryInstance) -> impl Iterator<Item = (String, Announcement)> {
    let known = [
        (RESYNC_REQUESTED, "MalformedResyncRequest", "nothing is copied anew for it"),
        (ACCEPT_SPLIT_BRAIN, "MalformedAcceptance", "it accepts nothing"),
    ];
    known.into_iter().filter_map(|(key, reason, effect)| {
        let value = standby.annotations().get(key)?;
        if value.parse::<Timestamp>().is_ok() {
            return None;
        }
        let note = format!(
            "{}: {key} is {value:?}, which is no RFC 3339 time like 2026-11-21T08:00:00Z; {effect}",
            about(standby)
        );
        Some((key.to_owned(), Announcement::warning(reason, note)))
    })
}
