//! What is done about a key that a feed has named.

use std::sync::Arc;

use async_trait::async_trait;

use crate::replicate::{
    Looked, Result, Settled, Settler,
    feed::{Change, Kind},
    live::{Deal, Dealt},
    sweep::Allowance,
};

pub(super) struct Dealing {
    pub settler: Settler,
    /// Who allows deletes; `None`: they are not replicated.
    pub deletes: Option<Arc<dyn Allowance>>,
}

#[async_trait]
impl Deal for Dealing {
    async fn deal(&self, change: &Change) -> Result<Dealt> {
        match self.settler.look(&change.key, change.kind == Kind::Attributes).await? {
            Looked::Settled(settled) => Ok(dealt(settled)),
            // A bucket's own lifecycle works on its own bucket only (C10).
            Looked::Gone if change.kind == Kind::Expired => Ok(Dealt::Nothing),
            Looked::Gone => match &self.deletes {
                Some(deletes) if deletes.draw(1, None).await => {
                    self.settler.clear(&change.key, None).await.map(dealt)
                }
                // What is not allowed now, the next comparison holds or deletes.
                Some(_) | None => Ok(Dealt::Nothing),
            },
        }
    }
}

fn dealt(settled: Settled) -> Dealt {
    match settled {
        Settled::Copied(copied) => Dealt::Copied { bytes: copied.size },
        Settled::Deleted => Dealt::Deleted,
        _ => Dealt::Nothing,
    }
}
