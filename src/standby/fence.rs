//! Keeps everybody but the copying from writing to the target.
//!
//! Three layers, each of which is looked at again and again, and mended where something has undone it:
//! the server takes no writes of users ([`block`]); their accounts may only read ([`accounts`]); documents do not
//! expire by the target's own clock ([`expiry`]). What is missing is told in words, with the next step.
//!
//! A server that asks nobody for a password can't be fenced: whoever reaches it may undo anything.

mod accounts;
mod block;
mod directory;
mod expiry;
pub mod roles;

use std::sync::Arc;

use mongodb::{Client, bson::doc};

use self::{accounts::Accounts, directory::Account};
use super::{Endpoint, Fence as Standing, Level, Result, Side, servers::ask, state::State, target::Target};

/// The fence around a target.
pub struct Fence {
    state: Arc<State>,
    endpoint: Endpoint,
    /// Whose users there will be.
    master: Option<Client>,
}

/// How a fence was found, and how it is now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Raised {
    pub fence: Standing,
    /// What was not as it had been left, and is again.
    pub mended: Vec<String>,
}

/// What a layer says.
#[derive(Debug, Default)]
struct Layer {
    /// What is missing, in words, with the next step.
    missing: Vec<String>,
    mended: Vec<String>,
    /// Something of it lets users write.
    is_open: bool,
}

impl Layer {
    fn missing(message: impl Into<String>) -> Self {
        Self { missing: vec![message.into()], mended: Vec::new(), is_open: true }
    }
}

impl Fence {
    /// Around the target of `state`, which is at `endpoint`; without a master there are only the target's own accounts.
    #[must_use]
    pub fn new(state: Arc<State>, endpoint: Endpoint, master: Option<Client>) -> Self {
        Self { state, endpoint, master }
    }

    /// Raises it as far as it goes, and mends it. To be repeated each 30 s, and after each new connection.
    ///
    /// # Errors
    /// [`Error::Server`](super::Error::Server) where the target doesn't answer;
    /// [`Error::Superseded`](super::Error::Superseded). What it refuses is told in the answer.
    pub async fn raise(&self) -> Result<Raised> {
        let accounts = self.accounts(Vec::new());
        let was_raised = accounts.was_raised().await?;
        let mut raised = self.raise_all().await?;
        if !was_raised {
            // There was nothing to be undone.
            raised.mended.clear();
            accounts.remember().await?;
        }
        Ok(raised)
    }

    async fn raise_all(&self) -> Result<Raised> {
        let expiry = expiry::set(self.target(), &self.endpoint, false).await?;
        let Some(own) = self.own().await? else {
            let open = "the target asks nobody for a password, so everybody may write to it: start its members with --auth (or --keyFile), and give Farshore an account";
            let missing = [vec![open.to_owned()], expiry.missing].concat();
            return Ok(Raised { fence: Standing { level: Level::None, missing }, mended: expiry.mended });
        };
        let accounts = self.accounts(own).reduce().await?;
        let block = block::raise(self.target()).await?;
        let level = match (accounts.is_open, block.is_open) {
            (false, false) => Level::WriteBlock,
            (false, true) => Level::Roles,
            (true, _) => Level::None,
        };
        let missing = [block.missing, accounts.missing, expiry.missing].concat();
        let mended = [block.mended, accounts.mended, expiry.mended].concat();
        Ok(Raised { fence: Standing { level, missing }, mended })
    }

    /// Lets users in: documents expire again, accounts get back what they had, writes are taken. May be repeated.
    /// Answers with what could not be done and has to be done by hand.
    ///
    /// # Errors
    /// As [`raise`](Self::raise).
    pub async fn lower(&self) -> Result<Vec<String>> {
        let mut left = expiry::set(self.target(), &self.endpoint, true).await?.missing;
        if let Some(own) = self.own().await? {
            left.extend(self.accounts(own).restore().await?.missing);
        }
        left.extend(block::lower(self.target()).await?.missing);
        Ok(left)
    }

    fn target(&self) -> &Target {
        self.state.target()
    }

    fn accounts(&self, own: Vec<Account>) -> Accounts<'_> {
        Accounts { target: self.target(), master: self.master.as_ref(), own }
    }

    /// Who we are logged in as. `None`: as nobody.
    async fn own(&self) -> Result<Option<Vec<Account>>> {
        let status = doc! {"connectionStatus": 1};
        let status = ask(self.target().client(), Side::Target, ("admin", status)).await?;
        let users =
            status.get_document("authInfo").ok().and_then(|info| info.get_array("authenticatedUsers").ok());
        let own: Vec<Account> =
            users.into_iter().flatten().filter_map(|user| Account::read(user.as_document()?)).collect();
        Ok((!own.is_empty()).then_some(own))
    }
}
