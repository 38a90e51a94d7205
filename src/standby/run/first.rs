//! The first copy, as a part of a run.

use mongodb::bson::oid::ObjectId;
use tokio::sync::watch;

use super::{Master, PAUSE, Run, voice, writer::Writer};
use crate::{
    mongo::Namespace,
    standby::{
        Result, SeedProgress, Side,
        error::failed,
        feed::{self, Kind},
        seed::{Copied, Later, Seed},
        servers::facts,
        state::{Phase, Start},
    },
};

/// How far the first copy came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seeded {
    All,
    Stopped,
}

impl Run {
    /// Makes the first copy, or goes on with it.
    pub(super) async fn seed(&self, master: &Master, writer: &mut Writer) -> Result<Seeded> {
        if self.phase() == Phase::Empty {
            let position = feed::here(&master.client, Kind::of(master.facts.wire)).await?;
            let replica_set_id = master.facts.set_id.map(ObjectId::to_hex);
            self.state.begin(&Start { position, replica_set_id }).await?;
        }
        self.voice.follow(&self.state.record());
        // How far the master is by now is not looked at while it is copied.
        self.voice.change(|standing| standing.master = None);
        self.voice.stands().await;
        let (progress, made) = watch::channel(SeedProgress::default());
        let seed = Seed::new(&master.client, self.state.target(), progress, self.ending.clone());
        let copied = tokio::select! {
            copied = seed.copy() => copied?,
            never = self.tell_progress(made) => never,
        };
        let Copied::All(later) = copied else { return Ok(Seeded::Stopped) };
        let unique = later.into_iter().flat_map(|Later { namespace, indexes }| {
            indexes.into_iter().map(move |index| (namespace.clone(), index))
        });
        writer.applier().copied(self.collections().await?, unique.collect()).await?;
        let (newest, _) = facts::majority_of(&master.client, Side::Master).await?;
        self.state.copied(newest).await?;
        self.voice.follow(&self.state.record());
        self.voice.seen(Some(voice::at(newest)));
        self.voice.stands().await;
        Ok(Seeded::All)
    }

    /// What was copied, by name.
    async fn collections(&self) -> Result<Vec<Namespace>> {
        let failed = || failed(Side::Target, "listing its collections");
        let mut all = Vec::new();
        for name in self.target.list_database_names().await.map_err(failed())? {
            if feed::is_copied(&name) {
                let of = self.target.database(&name).list_collection_names().await.map_err(failed())?;
                all.extend(of.iter().map(|collection| Namespace::new(&name, collection)));
            }
        }
        Ok(all)
    }

    async fn tell_progress(&self, mut made: watch::Receiver<SeedProgress>) -> ! {
        loop {
            let progress = made.borrow_and_update().clone();
            self.voice.moved(true, Some(progress)).await;
            tokio::time::sleep(PAUSE).await;
            if made.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}
