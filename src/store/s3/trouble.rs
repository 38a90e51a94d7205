//! Reads what went wrong with one attempt: the code first, the status where there is no code.

use std::{error::Error as StdError, fmt::Write, io, time::Duration};

use aws_sdk_s3::{
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
};
use http::{HeaderMap, StatusCode};

use super::wire::Refusal;
use crate::store::{Context, Error, GRANTS, LOCK, Obstacle, TAGS};

/// One failed attempt.
#[derive(Debug)]
pub(super) struct Trouble {
    pub kind: Kind,
    cause: String,
    code: Option<String>,
    request_id: Option<String>,
    /// How long the store asks us to wait.
    pub retry_after: Option<Duration>,
}

/// The shapes of [`Error`], without what they carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    NotFound,
    NoSuchBucket,
    AccessDenied,
    BadCredentials,
    ClockSkew,
    Changed,
    SlowDown,
    Full,
    Locked,
    Archived,
    Unsupported(&'static str),
    Unreachable(Obstacle),
    Corrupt,
    /// A garbled answer.
    Protocol,
    /// An answer that says no, in words we don't know.
    Refused,
    Config,
}

impl Trouble {
    pub(super) fn new(kind: Kind, cause: impl Into<String>) -> Self {
        Self { kind, cause: cause.into(), code: None, request_id: None, retry_after: None }
    }

    pub(super) fn is_code(&self, code: &str) -> bool {
        self.code.as_deref() == Some(code)
    }

    /// True where the same request may well succeed a little later.
    pub(super) fn passes(&self) -> bool {
        matches!(self.kind, Kind::SlowDown | Kind::Unreachable(_) | Kind::Corrupt | Kind::Protocol)
    }

    /// A gateway on the way may refuse a path before any store sees it.
    pub(super) fn blame_name(mut self, key: Option<&str>) -> Self {
        let odd = |segment: &str| matches!(segment, "" | "." | "..") || segment.contains(char::is_control);
        if self.kind == Kind::Refused && key.is_some_and(|key| key.split('/').any(odd)) {
            self.kind = Kind::Unsupported("an object of this name");
        }
        self
    }

    pub(super) fn is_denied(&self) -> bool {
        matches!(self.kind, Kind::AccessDenied | Kind::BadCredentials)
    }

    pub(super) fn into_error(self, context: Context) -> Error {
        let Self { kind, cause, code, request_id, retry_after: _ } = self;
        let context = Context { request_id, code, ..context };
        match kind {
            Kind::NotFound => Error::NotFound(context),
            Kind::NoSuchBucket => Error::NoSuchBucket(context),
            Kind::AccessDenied => Error::AccessDenied(context),
            Kind::BadCredentials => Error::BadCredentials(context),
            Kind::ClockSkew => Error::ClockSkew(context),
            Kind::Changed => Error::Changed(context),
            Kind::SlowDown => Error::SlowDown(context),
            Kind::Full => Error::Full(context),
            Kind::Locked => Error::Locked(context),
            Kind::Archived => Error::Archived(context),
            Kind::Unsupported(what) => Error::Unsupported { what: what.into(), context },
            Kind::Unreachable(obstacle) => Error::Unreachable { obstacle, cause, context },
            Kind::Corrupt => Error::Corrupt { cause, context },
            Kind::Protocol | Kind::Refused => Error::Protocol { cause, context },
            Kind::Config => Error::Config(cause),
        }
    }
}

impl<E> From<SdkError<E, HttpResponse>> for Trouble
where
    E: ProvideErrorMetadata + StdError + 'static,
{
    fn from(error: SdkError<E, HttpResponse>) -> Self {
        let cause = chain(error.source());
        match &error {
            SdkError::ConstructionFailure(_) => Self::new(Kind::Config, cause),
            SdkError::DispatchFailure(failure) if failure.is_user() => Self::new(Kind::Config, cause),
            SdkError::ResponseError(answer) => Self::of_answer(answer.raw(), None, &cause),
            SdkError::ServiceError(refusal) => {
                let (code, said) = (refusal.err().code(), refusal.err().message());
                Self::of_answer(refusal.raw(), code, said.unwrap_or(&cause))
            }
            SdkError::TimeoutError(_) => Self::new(Kind::Unreachable(Obstacle::Silence), cause),
            SdkError::DispatchFailure(failure) if failure.is_timeout() => {
                Self::new(Kind::Unreachable(Obstacle::Silence), cause)
            }
            _ => Self::new(Kind::Unreachable(obstacle(error.source())), cause),
        }
    }
}

