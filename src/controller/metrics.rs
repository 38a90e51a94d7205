//! Metrics: reconciles as they happen; everything about a resource is computed from the caches when it
//! is asked for, so it survives a restart and goes with the resource.

use std::{fmt, sync::Arc, time::Duration};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{ResourceExt, runtime::reflector::Store};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric},
    metrics::{MetricType, counter::Counter, family::Family, gauge::ConstGauge, histogram::Histogram},
    registry::Registry,
};

use crate::api::{
    BackupSyncService, BackupSyncServiceStatus, BucketReplicationRule, BucketReplicationRuleStatus,
    DisasterRecoveryInstance, DisasterRecoveryInstanceStatus, RecoveryDrill, Region, Served, StandbyCounts,
};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    kind: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: String,
}

/// Counts and durations of reconciles.
#[derive(Clone)]
pub struct Reconciles {
    total: Family<Outcome, Counter>,
    seconds: Family<Kind, Histogram, fn() -> Histogram>,
}

fn durations() -> Histogram {
    Histogram::new([0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0])
}

impl Reconciles {
    /// Registers both.
    pub fn register(registry: &mut Registry) -> Self {
        let reconciles = Self {
            total: Family::default(),
            seconds: Family::new_with_constructor(durations as fn() -> Histogram),
        };
        registry.register("farshore_reconcile", "Reconciles by kind and outcome", reconciles.total.clone());
        registry.register(
            "farshore_reconcile_seconds",
            "Duration of reconciles by kind",
            reconciles.seconds.clone(),
        );
        reconciles
    }

    /// One reconcile that ended.
    pub fn observe(&self, kind: &str, outcome: &'static str, took: Duration) {
        self.total.get_or_create(&Outcome { kind: kind.to_owned(), outcome }).inc();
        self.seconds.get_or_create(&Kind { kind: kind.to_owned() }).observe(took.as_secs_f64());
    }
}

type Labels = Vec<(&'static str, String)>;
type Figure<K> = (&'static str, &'static str, fn(&K) -> Option<f64>);

/// What is known of each service, rule and region.
pub struct Resources {
    pub services: Store<BackupSyncService>,
    pub rules: Store<BucketReplicationRule>,
    pub drills: Store<RecoveryDrill>,
    pub standbys: Store<DisasterRecoveryInstance>,
    pub regions: Store<Region>,
}

impl fmt::Debug for Resources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resources").finish_non_exhaustive()
    }
}

fn status(service: &BackupSyncService) -> Option<&BackupSyncServiceStatus> {
    service.status.as_ref()
}

#[expect(clippy::cast_precision_loss, reason = "a gauge is a double; bytes beyond 2^53 are rounded")]
fn double(number: u64) -> f64 {
    number as f64
}

fn pending(service: &BackupSyncService) -> Option<f64> {
    let observed = status(service)?.observed.as_ref()?;
    let moving = observed.progress.as_ref().map(|progress| progress.pending);
    moving.or_else(|| observed.cycle.as_ref().map(|cycle| cycle.pending)).map(|pending| double(pending.bytes))
}

const FIGURES: [Figure<BackupSyncService>; 9] = [
    ("farshore_last_proved_timestamp_seconds", "When a drill last restored an instance from the copy", |s| {
        Some(status(s)?.last_proved.as_ref()?.at.0.as_duration().as_secs_f64())
    }),
    (
        "farshore_latest_data_timestamp_seconds",
        "Newest moment that can be restored from the target alone",
        |s| Some(status(s)?.latest_data_time_point.as_ref()?.0.as_duration().as_secs_f64()),
    ),
    (
        "farshore_covered_timestamp_seconds",
        "Moment up to which the source is known to have written nothing more",
        |s| Some(status(s)?.covered_until.as_ref()?.0.as_duration().as_secs_f64()),
    ),
    ("farshore_rpo_objective_seconds", "How far behind the newest restorable moment may be", |s| {
        Some(s.spec.rpo.get().as_secs_f64())
    }),
    ("farshore_created_timestamp_seconds", "When the service was created", |s| {
        Some(s.metadata.creation_timestamp.as_ref()?.0.as_duration().as_secs_f64())
    }),
    ("farshore_last_sync_timestamp_seconds", "End of the last cycle that succeeded", |s| {
        Some(status(s)?.last_sync_time.as_ref()?.0.as_duration().as_secs_f64())
    }),
    ("farshore_pending_bytes", "Bytes known to be missing at the target", pending),
    ("farshore_stored_bytes", "Bytes stored at the target", |s| {
        Some(double(status(s)?.usage.as_ref()?.stored_bytes))
    }),
    ("farshore_transferred_bytes", "Bytes ever written to the target", |s| {
        Some(double(status(s)?.usage.as_ref()?.transferred_bytes))
    }),
];

