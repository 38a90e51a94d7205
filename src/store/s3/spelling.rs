//! Metadata beyond ASCII, for stores that keep it only in the words of RFC 2047.
//!
//! Most stores keep the bytes of a header as they are. AWS reads them as Latin-1, so that UTF-8 comes
//! back garbled, and decodes and encodes RFC 2047. Which of them this is, the first such write finds out.

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderName, Method};

use super::{
    S3Store,
    attributes::header,
    wire::{Call, Payload},
};
use crate::store::{Error, PutOptions, Result, unguessable, words};

const BEYOND_ASCII: &str = "\u{e4}\u{4e16}";

impl S3Store {
    /// The options, with metadata spelled so that this store gives it back as it was meant. Free for
    /// ASCII; three requests for the first metadata beyond it.
    pub(super) async fn spelled<'a>(
        &self,
        key: &str,
        options: &'a PutOptions,
    ) -> Result<Cow<'a, PutOptions>> {
        if options.attributes.metadata.values().all(|value| value.is_ascii()) {
            return Ok(Cow::Borrowed(options));
        }
        if *self.keeps_utf8.get_or_try_init(|| self.finds_utf8(key)).await? {
            return Ok(Cow::Borrowed(options));
        }
        let mut spelled = options.clone();
        for value in spelled.attributes.metadata.values_mut() {
            *value = words::encoded(value);
        }
        Ok(Cow::Owned(spelled))
    }

    /// Tries it beside `key`, where we may write.
    async fn finds_utf8(&self, key: &str) -> Result<bool> {
        let folder = key.rfind('/').map_or("", |end| &key[..=end]);
        let probe = format!("{folder}{}", unguessable("farshore-probe")?);
        let put = || async {
            let call = Call::new(Method::PUT, Some(&probe)).payload(Payload::Whole(Bytes::new()));
            let call = call.header(HeaderName::from_static("x-amz-meta-probe"), BEYOND_ASCII)?;
            let answer = self.wire.ask(call).await?;
            Ok(header(answer.headers(), "x-amz-version-id").map(str::to_owned))
        };
        let version = match self.repeat(Some(&probe), put).await {
            Ok(version) => version,
            // Signatures over such a header are told apart by how each side reads it.
            Err(Error::BadCredentials(_) | Error::Unsupported { .. } | Error::Protocol { .. }) => {
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
        let found = self.head_object(&probe).await;
        self.delete_named(&probe, version.as_deref()).await?;
        Ok(found?.attributes.metadata.get("probe").is_some_and(|value| words::decoded(value) == BEYOND_ASCII))
    }
}