impl Trouble {
    fn of_answer(answer: &HttpResponse, code: Option<&str>, cause: &str) -> Self {
        let header = |name| answer.headers().get(name);
        Self::said(answer.status().as_u16(), header, code, cause)
    }

    /// A refusal, from the answer's head and what was understood of its body.
    pub(super) fn of_refusal(status: StatusCode, headers: &HeaderMap, said: &Refusal) -> Self {
        let header = |name| headers.get(name).and_then(|v| v.to_str().ok());
        let cause = said.message.as_deref().or(status.canonical_reason()).unwrap_or_default();
        let trouble = Self::said(status.as_u16(), header, said.code.as_deref(), cause);
        Self { request_id: trouble.request_id.or(said.request_id.clone()), ..trouble }
    }

    fn said<'a>(
        status: u16,
        header: impl Fn(&'static str) -> Option<&'a str>,
        code: Option<&'a str>,
        cause: &str,
    ) -> Self {
        // A HEAD has no body to carry a code; MinIO says it in a header.
        let code = header("x-minio-error-code").or(code);
        let known = kind_of_words(cause).or_else(|| code.and_then(kind_of_code));
        let wait = header("retry-after").and_then(|s| s.parse().ok()).map(Duration::from_secs);
        Self {
            kind: known.unwrap_or_else(|| kind_of_status(status)),
            cause: format!("HTTP {status}: {cause}"),
            code: code.map(str::to_owned),
            request_id: header("x-amz-request-id").map(str::to_owned),
            retry_after: wait,
        }
    }
}

fn kind_of_code(code: &str) -> Option<Kind> {
    Some(match code {
        "NoSuchKey" | "NotFound" | "NoSuchUpload" | "NoSuchVersion" => Kind::NotFound,
        "NoSuchBucket" => Kind::NoSuchBucket,
        "AccessDenied" | "AllAccessDisabled" | "AccountProblem" => Kind::AccessDenied,
        "InvalidAccessKeyId"
        | "SignatureDoesNotMatch"
        | "ExpiredToken"
        | "InvalidToken"
        | "TokenRefreshRequired"
        | "InvalidTokenId"
        | "XMinioInvalidIAMCredentials" => Kind::BadCredentials,
        "RequestTimeTooSkewed" | "RequestExpired" => Kind::ClockSkew,
        "PreconditionFailed" | "ConditionalRequestConflict" => Kind::Changed,
        "SlowDown"
        | "SlowDownRead"
        | "SlowDownWrite"
        | "ServiceUnavailable"
        | "TooManyRequests"
        | "Throttling"
        | "RequestLimitExceeded"
        | "XMinioRequestTimeout" => Kind::SlowDown,
        "XMinioStorageFull"
        | "XMinioAdminBucketQuotaExceeded"
        | "QuotaExceeded"
        | "ServiceQuotaExceeded"
        | "InsufficientStorage" => Kind::Full,
        "ObjectLocked" => Kind::Locked,
        "InvalidObjectState" => Kind::Archived,
        "InvalidTag" | "InvalidTagKey" | "InvalidTagValue" => Kind::Unsupported(TAGS),
        "AccessControlListNotSupported" => Kind::Unsupported(GRANTS),
        "InvalidStorageClass" => Kind::Unsupported("this storage class"),
        "NotImplemented" | "XNotImplemented" | "MethodNotAllowed" => Kind::Unsupported("this request"),
        "InvalidObjectName"
        | "XMinioInvalidObjectName"
        | "KeyTooLongError"
        | "InvalidURI"
        | "XMinioInvalidResourceName"
        | "XMinioObjectExistsAsDirectory"
        | "XMinioParentIsObject"
        | "ExistingObjectIsDirectory"
        | "ObjectParentIsFile" => Kind::Unsupported("an object of this name"),
        "EntityTooSmall" => Kind::Unsupported("a part of this size"),
        "EntityTooLarge" => Kind::Unsupported("an object of this size"),
        "BadDigest" | "InvalidDigest" | "XAmzContentSHA256Mismatch" | "IncompleteBody" | "InvalidPart" => {
            Kind::Corrupt
        }
        "RequestTimeout" | "InternalError" | "XMinioServerNotInitialized" => {
            Kind::Unreachable(Obstacle::Failing)
        }
        _ => return None,
    })
}

