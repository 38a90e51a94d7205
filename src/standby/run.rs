//! One run: holds the target, and does what is next until the shift is over.

mod first;
mod guard;
mod pump;
mod takeover;
mod voice;
mod writer;

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use mongodb::{Client, bson::oid::ObjectId};
use tokio::sync::{Mutex, watch};
use tokio_util::sync::CancellationToken;

use self::{first::Seeded, pump::Pump, voice::Voice, writer::Writer};
use super::{
    Activate, Error, Result, Servers, Session, Side, Strings,
    apply::{Applier, FromMaster},
    feed::Kind,
    lease::RENEW_EACH,
    servers::{
        self,
        facts::{self, Facts},
        preflight::{preflight, same_master},
    },
    state::{self, Claimed, Phase, State},
};

/// Pause before a server that doesn't answer is asked again.
const PAUSE: Duration = Duration::from_secs(1);

/// Follows the master until the shift is over, or the target has taken over.
///
/// # Errors
/// See [`Error`].
pub async fn run(session: Session, strings: Strings) -> Result<()> {
    let Strings { activate, hand_over, updates } = strings;
    let voice = Arc::new(Voice::new(updates));
    let target = servers::connect(&session.target, Side::Target).await?;
    let claimed = tokio::select! {
        claimed = claim(&target, &session, &voice) => claimed?,
        () = hand_over.cancelled() => return Ok(()),
    };
    match claimed {
        Claimed::Sealed(record) => {
            voice.follow(&record);
            voice.stands().await;
            Ok(())
        }
        Claimed::Held { state, anew } => {
            let ending = hand_over.child_token();
            let run = Run {
                session,
                state: Arc::clone(&state),
                voice,
                target,
                activate,
                ending: ending.clone(),
                fencing: Mutex::new(()),
            };
            let ended = tokio::select! {
                ended = run.work(anew) => ended,
                error = keep(&state, &ending) => Err(error),
            };
            settled(&state, ended).await
        }
    }
}

