//! The two servers: how they are reached, what they say of themselves, and whether they go together.

pub mod facts;
pub mod preflight;

use std::{fs, time::Duration};

use mongodb::{
    Client,
    bson::{Document, doc},
    error::{Error as ServerError, ErrorKind},
    options::{ClientOptions, Credential, Tls, TlsOptions},
};

use super::{Endpoint, Error, Result, Side, error::failed};

/// A server that doesn't answer is noticed after it.
const SELECTION: Duration = Duration::from_secs(2);
const CONNECT: Duration = Duration::from_secs(2);
/// Longest time for an answer that needs no waiting.
pub const ANSWER: Duration = Duration::from_secs(5);
const HEARTBEAT: Duration = Duration::from_secs(2);

/// Codes of servers.
pub(super) mod code {
    pub const UNAUTHORIZED: i32 = 13;
    pub const NAMESPACE_NOT_FOUND: i32 = 26;
    pub const CURSOR_NOT_FOUND: i32 = 43;
    pub const NAMESPACE_EXISTS: i32 = 48;
    pub const UNKNOWN_COMMAND: i32 = 59;
    /// A server that is in no replica set has been asked about it.
    pub const NO_REPLICATION: i32 = 76;
    pub const NOT_YET_INITIALIZED: i32 = 94;
    pub const CAPPED_POSITION_LOST: i32 = 136;
    pub const PLAN_KILLED: i32 = 175;
    pub const INVALID_RESUME_TOKEN: i32 = 260;
    pub const CHANGE_STREAM_FATAL: i32 = 280;
    pub const HISTORY_LOST: i32 = 286;
    pub const TOO_LARGE: i32 = 10334;
    pub const DUPLICATE_KEY: i32 = 11000;
    pub const UNKNOWN_STAGE: i32 = 40324;
}

/// A client for a server. Nothing is asked yet: a server that isn't there is noticed with the first question.
///
/// # Errors
/// [`Error::Refused`] with `AddressInvalid` or `CredentialsInvalid`: an address, or files, that can't be used.
pub async fn connect(endpoint: &Endpoint, side: Side) -> Result<Client> {
    let options = options(endpoint, side).await?;
    Client::with_options(options).map_err(|error| address(side, &error))
}

/// A client for one member of a replica set, whatever it is: `host:port`, as the set names it.
///
/// # Errors
/// As [`connect`].
pub async fn connect_directly(endpoint: &Endpoint, side: Side, member: &str) -> Result<Client> {
    let mut options = options(endpoint, side).await?;
    options.hosts = vec![member.parse().map_err(|error| address(side, &error))?];
    options.direct_connection = Some(true);
    options.repl_set_name = None;
    options.srv_max_hosts = None;
    Client::with_options(options).map_err(|error| address(side, &error))
}

/// What a client is made with.
async fn options(endpoint: &Endpoint, side: Side) -> Result<ClientOptions> {
    let mut options = ClientOptions::parse(&endpoint.uri).await.map_err(|error| address(side, &error))?;
    options.app_name = Some("farshore".to_owned());
    options.server_selection_timeout = Some(SELECTION);
    options.connect_timeout = Some(CONNECT);
    options.heartbeat_freq = Some(HEARTBEAT);
    let Some(folder) = &endpoint.credentials else { return Ok(options) };
    let read = |name: &str| {
        fs::read_to_string(folder.join(name)).map(|text| text.trim_end_matches(['\r', '\n']).to_owned())
    };
    let needed = |name: &'static str| {
        read(name).map_err(|error| {
            let file = folder.join(name);
            let message = format!(
                "the {}'s credentials: {}: {error}; its Secret needs username and password",
                side.word(),
                file.display()
            );
            Error::Refused { side: Some(side), reason: "CredentialsInvalid", message }
        })
    };
    let mut credential = options.credential.take().unwrap_or_else(|| Credential::builder().build());
    credential.username = Some(needed("username")?);
    credential.password = Some(needed("password")?);
    options.credential = Some(credential);
    let authority = folder.join("ca.crt");
    if authority.exists() {
        let mut tls = match options.tls.take() {
            Some(Tls::Enabled(tls)) => tls,
            _ => TlsOptions::default(),
        };
        tls.ca_file_path = Some(authority);
        options.tls = Some(Tls::Enabled(tls));
    }
    Ok(options)
}

/// An address that isn't one. The driver's words hold no password, as addresses hold none; should one all the same,
/// it isn't repeated.
fn address(side: Side, error: &ServerError) -> Error {
    let what = match *error.kind {
        ErrorKind::InvalidArgument { ref message, .. } if !message.contains('@') => message.clone(),
        ErrorKind::InvalidTlsConfig { ref message, .. } => message.clone(),
        _ => "it can't be used".to_owned(),
    };
    let message =
        format!("the {}'s address: {what}; give it as mongodb://host:port/?replicaSet=name", side.word());
    Error::Refused { side: Some(side), reason: "AddressInvalid", message }
}

/// Asks a server, and waits no longer than [`ANSWER`].
///
/// # Errors
/// [`Error::Server`]
pub async fn ask(client: &Client, side: Side, (database, command): (&str, Document)) -> Result<Document> {
    let name = command.keys().next().cloned().unwrap_or_default();
    let database = client.database(database);
    within(ANSWER, side, &name, database.run_command(command).into_future()).await
}

/// Waits for an answer, but not for ever.
///
/// # Errors
/// [`Error::Server`], also when the time is over.
pub(super) async fn within<T>(
    limit: Duration,
    side: Side,
    what: &str,
    answer: impl Future<Output = Result<T, ServerError>>,
) -> Result<T> {
    match tokio::time::timeout(limit, answer).await {
        Ok(answer) => answer.map_err(failed(side, what)),
        Err(_) => Err(failed(side, what)(ServerError::custom(format!("no answer within {limit:?}")))),
    }
}

/// What a server calls the error, if it is one that it answered with.
pub(super) fn code_of(error: &Error) -> Option<i32> {
    let Error::Server { source, .. } = error else { return None };
    code_of_answer(source)
}

/// As [`code_of`], of the driver's error.
pub(super) fn code_of_answer(error: &ServerError) -> Option<i32> {
    match *error.kind {
        ErrorKind::Command(ref refused) => Some(refused.code),
        _ => None,
    }
}

/// Makes of a server's "not authorized" a refusal that names the role.
pub(super) fn lacking(error: Error, side: Side, role: &str) -> Error {
    if code_of(&error) != Some(code::UNAUTHORIZED) {
        return error;
    }
    let message =
        format!("the {}'s account lacks a privilege: grant it the role {role} ({error})", side.word());
    Error::Refused { side: Some(side), reason: "PrivilegeMissing", message }
}

/// `hello`, which any account may ask.
///
/// # Errors
/// [`Error::Server`]
pub(super) async fn hello(client: &Client, side: Side) -> Result<Document> {
    ask(client, side, ("admin", doc! {"hello": 1})).await
}

#[cfg(test)]
mod tests;