/// What has no code of its own is told by the words, which AWS chose and others took over.
fn kind_of_words(said: &str) -> Option<Kind> {
    let says = |words: &[&str]| words.iter().any(|w| said.contains(w));
    if says(&["protected by object lock", "WORM protected"]) {
        Some(Kind::Locked)
    } else if says(&["missing Object Lock Configuration", "missing ObjectLockConfiguration"]) {
        Some(Kind::Unsupported(LOCK))
    } else if says(&["ags cannot be greater than", "ags cannot be more than"]) {
        Some(Kind::Unsupported(TAGS))
    } else {
        None
    }
}

fn kind_of_status(status: u16) -> Kind {
    match status {
        401 => Kind::BadCredentials,
        403 => Kind::AccessDenied,
        404 => Kind::NotFound,
        405 | 501 => Kind::Unsupported("this request"),
        412 => Kind::Changed,
        429 | 503 => Kind::SlowDown,
        507 => Kind::Full,
        408 | 500.. => Kind::Unreachable(Obstacle::Failing),
        400..500 => Kind::Refused,
        _ => Kind::Protocol,
    }
}

/// What a request that got no answer met.
pub(super) fn obstacle(mut next: Option<&(dyn StdError + 'static)>) -> Obstacle {
    while let Some(error) = next {
        if let Some(found) = obstacle_of(error) {
            return found;
        }
        next = error.source();
    }
    Obstacle::Failing
}

fn obstacle_of(error: &(dyn StdError + 'static)) -> Option<Obstacle> {
    if let Some(rustls::Error::InvalidCertificate(_)) = error.downcast_ref() {
        return Some(Obstacle::Certificate);
    }
    // The connector's own type can't be named.
    if error.to_string() == "dns error" {
        return Some(Obstacle::Name);
    }
    let error = error.downcast_ref::<io::Error>()?;
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Some(Obstacle::Refused),
        io::ErrorKind::TimedOut | io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            Some(Obstacle::Silence)
        }
        // What it wraps is not among its sources.
        _ => obstacle_of(error.get_ref()?),
    }
}

/// Causes from the outside in, each said once.
pub(super) fn chain(error: Option<&(dyn StdError + 'static)>) -> String {
    let mut text = String::new();
    let mut next = error;
    while let Some(error) = next {
        let words = error.to_string();
        if !text.contains(&words) {
            let gap = if text.is_empty() { "" } else { ": " };
            // Writing to a String can't fail.
            write!(text, "{gap}{words}").ok();
        }
        next = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_beat_the_status() {
        assert_eq!(kind_of_code("ExpiredToken"), Some(Kind::BadCredentials));
        assert_eq!(kind_of_code("RequestTimeTooSkewed"), Some(Kind::ClockSkew));
        assert_eq!(kind_of_code("XMinioStorageFull"), Some(Kind::Full));
        assert_eq!(kind_of_code("SomethingNew"), None);
        // MinIO answers InvalidRequest to both, AWS AccessDenied to the first.
        let locked = kind_of_words("Access Denied because object protected by object lock.");
        assert_eq!(locked, Some(Kind::Locked));
        assert_eq!(kind_of_words("Bucket is missing ObjectLockConfiguration"), Some(Kind::Unsupported(LOCK)));
    }

    #[test]
    fn a_status_without_a_code_says_enough() {
        assert_eq!(kind_of_status(503), Kind::SlowDown);
        assert_eq!(kind_of_status(504), Kind::Unreachable(Obstacle::Failing));
        assert_eq!(kind_of_status(507), Kind::Full);
        assert_eq!(kind_of_status(418), Kind::Refused);
    }
}
