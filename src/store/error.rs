//! Why a request to a store failed, as types that say whose turn it is.

use std::{borrow::Cow, time::Duration};

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
        if !self.endpoint.is_empty() {
            write!(f, " at {}", self.endpoint)?;
        }
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

/// What keeps us from a store, as far as that can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// The endpoint's name has no address.
    Name,
    /// Nothing listens at the endpoint's port.
    Refused,
    /// No answer in time, or no way there.
    Silence,
    /// The endpoint's certificate is not one that we trust.
    Certificate,
    /// It answers 5xx, or breaks off.
    Failing,
}

/// A request to a store that failed for good (retries are over).
///
/// Its words are whole: what happened, to which object, and the next step. Conditions, Events and the
/// command line show them as they are.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The object, version or upload is not there.
    #[error("not found: {0}; {step}", step = self.advice())]
    NotFound(Context),
    /// The bucket is not there.
    #[error("bucket does not exist: {0}; {step}", step = self.advice())]
    NoSuchBucket(Context),
    /// The credentials are known but may not do this.
    #[error("access denied: {0}; {step}", step = self.advice())]
    AccessDenied(Context),
    /// The access key is unknown, the secret is wrong, or the token is expired.
    #[error("credentials refused: {0}; {step}", step = self.advice())]
    BadCredentials(Context),
    /// Our clock and the store's differ too much for signed requests.
    #[error("clock differs too much from the store's: {0}; {step}", step = self.advice())]
    ClockSkew(Context),
    /// `If-Match` or `If-None-Match` did not hold: somebody else wrote.
    #[error("changed meanwhile: {0}; {step}", step = self.advice())]
    Changed(Context),
    /// The store asks for fewer requests, and still did after all retries.
    #[error("store asks to slow down: {0}; {step}", step = self.advice())]
    SlowDown(Context),
    /// The store is full or over quota.
    #[error("store is full: {0}; {step}", step = self.advice())]
    Full(Context),
    /// The object is locked or the bucket is read-only.
    #[error("object is locked, or its bucket read-only: {0}; {step}", step = self.advice())]
    Locked(Context),
    /// The object lies in an archive: it must be restored before it can be read.
    #[error("object is archived: {0}; {step}", step = self.advice())]
    Archived(Context),
    /// This store cannot do that.
    #[error("{what} is not supported: {context}; {step}", step = self.advice())]
    Unsupported { what: Cow<'static, str>, context: Context },
    /// The store could not be reached, or answered 5xx to the end.
    #[error("store is unreachable ({cause}): {context}; {step}", step = self.advice())]
    Unreachable { obstacle: Obstacle, cause: String, context: Context },
    /// What arrived is not what was announced: length, ETag or checksum.
    #[error("corrupt transfer ({cause}): {context}; {step}", step = self.advice())]
    Corrupt { cause: String, context: Context },
    /// An answer that no rule of the protocol explains.
    #[error("unexpected answer ({cause}): {context}; {step}", step = self.advice())]
    Protocol { cause: String, context: Context },
    /// A file of the mounted Secret is missing, unreadable or empty.
    #[error("credentials are incomplete: {key} ({}): {cause}; {step}", file.display(), step = self.advice())]
    CredentialsMissing { key: &'static str, file: std::path::PathBuf, cause: String },
    /// The request could not be built: bad endpoint, bad certificate bundle, bad name.
    #[error("invalid store configuration: {0}; {step}", step = self.advice())]
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
            Self::Archived(_) => "ObjectArchived",
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
                | Self::Archived(_)
                | Self::Unsupported { .. }
                | Self::CredentialsMissing { .. }
                | Self::Config(_)
        )
    }

    /// The next step. Where an error may pass by itself, it is for when it stays.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        match self {
            Self::NotFound(_) => "if it stays so, find out who deletes there",
            Self::NoSuchBucket(_) => "create the bucket, or correct its name",
            Self::AccessDenied(_) => {
                "allow these credentials to list and read at a source, and also to write and delete at a target"
            }
            Self::BadCredentials(_) => "correct the access key and the secret key",
            Self::ClockSkew(_) => "set the clock of this machine, or the store's, right",
            Self::Changed(_) => "if it stays so, find out who else writes there",
            Self::SlowDown(_) => "raise the store's limits, or lower ours",
            Self::Full(_) => "free space at the store, or raise the bucket's quota",
            Self::Locked(_) => "lift the lock, or use a bucket that can be written to",
            Self::Archived(_) => "restore the object from the archive",
            Self::Unsupported { .. } => "use a store that can do this",
            Self::Unreachable { obstacle, .. } => obstacle.advice(),
            Self::Corrupt { .. } => "if it stays so, look at what lies between us and the store",
            Self::Protocol { .. } => {
                "if it stays so, check that a store answers there, and not a proxy or a login page"
            }
            Self::CredentialsMissing { .. } => "add it to the Secret",
            Self::Config(_) => "correct the endpoint, its certificates or the bucket's name",
        }
    }

    /// True where credentials read anew might help.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        matches!(self, Self::AccessDenied(_) | Self::BadCredentials(_))
    }
}

