//! The roles that plan a restore and carry it out.

mod decryption;
mod pbm;
mod sqlserver;
mod told;

use std::{path::Path, sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::sync::mpsc;

use self::{decryption::Key, told::Update};
use super::{
    Error, Start,
    health::Health,
    run::{self, Lasting, Strings},
    stores,
};
use crate::{
    api::{Addressing, DatabaseInstance, Engine, RecoveryDrill},
    backup::records::{HOLD_LASTS, Hold, hold, release},
    restore::{self, AtStep, Origin, Plan, Reached, Reporter, mongodb::fresh, mysql, postgres, wal::Address},
    store::{ObjectStore, Side},
    task::{RestoreTask, Task, member_host},
};

/// Between two looks at how far a restore is.
const LOOK: Duration = Duration::from_secs(1);
/// Between two renewals of the hold.
const RENEW: Duration = Duration::from_mins(30);

/// A copy to restore from.
#[derive(Clone)]
struct Copy {
    store: Arc<dyn ObjectStore>,
    prefix: String,
    /// Of the hold: the resource's UID.
    id: String,
    owner: String,
    /// The field that names the key of encrypted backups, for messages.
    key: String,
}

impl Copy {
    fn open(start: &Start, task: &Task, work: &RestoreTask) -> Result<Self, Error> {
        Ok(Self {
            store: stores::open(&work.target, &start.mounts.target, Side::Target)?,
            prefix: work.target.prefix.clone(),
            id: task.owner.uid.clone(),
            owner: format!("{} {}/{}", task.owner.kind, task.owner.namespace, task.owner.name),
            key: decryption::place(task, work),
        })
    }

    async fn hold(&self, time_point: Timestamp) -> Result<(), Error> {
        let expires_at = Timestamp::now() + HOLD_LASTS;
        let held = Hold { time_point, expires_at, owner: self.owner.clone() };
        Ok(hold(&*self.store, &self.prefix, &self.id, &held).await?)
    }

    /// What can't be released ends by itself.
    async fn release(&self) {
        if let Err(error) = release(&*self.store, &self.prefix, &self.id).await {
            tracing::warn!(%error, "the hold on the copy ends by itself");
        }
    }

    /// The plan, for what can be opened.
    async fn look(&self, work: &RestoreTask) -> restore::Result<Plan> {
        let (_, plan) = restore::look_at_copy(&self.store, &self.prefix, work.time_point).await?;
        decryption::check((&*self.store, &self.prefix), (work, &self.key), &plan).await?;
        Ok(plan)
    }

    /// The plan, with what it reads held from pruning.
    async fn plan(&self, work: &RestoreTask) -> Result<Plan, Error> {
        if let (true, Some(moment)) = (work.hold, work.time_point) {
            // Before the look: what is seen then stays.
            self.hold(moment).await?;
        }
        let plan = match self.look(work).await {
            Ok(plan) => plan,
            Err(error) => {
                self.release().await;
                return Err(error.into());
            }
        };
        if work.hold && work.time_point.is_none() {
            self.hold(plan.time_point).await?;
        }
        Ok(plan)
    }
}

/// Works out what a restore reads, and reports it. A moment that can't be restored is an answer, too.
///
/// # Errors
/// See [`Error`]; the last report says the same.
pub async fn plan(start: &Start, task: &Task, work: &RestoreTask) -> Result<(), Error> {
    let engine = |strings: Strings<Update>| {
        let copy = Copy::open(start, task, work)?;
        let work = work.clone();
        Ok(async move {
            let update = match copy.plan(&work).await {
                Ok(plan) => Update::Planned(Box::new(plan)),
                Err(Error::Restore(restore::Error::Refused(refusal))) => Update::Refused(refusal),
                Err(error) => return Err(error),
            };
            tell(&strings.updates, update).await;
            Ok(())
        })
    };
    let run = (Health::always(), Lasting::Cycle);
    Box::pin(run::serve::<DatabaseInstance, _, _>(start, (&task.owner, None), run, engine)).await
}

/// Restores an instance into the volume, and reports.
///
/// # Errors
/// See [`Error`]; the last report says the same.
pub async fn restore(start: &Start, task: &Task, work: &RestoreTask) -> Result<(), Error> {
    let engine = |strings: Strings<Update>| {
        let copy = Copy::open(start, task, work)?;
        let settings = settings(start, task, work)?;
        let (work, attempt) = (work.clone(), start.task_hash.clone());
        let volume = start.mounts.volume.clone();
        Ok(async move {
            let reached = if let Some(reached) = restore::finished(&volume, &attempt)? {
                reached
            } else {
                let reached = carry_out(&copy, &work, &settings, &strings.updates).await?;
                restore::note_finished(&volume, &attempt, &reached)?;
                reached
            };
            // Only now: a pod that follows one that failed needs what it held.
            copy.release().await;
            tell(&strings.updates, Update::Reached(Box::new(reached))).await;
            Ok(())
        })
    };
    let run = (Health::always(), Lasting::Cycle);
    // A drill's throw-away instance is restored the same way, and reported to the drill.
    if task.owner.kind == "RecoveryDrill" {
        return Box::pin(run::serve::<RecoveryDrill, _, _>(start, (&task.owner, None), run, engine)).await;
    }
    Box::pin(run::serve::<DatabaseInstance, _, _>(start, (&task.owner, None), run, engine)).await
}

async fn carry_out(
    copy: &Copy,
    work: &RestoreTask,
    settings: &Engines,
    updates: &mpsc::Sender<Update>,
) -> Result<Reached, Error> {
    let mut plan = copy.plan(work).await?;
    restore::locate(&copy.store, &copy.prefix, &mut plan).await?;
    let reporter = Reporter::new(plan.bytes);
    let origin =
        Origin { store: Arc::clone(&copy.store), prefix: copy.prefix.clone(), reporter: reporter.clone() };
    let restoring = restore_by_engine(work.engine, &plan, &origin, settings);
    tokio::pin!(restoring);
    let (mut look, mut renew) = (tokio::time::interval(LOOK), tokio::time::interval(RENEW));
    loop {
        tokio::select! {
            done = &mut restoring => return Ok(done?),
            _ = look.tick() => tell(updates, Update::Moved(reporter.progress())).await,
            _ = renew.tick() => {
                if let Err(error) = copy.hold(plan.time_point).await {
                    tracing::warn!(%error, "the hold on the copy is renewed later");
                }
            }
        }
    }
}

async fn restore_by_engine(
    engine: Engine,
    plan: &Plan,
    origin: &Origin,
    settings: &Engines,
) -> Result<Reached, AtStep> {
    if let Some(course) = &settings.pbm {
        return restore::pbm::restore(plan, origin, course).await;
    }
    match engine {
        Engine::MySQL => mysql::restore(plan, origin, &settings.mysql).await,
        Engine::PostgreSQL => postgres::restore(plan, origin, &settings.postgres).await,
        Engine::SQLServer => restore::sqlserver::restore(plan, origin, &settings.sqlserver).await,
        Engine::MongoDB => fresh::restore(plan, origin, &for_mongodb(settings)).await,
    }
}

/// What each engine is told.
struct Engines {
    mysql: mysql::Settings,
    postgres: postgres::Settings,
    sqlserver: restore::sqlserver::Settings,
    /// For a cluster that is there already.
    pbm: Option<restore::pbm::Course>,
    /// Under which name the new instance will be found; nobody looks for one of a drill.
    host: Option<String>,
}

fn settings(start: &Start, task: &Task, work: &RestoreTask) -> Result<Engines, Error> {
    let mysql = for_mysql(start, work)?;
    let program = std::env::current_exe()
        .map_err(|error| restore::Error::Broken(format!("where this program lies is unknown: {error}")))?;
    let key = Key::find(task, work, &start.mounts.decryption)?;
    let target = &work.target;
    let postgres = postgres::Settings {
        volume: mysql.volume.clone(),
        work: mysql.work.clone(),
        arguments: mysql.arguments.clone(),
        admin: mysql.admin.clone(),
        checks: mysql.checks.clone(),
        check_tables: mysql.check_tables,
        program,
        address: Address {
            endpoint: target.endpoint.clone(),
            signing_region: target.signing_region.clone(),
            virtual_hosted: target.addressing == Addressing::Virtual,
            ca_bundle: target.ca_bundle.clone(),
            bucket: target.bucket.clone(),
            prefix: target.prefix.clone(),
            credentials: start.mounts.target.clone(),
        },
        passphrase: key.file,
        decryption: key.place,
    };
    let sqlserver = sqlserver::settings(start, work, &mysql);
    let owner = &task.owner;
    let host = (owner.kind == "DatabaseInstance").then(|| member_host(&owner.namespace, &owner.name));
    Ok(Engines { mysql, postgres, sqlserver, pbm: pbm::course(start, work), host })
}

fn for_mongodb(settings: &Engines) -> fresh::Settings {
    let alike = &settings.mysql;
    fresh::Settings {
        volume: alike.volume.clone(),
        work: alike.work.clone(),
        programs: None,
        arguments: alike.arguments.clone(),
        host: settings.host.clone(),
        port: fresh::PORT,
        admin: alike.admin.clone(),
        checks: alike.checks.clone(),
        check_tables: alike.check_tables,
    }
}

fn for_mysql(start: &Start, work: &RestoreTask) -> Result<mysql::Settings, Error> {
    Ok(mysql::Settings {
        programs: None,
        volume: start.mounts.volume.clone(),
        work: start.mounts.work.join("restore"),
        arguments: work.arguments.clone(),
        server_id: work.server_id,
        admin: admin(&start.mounts.admin)?,
        checks: work.checks.clone(),
        check_tables: work.check_tables,
    })
}

/// The account in a mounted Secret; `None` where none is mounted.
fn admin(directory: &Path) -> Result<Option<mysql::Admin>, Error> {
    if !directory.exists() {
        return Ok(None);
    }
    let value = |key: &str| {
        let path = directory.join(key);
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        if text.is_empty() {
            let cause = format!(
                "the Secret of spec.bootstrap.instance.adminSecretRef has no {key}; add it, then ask for another attempt"
            );
            return Err(restore::Error::Unusable(cause));
        }
        Ok(text)
    };
    Ok(Some(mysql::Admin { name: value("username")?, password: value("password")? }))
}

/// Who listens ends with us.
async fn tell(updates: &mpsc::Sender<Update>, update: Update) {
    updates.send(update).await.ok();
}
