//! What the restore by Percona's agents is told.

use crate::{
    api::Addressing,
    restore::pbm,
    task::RestoreTask,
    worker::{Start, stores},
};

/// For a cluster that is there already; `None` where a new instance is made.
pub(super) fn course(start: &Start, work: &RestoreTask) -> Option<pbm::Course> {
    let existing = work.existing.as_ref()?;
    let target = &work.target;
    let renamed = existing.renamed.iter().map(|set| (set.to.clone(), set.from.clone()));
    Some(pbm::Course {
        work: start.mounts.work.join("restore"),
        programs: None,
        cluster: start.mounts.instance.clone(),
        copy: stores::place(target),
        credentials: start.mounts.target.clone(),
        settings: pbm::Settings {
            signing_region: target.signing_region.clone(),
            virtual_hosted: target.addressing == Addressing::Virtual,
            renamed: renamed.collect(),
        },
    })
}
