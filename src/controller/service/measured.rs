//! What was measured at the target last: by the run that reports, or by one before it.

use crate::{
    api::{BackupSyncService, Cycle, Pending, TimePointBasis},
    controller::names,
};

/// The last cycle that succeeded.
#[derive(Clone, Debug)]
pub struct Measured {
    pub cycle: Cycle,
    /// False: the run that reports now has not ended a cycle yet, and the status remembers an earlier
    /// run's. Gaps and pending objects are not remembered.
    pub fresh: bool,
}

/// The last cycle, when it is one of ours: of a run that was named by us for this very resource.
#[must_use]
pub fn measured(service: &BackupSyncService) -> Option<Measured> {
    let report = service.status.as_ref()?.observed.as_ref();
    let uid = service.metadata.uid.as_deref().unwrap_or_default();
    let told =
        report.filter(|report| names::is_run_of(uid, &report.run_id)).and_then(|report| report.cycle.clone());
    told.map(|cycle| Measured { cycle, fresh: true }).or_else(|| remembered(service))
}

/// A new run begins with an empty report; what the target holds is still there.
fn remembered(service: &BackupSyncService) -> Option<Measured> {
    let status = service.status.as_ref()?;
    let ended = status.last_sync_time.clone()?;
    let cycle = Cycle {
        started_at: ended.clone(),
        completed_at: ended,
        latest_data_time_point: status.latest_data_time_point,
        basis: status.time_point_basis.unwrap_or(TimePointBasis::Proved),
        windows: status.recovery_windows.clone(),
        gaps: Vec::new(),
        source_latest_time: status.source_latest_time,
        covered_until: status.covered_until,
        engine_unasked: None,
        backups: status.backups.clone().unwrap_or_default(),
        usage: status.usage.clone().unwrap_or_default(),
        pending: Pending::default(),
    };
    Some(Measured { cycle, fresh: false })
}

/// True once the run that reports has ended a cycle.
#[must_use]
pub fn is_measured(service: &BackupSyncService) -> bool {
    measured(service).is_some_and(|measured| measured.fresh)
}
