//! Hears the master beside everything else, as far ahead as memory allows.

use std::{sync::Arc, time::Duration};

use mongodb::Client;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::JoinHandle,
};

use super::voice::Voice;
use crate::standby::{
    Error, Result, Side,
    feed::{self, Group, Heard, Kind, Position},
    window::weight,
};

/// KiB of changes that are heard and not applied yet. A transaction that is larger is let through alone.
const AHEAD: u32 = 12 << 10;
/// Pause before a master that doesn't answer is asked again.
const PAUSE: Duration = Duration::from_millis(500);

/// What was heard, and its share of the memory, given back when it is dropped.
pub struct Ration {
    pub heard: Heard,
    pub share: Option<OwnedSemaphorePermit>,
}

/// A feed that is opened again when the master was away.
pub struct Pump {
    rations: mpsc::UnboundedReceiver<Result<Ration>>,
    task: JoinHandle<()>,
}

impl Drop for Pump {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Pump {
    /// Begins to hear what comes after a position.
    pub fn start(master: Client, from: Position, kind: Kind, voice: Arc<Voice>) -> Self {
        let (sender, rations) = mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            let ended = pump(&master, from, kind, (&voice, &sender)).await;
            if let Err(error) = ended {
                // Whoever listened may have gone.
                sender.send(Err(error)).ok();
            }
        });
        Self { rations, task }
    }

    /// What comes next.
    ///
    /// # Errors
    /// What ends a feed for good.
    pub async fn next(&mut self) -> Result<Ration> {
        self.rations.recv().await.unwrap_or_else(|| Err(Error::Broken("nobody hears the master".to_owned())))
    }

    /// What was heard already.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub fn heard(&mut self) -> Result<Option<Ration>> {
        self.rations.try_recv().ok().transpose()
    }
}

type Out<'a> = (&'a Voice, &'a mpsc::UnboundedSender<Result<Ration>>);

/// Ends with an error that no second attempt mends, or when nobody listens.
async fn pump(master: &Client, mut from: Position, kind: Kind, (voice, out): Out<'_>) -> Result<()> {
    let room = Arc::new(Semaphore::new(AHEAD as usize));
    loop {
        voice.set_hears(false);
        let heard = hear(master, &mut from, kind, (voice, out, &room)).await;
        voice.set_hears(false);
        let error = match heard {
            Ok(()) => return Ok(()),
            Err(error @ Error::Server { side: Side::Master, .. }) => error,
            Err(error) => return Err(error),
        };
        tracing::warn!(%error, "the master is asked again");
        voice.seen(None);
        voice.failed(&error).await;
        tokio::time::sleep(PAUSE).await;
    }
}

async fn hear(
    master: &Client,
    from: &mut Position,
    kind: Kind,
    (voice, out, room): (&Voice, &mpsc::UnboundedSender<Result<Ration>>, &Arc<Semaphore>),
) -> Result<()> {
    let mut feed = feed::open(master, from, kind).await?;
    voice.set_hears(true);
    loop {
        let heard = feed.next().await?;
        let (position, share) = match &heard {
            Heard::Group(group) => (&group.position, Some(share(group, room).await)),
            Heard::Idle(position) => (position, None),
        };
        from.clone_from(position);
        if out.send(Ok(Ration { heard, share: share.flatten() })).is_err() {
            return Ok(());
        }
    }
}

/// Waits for room. The semaphore is never closed.
async fn share(group: &Group, room: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    let wanted = u32::try_from(weight(group) >> 10).unwrap_or(AHEAD).clamp(1, AHEAD);
    Arc::clone(room).acquire_many_owned(wanted).await.ok()
}