fn rule_status(rule: &BucketReplicationRule) -> Option<&BucketReplicationRuleStatus> {
    rule.status.as_ref()
}

const RULE_FIGURES: [Figure<BucketReplicationRule>; 6] = [
    (
        "farshore_replicated_timestamp_seconds",
        "Moment up to which every change of the source bucket is at the target",
        |r| Some(rule_status(r)?.last_sync_time_point.as_ref()?.0.as_duration().as_secs_f64()),
    ),
    ("farshore_migration_percent", "Percentage of what the source held before that is at the target", |r| {
        Some(f64::from(rule_status(r)?.migration.as_ref()?.percent))
    }),
    ("farshore_replicated_bytes", "Bytes sent to the target by the worker that is in service", |r| {
        Some(double(r.observed()?.progress.as_ref()?.transferred_bytes))
    }),
    ("farshore_repaired_objects", "Differences found by comparisons and repaired since the migration", |r| {
        Some(double(rule_status(r)?.counts.as_ref()?.repaired))
    }),
    ("farshore_failed_objects", "Objects that could not be copied or deleted in the last comparison", |r| {
        Some(double(rule_status(r)?.counts.as_ref()?.failed))
    }),
    ("farshore_held_deletes", "Deletes that wait for a person", |r| {
        Some(double(rule_status(r)?.counts.as_ref()?.held))
    }),
];

fn standby_status(standby: &DisasterRecoveryInstance) -> Option<&DisasterRecoveryInstanceStatus> {
    standby.status.as_ref()
}

fn counts(standby: &DisasterRecoveryInstance) -> Option<StandbyCounts> {
    Some(standby.observed()?.cycle.as_ref()?.counts)
}

const STANDBY_FIGURES: [Figure<DisasterRecoveryInstance>; 6] = [
    (
        "farshore_standby_applied_timestamp_seconds",
        "Moment up to which every change of the master is at the copy; gone while nobody can tell",
        |s| Some(standby_status(s)?.last_applied_time?.0.as_duration().as_secs_f64()),
    ),
    (
        "farshore_standby_master_timestamp_seconds",
        "Newest moment of the master, told together with the one before; gone while it does not answer",
        |s| Some(standby_status(s)?.master_time?.0.as_duration().as_secs_f64()),
    ),
    (
        "farshore_standby_oplog_window_seconds",
        "How far back the master's oplog reaches; gone while it does not answer",
        |s| Some(standby_status(s)?.oplog_window.as_ref()?.get().as_secs_f64()),
    ),
    ("farshore_standby_changes", "Changes that were applied since the first copy began", |s| {
        Some(double(counts(s)?.changes))
    }),
    (
        "farshore_standby_repeated_changes",
        "Changes that were applied once more after a worker broke off",
        |s| Some(double(counts(s)?.repeated)),
    ),
    ("farshore_standby_refetched_documents", "Documents that were fetched from the master anew", |s| {
        Some(double(counts(s)?.refetched))
    }),
];

