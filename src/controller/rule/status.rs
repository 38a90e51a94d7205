//! The status of an accepted rule: from its worker's report, its Jobs, its regions.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;

use super::{feed, incomplete::incomplete, migration::by_ranges, observe::Observed};
use crate::{
    api::{
        AcceptedPair, BucketReplicationRule, BucketReplicationRuleStatus, Comparison, Migrated, Migration,
        MigrationRanges, RELEASE_DELETES, ReplicationCounts, RulePhase, Served, Share,
        condition::{DELETION_HELD, IN_SYNC, MIGRATED, Verdict},
    },
    controller::{
        Timing,
        context::uid_of,
        names,
        status::{Said, conditions},
        work::{
            findings,
            health::{Blocked, Eye, Health, Wanted},
            request::honoured,
            standing::about,
            trouble::{failure, named},
        },
    },
    task::Indexes,
};

/// What a status is made from.
pub struct View<'a> {
    rule: &'a BucketReplicationRule,
    observed: &'a Observed,
    pair: AcceptedPair,
    /// The status as it was, as far as it is about these buckets.
    old: BucketReplicationRuleStatus,
    /// The last comparison of these buckets.
    known: Option<&'a Comparison>,
    eye: Eye<'a>,
}

/// A status, and when it would change by itself.
pub struct Told {
    pub status: BucketReplicationRuleStatus,
    pub look: Option<Timestamp>,
    /// Region whose store a worker could not reach.
    pub nudge: Option<String>,
}