/// A server that doesn't answer is asked again.
async fn claim(target: &Client, session: &Session, voice: &Voice) -> Result<Claimed> {
    loop {
        match state::claim(target, session).await {
            Err(error @ Error::Server { .. }) if !error.is_denied() => voice.failed(&error).await,
            claimed => return claimed,
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Keeps the lease. A successor ends the run at a safe point.
async fn keep(state: &State, ending: &CancellationToken) -> Error {
    loop {
        if let Err(error) = state.keep().await {
            return error;
        }
        ending.cancel();
        tokio::time::sleep(RENEW_EACH).await;
    }
}

/// Lets go of the target, unless something may still be on its way there: then the lease runs out.
async fn settled(state: &State, ended: Result<()>) -> Result<()> {
    let is_quiet = match &ended {
        Ok(()) => true,
        Err(error) => error.side() == Some(Side::Master),
    };
    if is_quiet && let Err(error) = state.let_go().await {
        tracing::info!(%error, "the target is let go when its lease runs out");
    }
    ended
}

/// A target that is held, and what is done with it.
struct Run {
    session: Session,
    state: Arc<State>,
    voice: Arc<Voice>,
    target: Client,
    activate: watch::Receiver<Option<Activate>>,
    ending: CancellationToken,
    /// Held while the fence is raised or lowered.
    fencing: Mutex<()>,
}

/// What comes after following.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    Ending,
    Wished,
}

/// A master that answers.
struct Master {
    client: Client,
    facts: Facts,
}

impl Run {
    async fn work(&self, anew: bool) -> Result<()> {
        if anew {
            // What was there is no copy any more.
            self.voice.stands().await;
            self.state.empty().await?;
        }
        let master = servers::connect(&self.session.master, Side::Master).await?;
        let applier = Applier::open(Arc::clone(&self.state), Some(Arc::new(FromMaster(master)))).await?;
        let mut writer = Writer::new(Arc::clone(&self.state), applier, Arc::clone(&self.voice));
        writer.redo().await?;
        self.voice.follow(&self.state.record());
        self.raise().await;
        tokio::select! {
            ended = self.go_on(&mut writer) => ended,
            never = self.guard() => never,
        }
    }

    async fn go_on(&self, writer: &mut Writer) -> Result<()> {
        if self.phase() >= Phase::Activating {
            return self.take_over(writer, self.pump().await.ok()).await;
        }
        let mut pump = None;
        let after = match self.follow(writer, &mut pump).await {
            Err(error) if error.is_permanent() && writer.is_sound() && self.phase() >= Phase::Following => {
                // The copy is as good as before, and may still take over.
                writer.flush().await?;
                self.voice.failed(&error).await;
                self.wait().await
            }
            after => after?,
        };
        match after {
            After::Ending => Ok(()),
            After::Wished => self.take_over(writer, pump).await,
        }
    }

    /// Hears the master from where the target is.
    async fn pump(&self) -> Result<Pump> {
        let client = servers::connect(&self.session.master, Side::Master).await?;
        let wire = facts::facts(&client, Side::Master).await?.wire;
        self.hear(client, wire)
    }

    fn hear(&self, master: Client, wire: i32) -> Result<Pump> {
        let from = self.state.record().position;
        let from =
            from.ok_or_else(|| Error::Broken("farshore.state of the target tells no position".to_owned()))?;
        Ok(Pump::start(master, from, Kind::of(wire), Arc::clone(&self.voice)))
    }

    /// Waits for the end, or for the wish.
    async fn wait(&self) -> After {
        tokio::select! {
            () = self.ending.cancelled() => After::Ending,
            () = self.wished() => After::Wished,
        }
    }

    /// Ends once activation is wanted, of a copy that can take over.
    async fn wished(&self) {
        if self.phase() < Phase::Following || self.activate.clone().wait_for(Option::is_some).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Applies what the master does, until the end or the wish. Both wait until nothing is being written.
    async fn follow(&self, writer: &mut Writer, pump: &mut Option<Pump>) -> Result<After> {
        let master = tokio::select! {
            master = self.master() => master?,
            after = self.wait() => return Ok(after),
        };
        if self.phase() <= Phase::Seeding && self.seed(&master, writer).await? == Seeded::Stopped {
            return Ok(After::Ending);
        }
        let pump = pump.insert(self.hear(master.client.clone(), master.facts.wire)?);
        let looking = self.look(&master.client);
        tokio::select! {
            ended = self.apply(pump, writer) => ended,
            never = looking => never,
        }
    }

    async fn apply(&self, pump: &mut Pump, writer: &mut Writer) -> Result<After> {
        loop {
            if writer.is_done() {
                tokio::select! {
                    ration = pump.next() => writer.take(ration?),
                    after = self.wait() => return Ok(after),
                }
            }
            while !writer.is_full()
                && let Some(ration) = pump.heard()?
            {
                writer.take(ration);
            }
            if self.ending.is_cancelled() {
                writer.flush().await?;
                return Ok(After::Ending);
            }
            // A master that writes all the time leaves the writer never without work.
            if self.phase() >= Phase::Following && self.activate.borrow().is_some() {
                return Ok(After::Wished);
            }
            writer.step().await?;
            writer.rest().await?;
            self.settle(writer).await?;
        }
    }

    /// Once everything is there that changed while the first copy was made, it is consistent.
    async fn settle(&self, writer: &mut Writer) -> Result<()> {
        let record = self.state.record();
        let is_due = record.phase == Phase::CatchingUp
            && record.position.as_ref().map(|position| position.place) >= record.consistent_at;
        if !is_due || !writer.is_done() {
            return Ok(());
        }
        writer.applier().finish().await?;
        self.state.follow(Timestamp::now()).await?;
        tracing::info!("the copy is consistent, and follows");
        self.voice.follow(&self.state.record());
        self.voice.stands().await;
        Ok(())
    }

    fn phase(&self) -> Phase {
        self.state.record().phase
    }

    /// Asks the master about itself until it answers.
    async fn master(&self) -> Result<Master> {
        let client = servers::connect(&self.session.master, Side::Master).await?;
        loop {
            match self.compared(&client).await {
                Ok(facts) => return Ok(Master { client, facts }),
                Err(error @ Error::Server { .. }) if !error.is_denied() => self.voice.failed(&error).await,
                Err(error) => return Err(error),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Whether master and target go together.
    async fn compared(&self, client: &Client) -> Result<Facts> {
        let (master, target) =
            tokio::join!(facts::facts(client, Side::Master), facts::facts(&self.target, Side::Target));
        let (master, target) = (master?, target?);
        let findings = preflight(&master, &target).accept()?;
        let record = self.state.record();
        let recorded =
            record.start.as_ref().and_then(|start| start.replica_set_id.as_deref()?.parse::<ObjectId>().ok());
        same_master((recorded, record.position.as_ref().map(|position| position.place)), &master)?;
        self.voice.change(|standing| {
            standing.servers =
                Servers { master: master.server(), target: target.server(), members: target.members.clone() };
            standing.oplog_window = master.oplog.as_ref().map(facts::Window::length);
            standing.findings = findings;
        });
        self.voice.seen(master.majority.map(voice::at));
        Ok(master)
    }
}
