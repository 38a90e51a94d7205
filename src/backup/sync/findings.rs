//! What a person should know, with the object's name and the next step.

use jiff::{SignedDuration, Timestamp};

use super::{Finding, Place, cycle::Memory, engine::Engine};
use crate::{
    backup::{
        catalog::Warning,
        survey::{SourceView, Survey},
        window::Timeline,
    },
    store::{ObjectStore, Side},
};

/// Findings of one reason that are told one by one.
const EACH: usize = 5;
/// A backup that is not finished is nobody's business while it is written to. One large file may take its
/// tool hours.
const UNFINISHED: SignedDuration = SignedDuration::from_hours(6);
/// Signed requests are refused beyond this.
const SKEW: SignedDuration = SignedDuration::from_mins(15);

pub(super) fn of(
    engine: &Engine,
    source: &SourceView,
    survey: &Survey,
    line: &Timeline,
    memory: &mut Memory,
) -> Vec<Finding> {
    let mut found = Vec::new();
    if let Some(told) = &engine.config.detected {
        let name = engine.config.format.name();
        let message = format!("the format is taken to be {name}: {told}; name it to keep it so");
        found.push(Finding { reason: "FormatDetected", message });
    }
    if line.chains.is_empty() {
        found.push(no_full_backup(engine, source));
    }
    let since = engine.now().checked_sub(UNFINISHED).unwrap_or(Timestamp::MIN);
    warnings(&mut found, (&source.catalog.warnings, since), survey);
    changed(&mut found, survey);
    damaged(&mut found, survey);
    foreign(&mut found, engine, survey);
    for (id, cause) in memory.refused.drain(..) {
        let message = format!("backup {id} was not copied: {cause}; it is tried again");
        found.push(Finding { reason: "BackupNotCopied", message });
    }
    if memory.outlived > 0 {
        let message = format!(
            "{} backups at the target are older than the retention and stay, with their logs: only their tool may delete them, since its index names them; run its `expire` on the target",
            memory.outlived
        );
        found.push(Finding { reason: "NotPruned", message });
    }
    let (config, source, target) = (&engine.config, &engine.logs.source.store, &engine.near.store);
    for (side, place, store) in
        [(Side::Source, &config.source, source), (Side::Target, &config.target, target)]
    {
        found.extend(skewed(side, place, &**store));
    }
    found
}

fn no_full_backup(engine: &Engine, source: &SourceView) -> Finding {
    let place = &engine.config.source;
    let whole = source.catalog.bases.iter().filter(|base| base.complete).count();
    let unfinished = source.catalog.warnings.iter().filter(|warning| warning.written.is_some()).count();
    let at = format!("s3://{}/{} holds none that is whole", place.bucket, place.prefix);
    let message = match (whole, unfinished) {
        (0, 0) => {
            let others = source.catalog.unknown.example.as_ref().map(|key| {
                let (objects, format) = (source.catalog.unknown.objects, engine.config.format.name());
                format!(", and {objects} objects that are not of format {format}, as {key}")
            });
            let others = others.unwrap_or_default();
            format!("no full backup yet: {at}{others}; take one, or check bucket and prefix")
        }
        (0, _) => format!(
            "no full backup yet: {at}, and {unfinished} that are not finished; they are copied once they are, or take another"
        ),
        _ => {
            format!(
                "no full backup yet at the target: {whole} are at the source, the first one is being copied"
            )
        }
    };
    Finding { reason: "NoFullBackup", message }
}

/// The source's warnings, and those of the target that the source does not share: but a base that is
/// being copied is no news, nor is one that is still being written at the source: written to `since`.
fn warnings(found: &mut Vec<Finding>, (source, since): (&[Warning], Timestamp), survey: &Survey) {
    let underway = ["BackupIncomplete", "BackupWithoutData", "BackupWithoutLog", "NoParent"];
    let own = survey.target.warnings.iter();
    let own = own.filter(|warning| !underway.contains(&warning.reason) && !source.contains(warning));
    let own = own.map(|warning| Warning::new(warning.reason, format!("at the target: {}", warning.message)));
    let silent = source.iter().filter(|warning| warning.written.is_none_or(|written| written < since));
    let all: Vec<Warning> = silent.cloned().chain(own).collect();
    let mut reasons: Vec<&'static str> = all.iter().map(|warning| warning.reason).collect();
    reasons.dedup();
    reasons.sort_unstable();
    reasons.dedup();
    for reason in reasons {
        let of_reason = || all.iter().filter(|warning| warning.reason == reason);
        found.extend(of_reason().take(EACH).map(|w| Finding { reason, message: w.message.clone() }));
        rest(found, reason, of_reason().count());
    }
}

fn changed(found: &mut Vec<Finding>, survey: &Survey) {
    for object in survey.changed.iter().take(EACH) {
        let message = format!(
            "{} has another content at the source than when it was copied (tag {}): the copy stays as it is; \
             find out who rewrote it",
            object.key, object.etag.0
        );
        found.push(Finding { reason: "ChangedAtSource", message });
    }
    rest(found, "ChangedAtSource", survey.changed.len());
    // Kept apart already: still worth knowing.
    let apart = survey.target.segments.iter().filter(|segment| segment.object.stored_as.is_some());
    let apart: Vec<&str> = apart.map(|segment| segment.object.location()).collect();
    if let Some(first) = apart.first() {
        let message =
            format!("names were used again at the source: {} logs are kept apart, as {first}", apart.len());
        found.push(Finding { reason: "ChangedAtSource", message });
    }
}

fn damaged(found: &mut Vec<Finding>, survey: &Survey) {
    for key in survey.damaged.iter().take(EACH) {
        let message =
            format!("{key} at the target is not what was copied: it is copied again while the source has it");
        found.push(Finding { reason: "ChangedAtTarget", message });
    }
    rest(found, "ChangedAtTarget", survey.damaged.len());
}

fn foreign(found: &mut Vec<Finding>, engine: &Engine, survey: &Survey) {
    if let Some(example) = &survey.foreign.example {
        let place = &engine.config.target;
        let message = format!(
            "{} objects under s3://{}/{} are not ours and are left alone, as {example}; move them away",
            survey.foreign.objects, place.bucket, place.prefix
        );
        found.push(Finding { reason: "ForeignObjects", message });
    }
}

/// To the nearest minute: another text each cycle would be news each cycle.
fn skewed(side: Side, place: &Place, store: &dyn ObjectStore) -> Option<Finding> {
    let offset = store.clock_offset().filter(|offset| offset.abs() > SKEW)?;
    let direction = if offset.is_negative() { "behind" } else { "ahead of" };
    let message = format!(
        "the clock of the {side:?} store {} is {} min {direction} ours, and stores refuse requests beyond 15 min; set the clocks",
        place.endpoint,
        (offset.abs().as_secs() + 30) / 60
    );
    Some(Finding { reason: "ClockSkew", message })
}

fn rest(found: &mut Vec<Finding>, reason: &'static str, count: usize) {
    if count > EACH {
        found.push(Finding { reason, message: format!("and {} more of this kind", count - EACH) });
    }
}