impl<'a> View<'a> {
    /// A look at a rule, at a moment.
    #[must_use]
    pub fn new(
        rule: &'a BucketReplicationRule,
        observed: &'a Observed,
        (pair, blocked): (AcceptedPair, Option<&'a Blocked>),
        (timing, now): (&'a Timing, Timestamp),
    ) -> Self {
        let report = rule.observed().filter(|report| names::is_run_of(&uid_of(rule), &report.run_id));
        let known = report.and_then(|report| report.cycle.as_ref()).filter(|cycle| cycle.pair == pair);
        // What was told of other buckets is nothing to these.
        let old = rule.status.clone().filter(|old| old.pair.as_ref().is_none_or(|old| *old == pair));
        let told = rule.observed().and_then(|report| report.failure.as_ref());
        let completed = known.map(|cycle| cycle.completed_at.0);
        let keys = [Some(&rule.spec.source.credentials), Some(&rule.spec.target.credentials)];
        let eye = Eye {
            about: about(rule),
            old: rule.conditions(),
            wanted: observed.wanted(rule.spec.suspend),
            jobs: &observed.jobs,
            words: observed.words.as_ref(),
            failure: failure(told, &observed.jobs, completed)
                .map(|trouble| feed::named(rule, named(&about(rule), keys, trouble))),
            blocked,
            source: observed.source_region.as_ref(),
            target: observed.target_region.as_ref(),
            timing,
            now,
        };
        Self { rule, observed, pair, old: old.unwrap_or_default(), known, eye }
    }

    /// True while another rule goes the other way, and ever after: whoever deletes one of two rules, to write it
    /// anew, does not mean that the other one shall overwrite what was not copied yet.
    #[must_use]
    pub fn is_mutual(&self) -> bool {
        self.old.mutual || self.observed.opposite
    }

    /// True once the run that reports has compared these buckets.
    #[must_use]
    pub fn is_measured(&self) -> bool {
        self.known.is_some()
    }

    /// The status of an accepted rule.
    #[must_use]
    pub fn accepted(&self, accepted: Said) -> Told {
        let Self { rule, observed, pair, old, known, eye } = self;
        let migration = self.migration();
        let migrated = self.is_over(migration.as_ref());
        let begun = self.has_begun(migration.as_ref());
        let (health, look) = eye.health(|serving| self.progress(migrated, begun, serving));
        let current = !matches!(health, Health::Troubled(_)) && eye.wanted == Wanted::Yes;
        let mut said = vec![self.ready(&health), accepted];
        said.extend(eye.kstatus(&health));
        said.extend(eye.reachable(&health, known.is_some()));
        let told =
            self.migrated(migrated, migration.as_ref().and_then(|migration| migration.ranges.as_ref()));
        said.extend([told, self.in_sync(current), self.deletion_held()]);
        said.extend(findings::condition(*rule, self.is_measured()));
        let generation = rule.metadata.generation;
        let incomplete = incomplete(rule.spec.attributes.as_ref(), *known, migration.as_ref());
        let synced = known.and_then(|cycle| cycle.synced_until.clone());
        let status = BucketReplicationRuleStatus {
            observed_generation: generation,
            phase: Some(self.phase(&health, migrated, begun)),
            pair: Some(pair.clone()),
            mutual: self.is_mutual(),
            migration,
            // It never goes back.
            last_sync_time_point: old.last_sync_time_point.clone().max(synced),
            live_time_point: self.live_time_point().filter(|_| current),
            feed: feed::in_use(rule, known.and_then(|cycle| cycle.feed.as_ref()), old.feed.as_ref()),
            counts: known.map(counts).or_else(|| old.counts.clone()),
            comparison: known.and_then(|cycle| cycle.convergence.clone()).or_else(|| old.comparison.clone()),
            skipped: known.map_or_else(|| old.skipped.clone(), |cycle| cycle.skipped.clone()),
            incomplete,
            last_run_request: honoured(*rule, &observed.jobs),
            observed: None,
            conditions: conditions(rule.conditions(), generation, eye.now, said),
        };
        Told { status, look, nudge: eye.nudge(&health) }
    }

    /// By the feed, or by the last comparison, whichever is later.
    fn live_time_point(&self) -> Option<Time> {
        let known = self.known?;
        let progress = self.rule.observed().and_then(|report| report.progress.as_ref());
        let live = progress.and_then(|progress| progress.live.as_ref()?.until.clone());
        Some(known.dealt_with_until.clone()).max(live)
    }

    /// How far it is: what is over stays so, and the percentage never goes back (`C04`).
    fn migration(&self) -> Option<Migration> {
        let old = self.old.migration.clone();
        if old.as_ref().is_some_and(|old| old.completed_at.is_some()) {
            return old;
        }
        if !self.rule.spec.historical_migration.enabled {
            return None;
        }
        let all = |total| Share { total, done: total };
        if let Some(Migrated { at, objects, bytes }) = self.known.and_then(|cycle| cycle.migrated.clone()) {
            let (objects, bytes) = (all(objects), all(bytes));
            return Some(Migration {
                percent: 100,
                objects,
                bytes,
                ranges: None,
                incomplete: old.map(|old| old.incomplete).unwrap_or_default(),
                completed_at: Some(at),
            });
        }
        let progress = self.rule.observed().and_then(|report| report.progress.as_ref());
        let plan = progress.and_then(|progress| progress.plan.as_ref());
        let by_ranges = by_ranges(old.as_ref(), plan, &self.observed.migrations, self.eye.now);
        let Some(told) = progress.and_then(|progress| progress.migration) else { return by_ranges.or(old) };
        // The live worker does it all by itself, or the rest of it.
        let percent = told.objects.percent().min(told.bytes.percent()).min(99);
        Some(Migration {
            percent: percent.max(by_ranges.as_ref().or(old.as_ref()).map_or(0, |earlier| earlier.percent)),
            objects: told.objects,
            bytes: told.bytes,
            incomplete: by_ranges.as_ref().map(|by_ranges| by_ranges.incomplete.clone()).unwrap_or_default(),
            ranges: by_ranges.and_then(|by_ranges| by_ranges.ranges),
            completed_at: None,
        })
    }

    /// Nothing is migrated any more, or nothing was to be.
    fn is_over(&self, migration: Option<&Migration>) -> bool {
        let unwanted = !self.rule.spec.historical_migration.enabled && self.known.is_some();
        unwanted || migration.is_some_and(|migration| migration.completed_at.is_some())
    }

    /// A worker works, or one has told something before it ended.
    fn has_begun(&self, migration: Option<&Migration>) -> bool {
        self.known.is_some()
            || migration.is_some()
            || self.observed.jobs.iter().any(|job| job.ready_pod().is_some())
    }

    fn progress(&self, migrated: bool, begun: bool, serving: bool) -> Health {
        if migrated {
            return Health::Well;
        }
        let about = &self.eye.about;
        let failed = self.known.filter(|cycle| cycle.failed > 0);
        let message = match failed {
            Some(cycle) => format!("{about}: {}", self.failed(cycle)),
            None if serving => format!("{about} copies what its source held before; see status.migration"),
            None if begun => format!(
                "{about} copies what its source held before, and its next worker is being started; see status.migration"
            ),
            None => format!("the first worker of {about} is being started"),
        };
        Health::First("Migrating".to_owned(), message)
    }

    fn phase(&self, health: &Health, migrated: bool, begun: bool) -> RulePhase {
        match health {
            _ if self.eye.wanted == Wanted::No => RulePhase::Suspended,
            Health::Well => RulePhase::Replicating,
            Health::First(..) if begun => RulePhase::Migrating,
            Health::Troubled(trouble) if trouble.permanent => RulePhase::Failed,
            Health::Troubled(_) if migrated || self.known.is_some() => RulePhase::Stale,
            Health::First(..) | Health::Troubled(_) => RulePhase::Pending,
        }
    }

    fn ready(&self, health: &Health) -> Said {
        let suspended = format!(
            "{} is suspended: nothing is replicated, both buckets stay as they are; set spec.suspend: false to go on and catch up",
            self.eye.about
        );
        self.eye.ready(health, suspended, || {
            let message = format!("{} replicates changes as it finds them", self.eye.about);
            ("Replicating".to_owned(), message)
        })
    }

    fn migrated(&self, migrated: bool, ranges: Option<&MigrationRanges>) -> Said {
        let about = &self.eye.about;
        if !self.rule.spec.historical_migration.enabled {
            let left = self.known.map_or(0, |cycle| cycle.left);
            let message = format!(
                "{about}: what the source held before the rule was created is left as it is (spec.historicalMigration.enabled: false): {left} object(s) that the target lacks or has otherwise"
            );
            return (MIGRATED, Verdict::False, "NotWanted".to_owned(), message);
        }
        if migrated {
            let message = format!("{about}: what the source held before is at the target");
            return (MIGRATED, Verdict::True, "Migrated".to_owned(), message);
        }
        let (reason, how) = ranges.map_or(("Migrating", String::new()), |ranges| self.by_ranges(ranges));
        let message = format!(
            "{about}: not all that the source held before is at the target; see status.migration{how}"
        );
        (MIGRATED, Verdict::False, reason.to_owned(), message)
    }

    /// How the pods that copy a large history fare.
    fn by_ranges(&self, ranges: &MigrationRanges) -> (&'static str, String) {
        let count = |text: &str| text.parse::<Indexes>().map_or(0, |all| all.len());
        let of = format!("{} of {} ranges are copied", count(&ranges.done), ranges.plan.ranges);
        if !ranges.failed.is_empty() {
            let why = ranges.failure.as_deref().unwrap_or("see their pods' logs");
            let what = "the comparison that follows deals with what is in them";
            return (
                "RangesFailed",
                format!(": {of}, {} were given up, {what}: {why}", count(&ranges.failed)),
            );
        }
        if let Some(example) = ranges.example.as_ref().filter(|_| ranges.objects_failed > 0) {
            let failed = format!("{} object(s) in them failed and are tried again", ranges.objects_failed);
            return ("ObjectsFailed", format!(": {of}; {failed}, first {example}"));
        }
        if ranges.ended_at.is_some() {
            return ("Comparing", format!(": {of}; a comparison of both buckets proves it"));
        }
        let jobs = self.observed.migrations.iter().rev();
        let trouble = jobs.clone().find(|job| job.is_active() && job.ready_pod().is_none());
        let words = trouble.and_then(|job| job.pods.iter().rev().find_map(|pod| pod.trouble.clone()));
        let words = words.map(|(_, message)| format!("; no pod works: {message}")).unwrap_or_default();
        ("Migrating", format!(": {of}{words}"))
    }

    fn in_sync(&self, current: bool) -> Said {
        let said = |verdict, reason: &str, message: String| (IN_SYNC, verdict, reason.to_owned(), message);
        let Some(cycle) = self.known else {
            return said(
                Verdict::Unknown,
                "NotCompared",
                "no comparison of both buckets has ended yet".to_owned(),
            );
        };
        if !current {
            let message = "the buckets are not compared now; see condition Ready".to_owned();
            return said(Verdict::Unknown, "NotKeptCurrent", message);
        }
        if cycle.failed > 0 {
            return said(Verdict::False, "ObjectsFailed", self.failed(cycle));
        }
        if cycle.held.is_some() {
            let message = "deletes are held; see condition DeletionHeld".to_owned();
            return said(Verdict::False, "DeletesHeld", message);
        }
        let message = "every difference that the last comparison found is settled".to_owned();
        said(Verdict::True, "InSync", message)
    }

    /// How many objects failed, and the first of them.
    fn failed(&self, cycle: &Comparison) -> String {
        let findings = self.rule.observed().map(|report| report.findings.as_slice()).unwrap_or_default();
        let first =
            findings.first().map(|finding| format!(", first {}: {}", finding.reason, finding.message));
        format!(
            "{} object(s) could not be copied or deleted, they are tried again each time{}",
            cycle.failed,
            first.unwrap_or_default()
        )
    }

    /// A release that is no time: it is said where people look for what became of it.
    fn released_in_vain(&self) -> String {
        let value = self.rule.annotations().get(RELEASE_DELETES);
        let odd = value.filter(|value| value.parse::<Timestamp>().is_err());
        odd.map(|value| {
            format!("{RELEASE_DELETES} is {value:?}, which is no RFC 3339 time: it releases nothing; ")
        })
        .unwrap_or_default()
    }

    fn deletion_held(&self) -> Said {
        let Some(held) = self.known.and_then(|cycle| cycle.held.as_ref()) else {
            let message = "no delete is held".to_owned();
            return (DELETION_HELD, Verdict::False, "NothingHeld".to_owned(), message);
        };
        let example = held.example.as_ref().map(|key| format!(", {key:?} among them")).unwrap_or_default();
        let budget = self.rule.spec.delete_budget;
        let message = format!(
            "{}{} objects at the target{example} would be deleted, more than {} and {} % of it in an hour (spec.deleteBudget): none is, everything else goes on. If they are to go: kubectl annotate --overwrite brr {} -n {} {RELEASE_DELETES}=$(date -u +%FT%TZ); else bring them back at the source, or set spec.deletes: Keep",
            self.released_in_vain(),
            held.objects,
            budget.count,
            budget.percent,
            self.rule.name_any(),
            self.rule.namespace().unwrap_or_default()
        );
        (DELETION_HELD, Verdict::True, "OverBudget".to_owned(), message)
    }
}

fn counts(cycle: &Comparison) -> ReplicationCounts {
    ReplicationCounts {
        repaired: cycle.repaired,
        conflicts: cycle.conflicts,
        failed: cycle.failed,
        left: cycle.left,
        held: cycle.held.as_ref().map_or(0, |held| held.objects),
        expired: cycle.expired,
    }
}