impl Obstacle {
    fn advice(self) -> &'static str {
        match self {
            Self::Name => "correct the endpoint's name, or the DNS that is asked here",
            Self::Refused => "check the endpoint's port, and that the store runs",
            Self::Silence => "check that the store runs, and that no firewall or network policy lies between",
            Self::Certificate => {
                "have the authority that signed the endpoint's certificate in the CA bundle, or correct the certificate"
            }
            Self::Failing => "look at the store's own health, and at what lies between",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Context {
        Context {
            endpoint: "https://east".into(),
            bucket: "dr-backups".into(),
            key: Some("orders/log.1".into()),
            request_id: Some("17A".into()),
            code: Some("Code".into()),
            attempts: 6,
            elapsed: Duration::from_secs(12),
        }
    }

    fn unreachable(obstacle: Obstacle) -> Error {
        Error::Unreachable { obstacle, cause: "why".into(), context: place() }
    }

    #[test]
    fn p06_every_error_names_the_object_and_the_request_and_ends_with_the_next_step() {
        for (error, words, step) in [
            (Error::NotFound(place()), "not found", "who deletes there"),
            (Error::NoSuchBucket(place()), "bucket does not exist", "create the bucket"),
            (Error::AccessDenied(place()), "access denied", "write and delete at a target"),
            (Error::BadCredentials(place()), "credentials refused", "the secret key"),
            (Error::ClockSkew(place()), "clock differs", "set the clock"),
            (Error::Changed(place()), "changed meanwhile", "who else writes there"),
            (Error::SlowDown(place()), "slow down", "limits"),
            (Error::Full(place()), "store is full", "free space"),
            (Error::Locked(place()), "locked, or its bucket read-only", "lift the lock"),
            (
                Error::Unsupported { what: "this".into(), context: place() },
                "this is not supported",
                "use a store",
            ),
            (unreachable(Obstacle::Name), "unreachable (why)", "DNS"),
            (unreachable(Obstacle::Refused), "unreachable (why)", "port"),
            (unreachable(Obstacle::Silence), "unreachable (why)", "firewall"),
            (unreachable(Obstacle::Certificate), "unreachable (why)", "CA bundle"),
            (unreachable(Obstacle::Failing), "unreachable (why)", "health"),
            (
                Error::Corrupt { cause: "why".into(), context: place() },
                "corrupt transfer (why)",
                "between us",
            ),
            (Error::Protocol { cause: "why".into(), context: place() }, "unexpected answer (why)", "proxy"),
        ] {
            let told = error.to_string();
            let (what, next) = told.rsplit_once("; ").unwrap();
            assert!(what.contains(words), "{told}");
            let object =
                "s3://dr-backups/orders/log.1 at https://east, Code, request id 17A, 6 attempts in 12.0s";
            assert!(what.ends_with(object), "{told}");
            assert!(next.contains(step) && next == error.advice(), "{told}");
        }
    }

    #[test]
    fn p06_what_fails_before_a_request_has_its_next_step_too() {
        let file = "/secret/AWS_ACCESS_KEY_ID".into();
        let missing =
            Error::CredentialsMissing { key: "AWS_ACCESS_KEY_ID", file, cause: "it is empty".into() };
        for (error, words) in [
            (missing, "AWS_ACCESS_KEY_ID (/secret/AWS_ACCESS_KEY_ID): it is empty; add it to the Secret"),
            (
                Error::Config("endpoint \"x\" is no URL".into()),
                "endpoint \"x\" is no URL; correct the endpoint",
            ),
        ] {
            assert!(error.to_string().contains(words), "{error}");
        }
    }
}
