//! Whether a disaster recovery instance is accepted (`D05`, `D06`, `D07`, `D08`).

use kube::ResourceExt;

use super::{
    objection::{Objection, refused, waiting},
    regions::{regions_of_databases_fit, unknown_region},
    standby_claim::{StandbyClaim, follows, hosts_of},
};
use crate::api::{
    AcceptedMaster, BillingMode, BillingStanding, DatabaseInstance, DisasterRecoveryInstance, Engine, Region,
};

/// Names of a `StatefulSet`'s pods and of a Service end up in labels; the longest that we add is `-members`.
const LONGEST_NAME: usize = 44;

/// What a ruling is made from.
pub struct StandbyFacts<'a> {
    pub standby: &'a DisasterRecoveryInstance,
    pub master: Option<&'a DatabaseInstance>,
    pub master_region: Option<&'a Region>,
    pub region: Option<&'a Region>,
    /// A `DatabaseInstance` of the same name.
    pub namesake: Option<&'a DatabaseInstance>,
    /// Claims of all disaster recovery instances.
    pub others: &'a [StandbyClaim],
}

/// Applies every rule, in the order in which a person would fix what they find.
///
/// # Errors
/// What keeps the instance out.
pub fn judge_standby(facts: &StandbyFacts<'_>) -> Result<AcceptedMaster, Objection> {
    let master = facts.master.ok_or_else(|| unknown_master(facts))?;
    let accepted = fits(facts)?;
    let me = StandbyClaim::new(facts.standby, true);
    if let Some(chain) = follows(master, facts.others).filter(|other| other.uid != me.uid) {
        return Err(refused(
            "MasterIsStandby",
            format!(
                "DatabaseInstance {} is the target of {}, which follows {} itself; create this instance anew with masterRef {}",
                master.name_any(),
                chain.in_words(),
                chain.master,
                chain.master
            ),
        ));
    }
    target_is_free(&me, facts.others)?;
    within_quota(&me, facts)?;
    Ok(accepted)
}

/// True where only the claims of others can keep it out.
#[must_use]
pub fn is_viable(
    standby: &DisasterRecoveryInstance,
    master: Option<&DatabaseInstance>,
    (master_region, region): (Option<&Region>, Option<&Region>),
) -> bool {
    fits(&StandbyFacts { standby, master, master_region, region, namesake: None, others: &[] }).is_ok()
}

/// What doesn't depend on other instances.
fn fits(facts: &StandbyFacts<'_>) -> Result<AcceptedMaster, Objection> {
    let spec = &facts.standby.spec;
    let master = facts.master.ok_or_else(|| unknown_master(facts))?;
    let master_region =
        facts.master_region.ok_or_else(|| unknown_region(&master.spec.region, "of the master"))?;
    let region = facts.region.ok_or_else(|| unknown_region(&spec.region, "of the instance"))?;
    regions_of_databases_fit(master_region, region)?;
    well_named(facts)?;
    same_engine(facts.standby, master)?;
    prepaid(facts.standby, master)?;
    apart(facts.standby, master)
}

/// The master as it is now; `None` when it does not say where it listens.
#[must_use]
pub fn master_of(master: &DatabaseInstance) -> Option<AcceptedMaster> {
    let endpoint = master.spec.endpoint.as_ref()?;
    Some(AcceptedMaster {
        instance_uid: master.uid().unwrap_or_default(),
        region: master.spec.region.clone(),
        version: master.spec.version.clone(),
        uri: endpoint.uri.clone(),
        credentials: endpoint.credentials.clone(),
    })
}

fn unknown_master(facts: &StandbyFacts<'_>) -> Objection {
    let name = &facts.standby.spec.master_ref.name;
    let namespace = facts.standby.namespace().unwrap_or_default();
    let chain = facts.others.iter().find(|other| other.namespace == namespace && other.name == *name);
    if let Some(chain) = chain {
        return waiting(
            "MasterIsStandby",
            format!(
                "{} is a copy itself, which can be followed once it is active; create this instance anew with masterRef {}",
                chain.in_words(),
                chain.master
            ),
        );
    }
    waiting(
        "UnknownMaster",
        format!(
            "there is no DatabaseInstance {name} in namespace {namespace}; create it, or create this instance anew with another masterRef"
        ),
    )
}

/// The names that it will need are free, and short enough.
fn well_named(facts: &StandbyFacts<'_>) -> Result<(), Objection> {
    let name = facts.standby.name_any();
    if facts.namesake.is_some() || name == facts.standby.spec.master_ref.name {
        return Err(refused(
            "NameTaken",
            format!(
                "there is a DatabaseInstance {name} already, and this copy becomes one of its own name when it is activated; create it under another name"
            ),
        ));
    }
    let is_made = facts.standby.spec.target.managed.is_some();
    if is_made && (name.len() > LONGEST_NAME || name.contains('.')) {
        return Err(refused(
            "InvalidName",
            format!(
                "the name {name} must have at most {LONGEST_NAME} characters and no dots, since Services are named after it; create it under another name"
            ),
        ));
    }
    Ok(())
}

