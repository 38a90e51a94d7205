//! Commands to the target, as only the holder of its lease sends them.

use std::{future::IntoFuture, io, time::Duration};

use mongodb::{
    Client,
    bson::{Document, RawDocumentBuf, doc},
    error::Error as ServerError,
};

use super::{
    Error, Result, Side,
    error::failed,
    lease::{COMMAND, Lease},
};

/// Where Farshore keeps its records in a target.
pub const RECORDS: &str = "farshore";
/// For the answer to a command that the server ends in time.
const ANSWER: Duration = Duration::from_secs(1);

/// The target of a run that may write to it.
#[derive(Clone, Debug)]
pub struct Target {
    client: Client,
    lease: Lease,
}

impl Target {
    #[must_use]
    pub fn new(client: Client, lease: Lease) -> Self {
        Self { client, lease }
    }

    /// For reading.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    #[must_use]
    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Sends a command that writes, within the time of a command.
    ///
    /// # Errors
    /// [`Error::Superseded`] without the lease; [`Error::Server`] for a refusal, an answer that doesn't come, or one
    /// that most members don't confirm. Errors of single writes are in the answer.
    pub async fn write(&self, database: &str, mut command: Document, what: &str) -> Result<Document> {
        command.extend(limits());
        let command = RawDocumentBuf::try_from(&command)
            .map_err(|error| Error::Broken(format!("{what}: a command that can't be written: {error}")))?;
        self.send(database, command, what).await
    }

    /// As [`write`](Self::write), for a command that has been made as bytes, with [`limits`] in it.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub async fn send(&self, database: &str, command: RawDocumentBuf, what: &str) -> Result<Document> {
        self.lease.check()?;
        let database = self.client.database(database);
        let sent = within(COMMAND + ANSWER, database.run_raw_command(command)).await;
        confirmed(sent.map_err(failed(Side::Target, what))?, what)
    }

    /// Sends a command that takes as long as it takes, and harms nobody when it is done later: an index is built.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub async fn build(&self, database: &str, command: Document, what: &str) -> Result<Document> {
        self.lease.check()?;
        let sent = self.client.database(database).run_command(command).await;
        confirmed(sent.map_err(failed(Side::Target, what))?, what)
    }
}

/// What each command that writes bears: most members must have it, in the time of a command.
#[must_use]
pub fn limits() -> Document {
    let milliseconds = i64::try_from(COMMAND.as_millis()).unwrap_or(i64::MAX);
    doc! {"writeConcern": {"w": "majority", "wtimeout": milliseconds}, "maxTimeMS": milliseconds}
}

/// Waits for an answer so long at most.
pub(super) async fn within<T>(
    longest: Duration,
    asked: impl IntoFuture<Output = Result<T, ServerError>>,
) -> Result<T, ServerError> {
    let Ok(answer) = tokio::time::timeout(longest, asked.into_future()).await else {
        let message = format!("no answer within {} s", longest.as_secs());
        return Err(io::Error::new(io::ErrorKind::TimedOut, message).into());
    };
    answer
}

fn confirmed(answer: Document, what: &str) -> Result<Document> {
    match answer.get_document("writeConcernError") {
        Ok(error) => {
            let message = format!("not confirmed by most of its members: {error}");
            let source = ServerError::from(io::Error::other(message));
            Err(failed(Side::Target, what)(source))
        }
        Err(_) => Ok(answer),
    }
}