fn figures<K: ResourceExt<DynamicType = ()>>(
    encoder: &mut DescriptorEncoder,
    figures: &[Figure<K>],
    resources: &[Arc<K>],
) -> fmt::Result {
    for (name, help, figure) in figures {
        let samples = resources.iter().filter_map(|r| Some((labels(r.as_ref()), figure(r)?)));
        gauges(encoder, (name, help), samples)?;
    }
    Ok(())
}

fn in_phase<K: Served>(resource: &K, phase: Option<impl fmt::Debug>) -> Option<(Labels, f64)> {
    Some(([labels(resource), vec![("phase", format!("{:?}", phase?))]].concat(), 1.0))
}

fn of_conditions<K: ResourceExt<DynamicType = ()>>(
    resource: &K,
    conditions: &[Condition],
) -> Vec<(Labels, f64)> {
    conditions.iter().map(|condition| (with_condition(labels(resource), condition), 1.0)).collect()
}

impl Collector for Resources {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let (services, rules, regions) = (self.services.state(), self.rules.state(), self.regions.state());
        figures(&mut encoder, &FIGURES, &services)?;
        figures(&mut encoder, &RULE_FIGURES, &rules)?;
        let standbys = self.standbys.state();
        figures(&mut encoder, &STANDBY_FIGURES, &standbys)?;
        let suspended = |on: bool| f64::from(u8::from(on));
        let of_services = services.iter().map(|s| (labels(s.as_ref()), suspended(s.spec.suspend)));
        let of_rules = rules.iter().map(|r| (labels(r.as_ref()), suspended(r.spec.suspend)));
        let about = ("farshore_suspended", "1 while the resource is suspended");
        gauges(&mut encoder, about, of_services.chain(of_rules))?;
        let of_services = services.iter().filter_map(|s| in_phase(s.as_ref(), status(s)?.phase));
        let of_rules = rules.iter().filter_map(|r| in_phase(r.as_ref(), rule_status(r)?.phase));
        let about = ("farshore_resource_phase", "1 for the phase that the resource is in");
        let of_standbys = standbys.iter().filter_map(|s| in_phase(s.as_ref(), standby_status(s)?.phase));
        gauges(&mut encoder, about, of_services.chain(of_rules).chain(of_standbys))?;
        let of_services = services.iter().flat_map(|s| of_conditions(s.as_ref(), s.conditions()));
        let of_rules = rules.iter().flat_map(|r| of_conditions(r.as_ref(), r.conditions()));
        let drills = self.drills.state();
        let of_drills = drills.iter().flat_map(|d| of_conditions(d.as_ref(), d.conditions()));
        let of_standbys = standbys.iter().flat_map(|s| of_conditions(s.as_ref(), s.conditions()));
        let of_drills = of_drills.chain(of_standbys);
        let of_regions = regions.iter().flat_map(|region| {
            let conditions = region.status.as_ref().map(|status| status.conditions.as_slice());
            of_conditions(region.as_ref(), conditions.unwrap_or_default())
        });
        let about = ("farshore_condition", "1 for the status that the condition has");
        gauges(&mut encoder, about, of_services.chain(of_rules).chain(of_drills).chain(of_regions))?;
        let open = regions.iter().map(|region| {
            let outage = region.status.as_ref().and_then(|status| status.outage.as_ref());
            (vec![("region", region.name_any())], if outage.is_some() { 1.0 } else { 0.0 })
        });
        gauges(
            &mut encoder,
            ("farshore_region_breaker_open", "1 while the region's store does not answer"),
            open,
        )
    }
}

fn labels<K: ResourceExt<DynamicType = ()>>(object: &K) -> Labels {
    vec![
        ("kind", K::kind(&()).into_owned()),
        ("namespace", object.namespace().unwrap_or_default()),
        ("name", object.name_any()),
    ]
}

fn with_condition(mut labels: Labels, found: &Condition) -> Labels {
    labels.push(("type", found.type_.clone()));
    labels.push(("status", found.status.clone()));
    labels
}

fn gauges(
    encoder: &mut DescriptorEncoder,
    (name, help): (&str, &str),
    samples: impl Iterator<Item = (Labels, f64)>,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (labels, value) in samples {
        ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}
