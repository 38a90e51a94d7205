//! What is stored, whatever it is called.

use crate::api::{AcceptedBucket, AcceptedSource, BackupSyncService, DatabaseInstance, Region};

/// A prefix in a bucket of a store: two claims on the same place are claims on the same data.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    endpoint: String,
    bucket: String,
    prefix: String,
}

impl Place {
    /// A place by its parts; the endpoint is a URL.
    #[must_use]
    pub fn new(endpoint: &str, bucket: &str, prefix: &str) -> Self {
        Self { endpoint: host_of(endpoint), bucket: bucket.to_owned(), prefix: prefix.to_owned() }
    }

    /// Where the backups of an instance lie; `None` when it names none.
    #[must_use]
    pub fn of_instance(instance: &DatabaseInstance, region: &Region) -> Option<Self> {
        let backups = instance.spec.backups.as_ref()?;
        Some(Self::new(&region.spec.object_store.endpoint, &backups.bucket, &backups.prefix))
    }

    /// Where a service's copies go.
    #[must_use]
    pub fn of_target(service: &BackupSyncService, region: &Region) -> Self {
        let target = &service.spec.target;
        Self::new(&region.spec.object_store.endpoint, &target.bucket, &target.prefix)
    }

    /// The source that a service was accepted for.
    #[must_use]
    pub fn of_accepted(source: &AcceptedSource) -> Self {
        Self::new(&source.endpoint, &source.bucket, &source.prefix)
    }

    /// A bucket that a rule was accepted for.
    #[must_use]
    pub fn of_bucket(bucket: &AcceptedBucket) -> Self {
        Self::new(&bucket.endpoint, &bucket.bucket, "")
    }

    /// True when one holds the other: the same bucket, and one prefix begins with the other.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.endpoint == other.endpoint
            && self.bucket == other.bucket
            && (self.prefix.starts_with(&other.prefix) || other.prefix.starts_with(&self.prefix))
    }
}

/// `host:port` of a URL, in lower case and with the scheme's port when it names none.
#[must_use]
pub fn host_of(endpoint: &str) -> String {
    match url::Url::parse(endpoint) {
        Ok(url) => {
            format!("{}:{}", url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or(0))
        }
        Err(_) => endpoint.trim_end_matches('/').to_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_what_it_reaches_not_how_it_is_written() {
        for (a, b) in [
            ("https://s3.east.example", "https://S3.EAST.example:443/"),
            ("http://minio.north:9000", "http://MINIO.north:9000/"),
            ("http://store", "http://store:80"),
        ] {
            assert_eq!(host_of(a), host_of(b));
        }
        assert_ne!(host_of("http://store:9000"), host_of("http://store:9001"));
    }

    #[test]
    fn prefixes_overlap_when_one_holds_the_other() {
        let place = |prefix: &str| Place::new("http://store", "dr", prefix);
        for (a, b, expected) in [
            ("orders/", "orders/", true),
            ("", "orders/", true),
            ("orders/", "orders/eu/", true),
            ("orders/", "orders2/", false),
            ("a/", "b/", false),
        ] {
            assert_eq!(place(a).overlaps(&place(b)), expected, "{a} {b}");
            assert_eq!(place(b).overlaps(&place(a)), expected, "{b} {a}");
        }
        assert!(!place("a/").overlaps(&Place::new("http://store", "other", "a/")));
    }
}
