//! What is done about one key.

use jiff::Timestamp;

use super::{Action, Sweep};
use crate::{
    replicate::{Difference, Error, Looks, Result, Settled, settle::Aligned},
    store::{self, Listed},
};

/// Something to do about one key.
pub(super) enum Task {
    Copy(Difference),
    /// Its content is the same on both sides.
    Look(Listed),
    Delete(Listed),
}

impl Sweep {
    pub(super) async fn work(&self, task: Task) -> Result<()> {
        match task {
            Task::Copy(Difference::Missing(source)) => {
                self.note(&source.key, self.settler.bring_missing(&source).await)
            }
            Task::Copy(Difference::Unlike { source, .. }) => match self.settler.bring(&source).await {
                Ok(Settled::Gone) => match self.follow_delete(&source.key).await {
                    Ok(true) => self.note(&source.key, Ok(Settled::Overtaken)),
                    Ok(false) => Ok(()),
                    Err(error) => self.note(&source.key, Err(error)),
                },
                settled => self.note(&source.key, settled),
            },
            Task::Delete(extra) => self.note(&extra.key, self.settler.remove(&extra).await),
            Task::Look(source) => self.look(&source).await,
        }
    }

    async fn look(&self, source: &Listed) -> Result<()> {
        let asked = Timestamp::now();
        let looked = self.align(&source.key).await;
        self.settler.looked_at(source, asked, looked.is_ok());
        match looked {
            Ok(()) => Ok(()),
            Err(error) => self.note(&source.key, Err(error)),
        }
    }

    async fn align(&self, key: &str) -> Result<()> {
        let differences = match self.settler.differences(key).await? {
            Some(differences) if differences.is_empty() => return Ok(()),
            Some(differences) if self.settler.is_undecided(&differences) => {
                // Of some objects only, nobody could say of how many it is true.
                if self.looks == Looks::All {
                    self.settler.note_undecided(key, differences);
                }
                return Ok(());
            }
            Some(differences) => differences,
            // Of another content by now, or gone. What the target holds may be older than what was listed.
            None if self.action == Action::Compare => return Ok(()),
            None => Vec::new(),
        };
        if self.action == Action::Compare {
            self.tally.unlike_in(key, differences);
            return Ok(());
        }
        let aligned = self.settler.align(key).await;
        if matches!(aligned, Ok(Aligned::Theirs)) {
            return Ok(());
        }
        self.tally.unlike_in(key, differences);
        match aligned? {
            Aligned::Done(left_out) => self.tally.aligned(key, &left_out),
            Aligned::Gone if self.follow_delete(key).await? => self.tally.aligned(key, &[]),
            Aligned::Gone | Aligned::Theirs => {}
        }
        Ok(())
    }

    /// The source has deleted an object since it was listed: the target's is older than that. Left there, nobody could
    /// say up to when the target is in line: false where it must be left.
    async fn follow_delete(&self, key: &str) -> Result<bool> {
        if self.action != Action::Mirror {
            return Ok(true);
        }
        let allowed = match &self.allowance {
            Some(allowance) => allowance.draw(1, None).await,
            None => true,
        };
        if allowed {
            self.settler.clear(key, None).await?;
        }
        Ok(allowed)
    }

    fn note(&self, key: &str, settled: Result<Settled>) -> Result<()> {
        match settled {
            Err(error) if ends_everything(&error) => Err(error),
            settled => {
                self.tally.settled(key, settled);
                Ok(())
            }
        }
    }
}

/// True where the next object would meet the same.
pub(super) fn ends_everything(error: &Error) -> bool {
    use store::Error as E;
    matches!(
        error,
        Error::Store {
            source: E::NoSuchBucket(_)
                | E::BadCredentials(_)
                | E::ClockSkew(_)
                | E::Full(_)
                | E::CredentialsMissing { .. }
                | E::Config(_),
            ..
        }
    )
}
