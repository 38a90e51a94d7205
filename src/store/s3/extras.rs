//! Tags, locks, grants and replicas as headers.

use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::trouble::{Kind, Trouble};
use crate::store::{Grant, Grantee, Lock, LockMode, Permission, PutOptions, Replica, Retention, Tags};

/// A header's name and value.
pub(super) type Header = (&'static str, String);

/// All but the unreserved characters of an address.
pub(super) const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// What a PUT, a copy or the start of an upload says beside content headers and metadata.
pub(super) fn headers(options: &PutOptions) -> Vec<Header> {
    let mut headers = lock_headers(&options.lock);
    headers.extend(grant_headers(&options.grants));
    if !options.tags.is_empty() {
        headers.push(("x-amz-tagging", tagging(&options.tags)));
    }
    if let Some(class) = &options.storage_class {
        headers.push(("x-amz-storage-class", class.clone()));
    }
    headers.extend(options.replica.iter().flat_map(replica_headers));
    headers
}

/// Tells `MinIO` that a replica is written, whose time and tag are the original's. It is said again where
/// parts are joined.
pub(super) fn replica_headers(replica: &Replica) -> [Header; 4] {
    [
        ("x-minio-source-replication-request", "true".to_owned()),
        ("x-amz-replication-status", "REPLICA".to_owned()),
        ("x-minio-source-mtime", replica.modified.to_string()),
        ("x-minio-source-etag", replica.etag.0.clone()),
    ]
}

/// Adds headers to a request of the SDK.
pub(super) fn add(request: &mut HttpRequest, headers: Vec<Header>) {
    for (name, value) in headers {
        // What no header can carry came from none.
        request.headers_mut().try_insert(name, value).ok();
    }
}

fn tagging(tags: &Tags) -> String {
    let encoded = |text| utf8_percent_encode(text, RESERVED);
    let pairs: Vec<String> = tags.iter().map(|(k, v)| format!("{}={}", encoded(k), encoded(v))).collect();
    pairs.join("&")
}

fn lock_headers(lock: &Lock) -> Vec<Header> {
    let mut headers = Vec::new();
    if let Some(Retention { mode, until }) = &lock.retention {
        headers.push(("x-amz-object-lock-mode", mode.as_str().to_owned()));
        headers.push(("x-amz-object-lock-retain-until-date", until.to_string()));
    }
    if lock.legal_hold {
        headers.push(("x-amz-object-lock-legal-hold", "ON".to_owned()));
    }
    headers
}

fn grant_headers(grants: &[Grant]) -> Vec<Header> {
    let named = [
        ("x-amz-grant-full-control", Permission::FullControl),
        ("x-amz-grant-read", Permission::Read),
        ("x-amz-grant-read-acp", Permission::ReadAcp),
        ("x-amz-grant-write-acp", Permission::WriteAcp),
    ];
    let header = |(name, permission)| {
        let to = grants.iter().filter(|g| g.permission == permission).map(|g| match &g.grantee {
            Grantee::Id(id) => format!("id=\"{id}\""),
            Grantee::Group(uri) => format!("uri=\"{uri}\""),
        });
        let to = to.collect::<Vec<_>>().join(", ");
        (!to.is_empty()).then_some((name, to))
    };
    named.into_iter().filter_map(header).collect()
}

/// A lock, from the headers that tell it.
///
/// # Errors
/// A lock that is not understood is not to be lost.
pub(super) fn lock(
    mode: Option<&str>,
    until: Option<Timestamp>,
    legal_hold: Option<&str>,
) -> Result<Lock, Trouble> {
    let mode = match mode {
        None | Some("") => None,
        Some("GOVERNANCE") => Some(LockMode::Governance),
        Some("COMPLIANCE") => Some(LockMode::Compliance),
        Some(_) => return Err(Trouble::new(Kind::Unsupported("an object lock of this kind"), "")),
    };
    let retention = mode.zip(until).map(|(mode, until)| Retention { mode, until });
    Ok(Lock { retention, legal_hold: legal_hold == Some("ON") })
}

/// A storage class other than the usual one.
pub(super) fn class(header: Option<&str>) -> Option<String> {
    header.filter(|class| !matches!(*class, "" | "STANDARD")).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c02_tags_locks_and_grants_become_headers() {
        let grant = |grantee, permission| Grant { grantee, permission };
        let group = "http://acs.amazonaws.com/groups/global/AllUsers";
        let options = PutOptions {
            tags: [("a b", "ä&="), ("empty", "")].map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
            lock: Lock {
                retention: Some(Retention {
                    mode: LockMode::Compliance,
                    until: "2027-01-02T03:04:05Z".parse().unwrap(),
                }),
                legal_hold: true,
            },
            grants: vec![
                grant(Grantee::Id("1".into()), Permission::Read),
                grant(Grantee::Group(group.into()), Permission::Read),
            ],
            storage_class: Some("STANDARD_IA".into()),
            ..PutOptions::default()
        };
        let wanted = [
            ("x-amz-object-lock-mode", "COMPLIANCE"),
            ("x-amz-object-lock-retain-until-date", "2027-01-02T03:04:05Z"),
            ("x-amz-object-lock-legal-hold", "ON"),
            ("x-amz-grant-read", &format!("id=\"1\", uri=\"{group}\"")),
            ("x-amz-tagging", "a%20b=%C3%A4%26%3D&empty="),
            ("x-amz-storage-class", "STANDARD_IA"),
        ];
        let found = headers(&options);
        assert_eq!(found.iter().map(|(n, v)| (*n, v.as_str())).collect::<Vec<_>>(), wanted);
        assert!(headers(&PutOptions::default()).is_empty());
    }

    #[test]
    fn c02_a_lock_that_is_not_understood_is_an_error() {
        assert!(lock(None, None, Some("OFF")).unwrap().is_open());
        assert!(lock(Some("GOVERNANCE"), Some(Timestamp::UNIX_EPOCH), None).unwrap().retention.is_some());
        assert!(lock(Some("ETERNAL"), None, None).is_err());
    }
}