/// As the specs have it (`D07`); what the servers say of themselves is the worker's to compare.
fn same_engine(standby: &DisasterRecoveryInstance, master: &DatabaseInstance) -> Result<(), Objection> {
    let (name, engine) = (master.name_any(), master.spec.engine);
    if engine != Engine::MongoDB {
        return Err(refused(
            "UnsupportedEngine",
            format!(
                "DatabaseInstance {name} is of engine {engine:?}, and only MongoDB can be followed; create this instance anew with another masterRef"
            ),
        ));
    }
    if let Some(own) = standby.spec.engine.filter(|own| *own != engine) {
        return Err(refused(
            "EngineDiffers",
            format!(
                "spec.engine is {own:?}, and that of the master {name} is {engine:?}; set spec.engine: {engine:?}, or leave it out"
            ),
        ));
    }
    let (own, its) = (standby.spec.version.as_ref(), master.spec.version.as_ref());
    if let Some((own, its)) = own.zip(its).filter(|(own, its)| own != its) {
        return Err(refused(
            "VersionsDiffer",
            format!(
                "spec.version is {own}, and that of the master {name} is {its}; set spec.version: {its:?}, or leave it out"
            ),
        ));
    }
    Ok(())
}

/// Checked once, at acceptance (`D06`).
fn prepaid(standby: &DisasterRecoveryInstance, master: &DatabaseInstance) -> Result<(), Objection> {
    let name = master.name_any();
    if master.spec.billing.mode != BillingMode::Prepaid {
        return Err(refused(
            "NotPrepaid",
            format!(
                "DatabaseInstance {name} is paid by use, and only masters that are paid in advance can have a copy; set its billing.mode: Prepaid"
            ),
        ));
    }
    if standby.spec.billing.mode != BillingMode::Prepaid {
        return Err(refused(
            "NotPrepaid",
            "a disaster recovery instance is paid in advance; set spec.billing.mode: Prepaid".to_owned(),
        ));
    }
    for (whose, billing) in [
        (format!("DatabaseInstance {name}"), &master.spec.billing),
        ("this instance".to_owned(), &standby.spec.billing),
    ] {
        if billing.standing == BillingStanding::Overdue {
            return Err(waiting(
                "InstanceOverdue",
                format!(
                    "payment for {whose} is overdue; settle it, the instance is accepted once billing.standing is Normal"
                ),
            ));
        }
    }
    Ok(())
}

/// The master says where it listens, and that is not where the copy is to be.
fn apart(standby: &DisasterRecoveryInstance, master: &DatabaseInstance) -> Result<AcceptedMaster, Objection> {
    let name = master.name_any();
    let Some(accepted) = master_of(master) else {
        return Err(waiting(
            "NoEndpoint",
            format!("DatabaseInstance {name} does not say where it listens; set its spec.endpoint.uri"),
        ));
    };
    let namespace = standby.namespace().unwrap_or_default();
    let target = standby.spec.target.existing.as_ref();
    let target = target.map(|target| hosts_of(&target.uri, &namespace)).unwrap_or_default();
    if let Some(host) = target.intersection(&hosts_of(&accepted.uri, &namespace)).next() {
        return Err(refused(
            "TargetIsMaster",
            format!(
                "{host} is a server of the master {name} and of spec.target.existing.uri; name a replica set of its own there"
            ),
        ));
    }
    Ok(accepted)
}

fn target_is_free(me: &StandbyClaim, others: &[StandbyClaim]) -> Result<(), Objection> {
    let rivals = others.iter().filter(|other| other.uid != me.uid && other.viable);
    let first = rivals.filter(|other| other.precedes(me) && !other.hosts.is_disjoint(&me.hosts));
    let Some(first) = first.reduce(|a, b| if b.precedes(a) { b } else { a }) else { return Ok(()) };
    Err(refused(
        "TargetTaken",
        format!(
            "{} keeps its copy on the same servers; name another replica set in spec.target.existing.uri",
            first.in_words()
        ),
    ))
}

/// So many copies a master, as its Region has it (`D05`). One that is active follows nobody, and doesn't count.
fn within_quota(me: &StandbyClaim, facts: &StandbyFacts<'_>) -> Result<(), Objection> {
    let Some(region) = facts.master_region else { return Ok(()) };
    let quota = region.spec.disaster_recovery_quota;
    let ahead = facts.others.iter().filter(|other| {
        let same_master = other.namespace == me.namespace && other.master == me.master;
        other.uid != me.uid && same_master && other.viable && !other.active && other.precedes(me)
    });
    let count = ahead.count();
    if u32::try_from(count).is_ok_and(|count| count < quota) {
        return Ok(());
    }
    Err(refused(
        "QuotaExceeded",
        format!(
            "DatabaseInstance {} has {count} disaster recovery instance(s) already, and Region {} allows {quota} (spec.disasterRecoveryQuota); delete one of them, or ask an administrator to raise it",
            me.master,
            region.name_any()
        ),
    ))
}

#[cfg(test)]
#[path = "standby_tests.rs"]
mod tests;
