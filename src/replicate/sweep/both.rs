//! What is too much at the target, of two buckets that are both written: it may be new there.

use futures::{StreamExt, stream};
use tokio::sync::mpsc;

use super::{Extras, Result, Sweep, Task, ends_everything, hand_over};
use crate::{
    replicate::{Difference, settle::Extra},
    store::Listed,
};

/// Most objects that one comparison deletes, since their names are kept: the next one goes on.
const MOST: usize = 100_000;

impl Sweep {
    /// Deletes what the source deleted, and nothing else. All of it is counted before the first one goes.
    pub(super) async fn delete_deleted(&self, extras: Vec<Extras>, tasks: &mpsc::Sender<Task>) -> Result<()> {
        let mut deleted = Vec::new();
        for extras in extras {
            self.find_deleted(extras, &mut deleted, tasks).await?;
        }
        let (count, target) = (deleted.len() as u64, self.tally.counts().target);
        if let Some(allowance) = &self.allowance
            && count > 0
            && !allowance.draw(count, Some(target)).await
        {
            self.tally.held(count);
            return Ok(());
        }
        for extra in deleted {
            hand_over(tasks, Task::Delete(extra)).await;
        }
        Ok(())
    }

    async fn find_deleted(
        &self,
        mut extras: Extras,
        deleted: &mut Vec<Listed>,
        tasks: &mpsc::Sender<Task>,
    ) -> Result<()> {
        loop {
            let look = |extra: Listed| async {
                let found = self.settler.extra(&extra).await;
                (extra, found)
            };
            let mut looks = stream::iter(extras.first).map(look).buffer_unordered(self.effort.objects.max(1));
            while let Some((extra, found)) = looks.next().await {
                match found {
                    Ok(Extra::Deleted) => deleted.push(extra),
                    Ok(Extra::Back(source)) => {
                        let difference = Difference::Unlike { source, target: extra };
                        hand_over(tasks, Task::Copy(difference)).await;
                    }
                    Ok(Extra::Theirs) => self.tally.theirs(1),
                    Err(error) if ends_everything(&error) => return Err(error),
                    Err(error) => self.tally.settled(&extra.key, Err(error)),
                }
            }
            drop(looks);
            let Some(rest) = extras.rest.filter(|_| deleted.len() < MOST) else { return Ok(()) };
            extras = self.further(rest).await?;
        }
    }
}
