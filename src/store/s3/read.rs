//! HEAD and GET.

use http::{
    HeaderMap, Method,
    header::{IF_MATCH, RANGE},
};

use super::{
    S3Store,
    attributes::{self, header},
    body::incoming,
    trouble::{Kind, Trouble},
    wire::{Call, versioning},
};
use crate::store::{Context, Error, GetOptions, GetReply, ObjectInfo, PartLayout, Result, Versioning};

impl S3Store {
    pub(super) async fn head_object(&self, key: &str) -> Result<ObjectInfo> {
        let head = || async {
            let answer = self.wire.ask(Call::new(Method::HEAD, Some(key))).await?;
            attributes::info(answer.headers(), length(answer.headers())?)
        };
        self.repeat(Some(key), head).await
    }

    pub(super) async fn head_one_part(&self, key: &str, part: u32) -> Result<Option<PartLayout>> {
        let head = || async {
            let call = Call::new(Method::HEAD, Some(key)).query("partNumber", part.to_string());
            let answer = match self.wire.ask(call).await {
                Ok(answer) => answer,
                Err(t) if matches!(t.kind, Kind::Unsupported(_)) => return Ok(None),
                Err(t) => return Err(t),
            };
            let count = header(answer.headers(), "x-amz-mp-parts-count").and_then(|n| n.parse().ok());
            let layout = |count| Ok(PartLayout { size: length(answer.headers())?, count });
            count.map(layout).transpose()
        };
        self.repeat(Some(key), head).await
    }

    pub(super) async fn get_object(&self, key: &str, options: &GetOptions) -> Result<GetReply> {
        let range = match (options.suffix, options.range) {
            (Some(suffix), _) => Some(format!("bytes=-{suffix}")),
            (None, Some((first, last))) => Some(format!("bytes={first}-{last}")),
            (None, None) => None,
        };
        let get = || async {
            let mut call = Call::new(Method::GET, Some(key));
            if let Some(range) = &range {
                call = call.header(RANGE, range)?;
            }
            if let Some(tag) = &options.if_match {
                call = call.header(IF_MATCH, &format!("\"{}\"", tag.0))?;
            }
            let (head, body) = self.wire.send(call).await?.into_parts();
            let length = length(&head.headers)?;
            let whole = header(&head.headers, "content-range").and_then(total);
            if whole.is_none() && !is_asked_for(options, length) {
                return Err(Trouble::new(
                    Kind::Protocol,
                    "a part of the object was asked for, all of it came",
                ));
            }
            Ok((attributes::info(&head.headers, whole.unwrap_or(length))?, length, body))
        };
        let (info, length, body) = match self.repeat(Some(key), get).await {
            Err(Error::Protocol { context, .. }) if context.code.as_deref() == Some("InvalidRange") => {
                return self.nothing_there(key, options, context).await;
            }
            opened => opened?,
        };
        let body = incoming(body, length, self.config.patience.body, self.context(Some(key)));
        Ok(GetReply { info, length, body })
    }

    /// A range that begins past the end holds no bytes, as the last bytes of an empty object do.
    async fn nothing_there(&self, key: &str, options: &GetOptions, context: Context) -> Result<GetReply> {
        let info = self.head_object(key).await?;
        if options.if_match.as_ref().is_some_and(|tag| *tag != info.etag) {
            return Err(Error::Changed(context));
        }
        Ok(GetReply { info, length: 0, body: Box::pin(futures::stream::empty()) })
    }

    pub(super) async fn bucket_versioning(&self) -> Result<Versioning> {
        let ask = || async {
            match self.wire.ask(Call::new(Method::GET, None).query("versioning", "")).await {
                Ok(answer) => versioning(answer.body()),
                Err(t) if matches!(t.kind, Kind::Unsupported(_)) => Ok(Versioning::Unsupported),
                Err(t) if t.is_code("VersioningNotConfigured") => Ok(Versioning::Unsupported),
                Err(t) => Err(t),
            }
        };
        self.repeat(None, ask).await
    }
}

/// True where the whole object, of this length, is what was asked for.
fn is_asked_for(options: &GetOptions, length: u64) -> bool {
    match (options.suffix, options.range) {
        (Some(suffix), _) => length <= suffix,
        (None, Some((first, last))) => first == 0 && length <= last.saturating_add(1),
        (None, None) => true,
    }
}

/// Size of the whole object, from `bytes 0-9/100`.
fn total(content_range: &str) -> Option<u64> {
    content_range.rsplit_once('/')?.1.parse().ok()
}

fn length(headers: &HeaderMap) -> Result<u64, Trouble> {
    let length = header(headers, "content-length").and_then(|n| n.parse().ok());
    length.ok_or_else(|| Trouble::new(Kind::Protocol, "the answer has no length"))
}
