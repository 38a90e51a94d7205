//! Why a run ends before its time.

use mongodb::error::ErrorKind;

/// What helps where the feed can't go on: in the words of a resource, and of the command.
pub(super) const NEW_COPY: &str =
    "ask for a new copy with the annotation farshore.dev/resync-requested (farshore follow: --resync)";

/// The server that an error is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Master,
    Target,
}

/// Why a run ends.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A server answers otherwise than it should, or not at all: it is asked again.
    #[error("the {}: {what}: {}", side.word(), words(source))]
    Server {
        side: Side,
        what: String,
        #[source]
        source: Box<mongodb::error::Error>,
    },
    /// Something about a server that only a person can change; reason, and what to do.
    #[error("{message}")]
    Refused { side: Option<Side>, reason: &'static str, message: String },
    /// The master's oplog doesn't reach back to where the target is.
    #[error("{0}")]
    Gap(String),
    /// Another run writes to the target.
    #[error("{0}")]
    Superseded(String),
    /// A change that is not known: nothing is skipped.
    #[error(transparent)]
    Change(#[from] crate::mongo::Error),
    #[error("{0}")]
    Broken(String),
}

/// Result of a step.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Side {
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Master => "master",
            Self::Target => "target",
        }
    }
}

/// What went wrong, in words: all that the driver has to say of it holds the answer byte by byte.
fn words(error: &mongodb::error::Error) -> String {
    error.get_custom::<String>().cloned().unwrap_or_else(|| error.kind.to_string())
}

/// An error of a server, for `map_err`.
pub(super) fn failed(side: Side, what: impl Into<String>) -> impl FnOnce(mongodb::error::Error) -> Error {
    let what = what.into();
    move |source| Error::Server { side, what, source: Box::new(source) }
}

impl Error {
    /// One word, the same in conditions, Events and metrics.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Server { side: Side::Master, .. } => "MasterUnreachable",
            Self::Server { side: Side::Target, .. } => "TargetUnreachable",
            Self::Refused { reason, .. } => reason,
            Self::Gap(_) => "OplogGap",
            Self::Superseded(_) => "Superseded",
            Self::Change(_) => "UnknownChange",
            Self::Broken(_) => "WorkerBroken",
        }
    }

    /// Only a person can help.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        matches!(self, Self::Refused { .. } | Self::Gap(_) | Self::Change(_))
    }

    /// A server does not take our account: with other credentials it may.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        let Self::Server { source, .. } = self else { return false };
        matches!(*source.kind, ErrorKind::Authentication { .. })
    }

    /// The server that is to blame.
    #[must_use]
    pub fn side(&self) -> Option<Side> {
        match self {
            Self::Server { side, .. } => Some(*side),
            Self::Refused { side, .. } => *side,
            Self::Gap(_) => Some(Side::Master),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d09_a_server_that_fails_is_told_of_in_words() {
        let silence = mongodb::error::Error::custom("no answer within 5s".to_owned());
        let told = failed(Side::Master, "hello")(silence).to_string();
        assert_eq!(told, "the master: hello: no answer within 5s");
        let refused = mongodb::error::Error::from(std::io::Error::other("connection refused"));
        let told = failed(Side::Target, "hello")(refused).to_string();
        assert_eq!(told, "the target: hello: I/O error: connection refused");
    }
}
