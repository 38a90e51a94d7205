//! Names that some stores take for other names.
//!
//! MinIO stores `/a` as `a`, `VersityGW` stores `a//b` and `a/x/../b` as `a/b`, both without a word: a
//! copy would overwrite, and a delete erase, another object. So the first write of each odd kind tries
//! a name of its own first.

use std::sync::Mutex;

use bytes::Bytes;
use http::Method;

use super::{
    S3Store,
    trouble::{Kind, Trouble},
    wire::{Call, Payload},
};
use crate::store::{Error, ListRequest, Result, unguessable};

/// What makes a name odd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Oddity {
    LeadingSlash,
    EmptySegment,
    Dot,
    DotDot,
}

impl Oddity {
    /// The first oddity of a key, and the length of what stands before and with it.
    fn of(key: &str) -> Option<(Self, usize)> {
        let mut end = 0;
        let last = key.matches('/').count();
        for (i, segment) in key.split('/').enumerate() {
            end += segment.len();
            let oddity = match segment {
                "." => Some(Self::Dot),
                ".." => Some(Self::DotDot),
                "" if i == 0 && last > 0 => Some(Self::LeadingSlash),
                "" if i < last => Some(Self::EmptySegment),
                _ => None,
            };
            end += 1;
            if let Some(oddity) = oddity {
                return Some((oddity, end.min(key.len())));
            }
        }
        None
    }
}

/// What was found about odd names, once a kind.
#[derive(Debug, Default)]
pub(super) struct Names(Mutex<Vec<(Oddity, bool)>>);

impl Names {
    fn known(&self, oddity: Oddity) -> Option<bool> {
        let found = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        found.iter().find(|(o, _)| *o == oddity).map(|(_, kept)| *kept)
    }

    fn note(&self, oddity: Oddity, kept: bool) {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((oddity, kept));
    }
}

impl S3Store {
    /// Refuses a key that this store would take for another. Free for ordinary keys; three or
    /// four requests for the first key of each odd kind.
    pub(super) async fn check_name(&self, key: &str) -> Result<()> {
        let Some((oddity, end)) = Oddity::of(key) else { return Ok(()) };
        let kept = if let Some(kept) = self.names.known(oddity) {
            kept
        } else {
            let kept = self.keeps_name(&key[..end]).await?;
            self.names.note(oddity, kept);
            kept
        };
        if kept {
            return Ok(());
        }
        let trouble = Trouble::new(Kind::Unsupported("an object of this name"), "");
        Err(trouble.into_error(self.context(Some(key))))
    }

    async fn keeps_name(&self, before: &str) -> Result<bool> {
        let slash = if before.ends_with('/') { "" } else { "/" };
        let probe = format!("{before}{slash}{}", unguessable("farshore-probe")?);
        let put = || async {
            let call = Call::new(Method::PUT, Some(&probe)).payload(Payload::Whole(Bytes::new()));
            self.wire.ask(call).await.map(drop)
        };
        match self.repeat(Some(&probe), put).await {
            Ok(()) => {}
            Err(Error::Unsupported { .. }) => return Ok(false),
            Err(error) => return Err(error),
        }
        let kept = self.is_listed_as(&probe).await;
        // Whatever name it went under, the store finds it again under the one that it was given.
        self.delete_named(&probe, None).await?;
        kept
    }

    async fn is_listed_as(&self, probe: &str) -> Result<bool> {
        let look = |prefix: &str| ListRequest { prefix: prefix.to_owned(), ..ListRequest::default() };
        let named = self.list_page(&look(probe)).await?.objects;
        if !named.iter().any(|o| o.key == probe) {
            return Ok(false);
        }
        // MinIO strips the slash of a prefix too, and then answers with the prefix that was asked for.
        let bare = probe.trim_start_matches('/');
        Ok(bare == probe || self.list_page(&look(bare)).await?.objects.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_names_are_told_from_ordinary_ones() {
        for ordinary in ["a", "a/b", "dir/", "a.b/..c", "..a"] {
            assert_eq!(Oddity::of(ordinary), None, "{ordinary}");
        }
        assert_eq!(Oddity::of("/a"), Some((Oddity::LeadingSlash, 1)));
        assert_eq!(Oddity::of("p/a//b"), Some((Oddity::EmptySegment, 5)));
        assert_eq!(Oddity::of("a/./b"), Some((Oddity::Dot, 4)));
        assert_eq!(Oddity::of(".."), Some((Oddity::DotDot, 2)));
        assert_eq!(Oddity::of("a/../b"), Some((Oddity::DotDot, 5)));
    }
}
