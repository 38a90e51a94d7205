//! What the target has too much: which of it is to go, and whether so much may.

use futures::{StreamExt, stream};
use tokio::sync::mpsc;

use super::{Action, Sweep, Task, ends_everything, hand_over};
use crate::{
    replicate::{
        KeyRange, Result,
        merge::{Complete, Step},
    },
    store::{Listed, Side},
};

/// Objects that a range asks about at a time.
const ASKED: usize = 8;

/// What a range has too much, told once it was listed to its end.
pub(super) struct Extras {
    /// The first of them, in order.
    pub(super) first: Vec<Listed>,
    /// Where the others are to be looked for; `None`: there are none.
    pub(super) rest: Option<KeyRange>,
}

impl Extras {
    fn is_empty(&self) -> bool {
        self.first.is_empty() && self.rest.is_none()
    }
}

impl Sweep {
    /// Takes what is too much out of a comparison of `range`, but for what the source's own lifecycle has let go:
    /// that is no delete, and draws on no budget.
    pub(super) async fn extras(
        &self,
        mut range: KeyRange,
        complete: &mut Complete,
    ) -> Result<Option<Extras>> {
        range.after = complete.extras.last().map(|extra| extra.key.clone());
        let rest = (complete.more_extras > 0).then_some(range);
        let extras = stream::iter(std::mem::take(&mut complete.extras));
        let asked = extras.map(async |extra| (self.settler.is_expired(Side::Source, &extra).await, extra));
        let mut asked = asked.buffered(ASKED);
        while let Some((expired, extra)) = asked.next().await {
            match expired {
                Ok(true) => complete.left += 1,
                Err(error) if ends_everything(&error) => return Err(error),
                // After an error it is asked again before it goes, and then it is told what is wrong.
                Ok(false) | Err(_) => complete.extras.push(extra),
            }
        }
        let extras = Extras { first: complete.extras.clone(), rest };
        Ok((self.action == Action::Mirror && !extras.is_empty()).then_some(extras))
    }

    /// All of them are counted before the first one goes: no more go than were counted.
    pub(super) async fn delete_all(&self, extras: Vec<Extras>, tasks: &mpsc::Sender<Task>) -> Result<()> {
        let counts = self.tally.counts();
        // None are told of where they are to stay.
        if extras.is_empty() {
            return Ok(());
        }
        if self.settler.is_mutual() {
            return self.delete_deleted(extras, tasks).await;
        }
        if let Some(allowance) = &self.allowance
            && !allowance.draw(counts.extra, Some(counts.target)).await
        {
            self.tally.held(counts.extra);
            return Ok(());
        }
        let mut left = counts.extra;
        for extras in extras {
            self.delete_extras(extras, &mut left, tasks).await?;
        }
        Ok(())
    }

    async fn delete_extras(
        &self,
        mut extras: Extras,
        left: &mut u64,
        tasks: &mpsc::Sender<Task>,
    ) -> Result<()> {
        loop {
            for extra in extras.first {
                if *left == 0 {
                    return Ok(());
                }
                *left -= 1;
                hand_over(tasks, Task::Delete(extra)).await;
            }
            let Some(rest) = extras.rest else { return Ok(()) };
            extras = self.further(rest).await?;
        }
    }

    /// A range tells of a thousand extras; of the others it tells when it is looked at again from there.
    pub(super) async fn further(&self, mut range: KeyRange) -> Result<Extras> {
        let mut merge = self.merge(&range);
        let complete = loop {
            if let Step::Complete(complete) = merge.next().await? {
                break complete;
            }
        };
        range.after = complete.extras.last().map(|extra| extra.key.clone());
        Ok(Extras { first: complete.extras, rest: (complete.more_extras > 0).then_some(range) })
    }
}
