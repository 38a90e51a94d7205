//! Why a request to a store failed, as types that say whose turn it is.

use std::time::Duration;

/// Result of a request to a store.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Which end of a copy an error belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    Source,
    Target,
}

/// What the store answered, for messages: never a credential, never a body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Context {
    pub endpoint: String,
    pub bucket: String,
    /// `None` for requests on the bucket.
    pub key: Option<String>,
    /// The store's own id of the request, for its operator.
    pub request_id: Option<String>,
    /// The store's error code (`AccessDenied`), when it gave one.
    pub code: Option<String>,
    /// Requests made, retries included.
    pub attempts: u32,
    pub elapsed: Duration,
}

impl std::fmt::Display for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "s3://{}", self.bucket)?;
        if let Some(key) = &self.key {
            write!(f, "/{key}")?;
        }
        write!(f, " at {}", self.endpoint)?;
        if let Some(code) = &self.code {
            write!(f, ", {code}")?;
        }
        if let Some(id) = &self.request_id {
            write!(f, ", request id {id}")?;
        }
        if self.attempts > 1 {
            write!(f, ", {} attempts in {:.1?}", self.attempts, self.elapsed)?;
        }
        Ok(())
    }
}

/// A request to a store that failed for good (retries are over).
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The object, version or upload is not there.
    #[error("not found: {0}")]
    NotFound(Context),
    /// The bucket is not there.
    #[error("bucket does not exist: {0}")]
    NoSuchBucket(Context),
    /// The credentials are known but may not do this.
    #[error("access denied: {0}")]
    AccessDenied(Context),
    /// The access key is unknown, the secret is wrong, or the token is expired.
    #[error("credentials refused: {0}")]
    BadCredentials(Context),
    /// Our clock and the store's differ too much for signed requests.
    #[error("clock differs too much from the store's: {0}")]
    ClockSkew(Context),
    /// `If-Match` or `If-None-Match` did not hold: somebody else wrote.
    #[error("changed meanwhile: {0}")]
    Changed(Context),
    /// The store asks for fewer requests, and still did after all retries.
    #[error("store asks to slow down: {0}")]
    SlowDown(Context),
    /// The store is full or over quota.
    #[error("store is full: {0}")]
    Full(Context),
    /// The object is locked or the bucket is read-only.
    #[error("object is locked: {0}")]
    Locked(Context),
    /// This store cannot do that.
    #[error("{what} is not supported: {context}")]
    Unsupported { what: &'static str, context: Context },
    /// The store could not be reached, or answered 5xx to the end.
    #[error("store is unreachable ({cause}): {context}")]
    Unreachable { cause: String, context: Context },
    /// What arrived is not what was announced: length, ETag or checksum.
    #[error("corrupt transfer ({cause}): {context}")]
    Corrupt { cause: String, context: Context },
    /// An answer that no rule of the protocol explains.
    #[error("unexpected answer ({cause}): {context}")]
    Protocol { cause: String, context: Context },
    /// A file of the mounted Secret is missing, unreadable or empty.
    #[error("credentials are incomplete: {key} ({}): {cause}; add it to the Secret", file.display())]
    CredentialsMissing { key: &'static str, file: std::path::PathBuf, cause: String },
    /// The request could not be built: bad endpoint, bad certificate bundle, bad name.
    #[error("invalid store configuration: {0}")]
    Config(String),
}

impl Error {
    /// The one word used in conditions, Events and metrics alike.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NotFound(_) => "ObjectNotFound",
            Self::NoSuchBucket(_) => "BucketNotFound",
            Self::AccessDenied(_) => "AccessDenied",
            Self::BadCredentials(_) => "CredentialsRefused",
            Self::ClockSkew(_) => "ClockSkew",
            Self::Changed(_) => "ChangedMeanwhile",
            Self::SlowDown(_) => "SlowDown",
            Self::Full(_) => "StoreFull",
            Self::Locked(_) => "ObjectLocked",
            Self::Unsupported { .. } => "Unsupported",
            Self::Unreachable { .. } => "StoreUnreachable",
            Self::Corrupt { .. } => "CorruptTransfer",
            Self::Protocol { .. } => "UnexpectedAnswer",
            Self::CredentialsMissing { .. } => "CredentialsMissing",
            Self::Config(_) => "InvalidConfiguration",
        }
    }

    /// True where only a person can help: a retry with the same input gives the same answer.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        matches!(
            self,
            Self::NoSuchBucket(_)
                | Self::AccessDenied(_)
                | Self::BadCredentials(_)
                | Self::ClockSkew(_)
                | Self::Full(_)
                | Self::Locked(_)
                | Self::Unsupported { .. }
                | Self::CredentialsMissing { .. }
                | Self::Config(_)
        )
    }

    /// What a person can do about it, where that is known.
    #[must_use]
    pub fn advice(&self) -> Option<&'static str> {
        let advice = match self {
            Self::NoSuchBucket(_) => "create the bucket, or correct its name",
            Self::AccessDenied(_) => {
                "allow these credentials to list and read at a source, and also to write and delete at a target"
            }
            Self::BadCredentials(_) => "correct the access key and the secret key",
            Self::ClockSkew(_) => "set the clock of this machine, or the store's, right",
            Self::SlowDown(_) => "raise the store's limits, or lower ours",
            Self::Full(_) => "free space at the store, or raise the bucket's quota",
            Self::Locked(_) => "use a bucket that can be written to",
            Self::Unsupported { .. } => "use a store that can do this",
            Self::Unreachable { .. } => "check the endpoint, and the network between",
            Self::Config(_) => "correct the endpoint, its certificates or the bucket's name",
            Self::NotFound(_)
            | Self::Changed(_)
            | Self::Corrupt { .. }
            | Self::Protocol { .. }
            | Self::CredentialsMissing { .. } => return None,
        };
        Some(advice)
    }

    /// What happened, and the next step.
    #[must_use]
    pub fn advised(&self) -> String {
        match self.advice() {
            Some(advice) => format!("{self}; {advice}"),
            None => self.to_string(),
        }
    }

    /// True where credentials read anew might help.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        matches!(self, Self::AccessDenied(_) | Self::BadCredentials(_))
    }
}
