//! Are two buckets one? By what is stored, not by what they are called.

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};

use super::{Error, Result};
use crate::store::{self, ListRequest, ObjectStore, PutOptions, unguessable};

const PROBE: &str = "probe";
const BODY: &[u8] = b"?";
/// A probe is gone again after a moment. One of this age was left by a process that was killed in between.
const STALE: SignedDuration = SignedDuration::from_mins(10);

/// True of the name of an object by which somebody finds out whether two buckets are one.
pub(super) fn is_probe(key: &str) -> bool {
    let random = key.strip_prefix(PROBE).and_then(|rest| rest.strip_prefix('-'));
    random.is_some_and(|bits| bits.len() == 32 && bits.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// Writes a small object of an unguessable name through the target and looks for it through the
/// source. Found: both handles reach one bucket, whatever their endpoints and names. The object is
/// removed again on every path.
///
/// A source that has no such bucket, or doesn't let us look at that key, counts as another place.
///
/// # Errors
/// [`Error::Store`] with the side that failed.
pub async fn same_place(source: &dyn ObjectStore, target: &dyn ObjectStore, prefix: &str) -> Result<bool> {
    remove_stale(target, prefix).await?;
    let key = format!("{prefix}{}", unguessable(PROBE).map_err(Error::target)?);
    let put = target.put(&key, Bytes::from_static(BODY), &PutOptions::default()).await;
    let put = put.map_err(Error::target)?;
    let seen = source.head(&key).await;
    target.delete(&key, put.version.as_deref()).await.map_err(Error::target)?;
    match seen {
        Ok(_) => Ok(true),
        Err(store::Error::NotFound(_) | store::Error::NoSuchBucket(_) | store::Error::AccessDenied(_)) => {
            Ok(false)
        }
        Err(error) => Err(Error::source(error)),
    }
}

/// Takes away probes that were left behind. Not being allowed to list them is no reason to stop.
async fn remove_stale(target: &dyn ObjectStore, prefix: &str) -> Result<()> {
    let request = ListRequest { prefix: format!("{prefix}{PROBE}-"), ..ListRequest::default() };
    let found = match target.list(&request).await {
        Err(store::Error::AccessDenied(_)) => return Ok(()),
        page => page.map_err(Error::target)?.objects,
    };
    let now = Timestamp::now() + target.clock_offset().unwrap_or(SignedDuration::ZERO);
    for left in found {
        let is_ours = left.key.strip_prefix(prefix).is_some_and(is_probe) && left.size == BODY.len() as u64;
        if is_ours && now.duration_since(left.modified) > STALE {
            target.delete(&left.key, None).await.map_err(Error::target)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::memory::{Failure, Fault, MemoryStore, Verb};

    #[test]
    fn c08_probes_are_known_by_name() {
        assert!(is_probe(&unguessable(PROBE).unwrap()));
        for key in ["probe", "probe-1", "x/probe-0123456789abcdef0123456789abcdef"] {
            assert!(!is_probe(key), "{key}");
        }
    }

    #[tokio::test]
    async fn one_bucket_under_two_handles_is_found_out_and_the_probe_removed() {
        let (one, other) = (MemoryStore::new("one"), MemoryStore::new("one"));
        assert!(same_place(&one.clone(), &one, "p/").await.unwrap());
        assert!(!same_place(&other, &one, "p/").await.unwrap());
        other.fault(Fault::once(Verb::Head, Failure::Unreachable));
        assert!(same_place(&other, &one, "p/").await.is_err());
        assert!(one.keys().is_empty() && other.keys().is_empty());
    }

    #[tokio::test]
    async fn what_a_killed_process_left_is_removed_and_nothing_else() {
        let (source, target) = (MemoryStore::new("one"), MemoryStore::new("two"));
        let [old, new] = ["0", "1"].map(|digit| format!("{PROBE}-{}", digit.repeat(32)));
        let long_ago = Timestamp::now() - SignedDuration::from_mins(11);
        target.seed(&old, "?", long_ago);
        target.seed(&new, "?", Timestamp::now());
        target.seed("probe-report", "?", long_ago);
        let larger = format!("{PROBE}-{}", "2".repeat(32));
        target.seed(&larger, "a report", long_ago);
        assert!(!same_place(&source, &target, "").await.unwrap());
        assert_eq!(target.keys(), [new, larger, "probe-report".to_owned()]);
    }
}
