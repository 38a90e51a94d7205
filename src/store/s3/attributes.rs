//! Content headers and user metadata, as they go over the wire and as they are meant.

use std::collections::{BTreeMap, HashMap};

use aws_sdk_s3::operation::{get_object::GetObjectOutput, head_object::HeadObjectOutput};
use base64::{Engine, prelude::BASE64_STANDARD};

use super::trouble::{Kind, Trouble};
use crate::store::{Attributes, ETag};

macro_rules! attributes_of {
    ($output:expr) => {
        Attributes {
            content_type: $output.content_type.clone(),
            content_encoding: $output.content_encoding.as_deref().and_then(own_encoding),
            content_language: $output.content_language.clone(),
            content_disposition: $output.content_disposition.clone(),
            cache_control: $output.cache_control.clone(),
            expires: $output.expires_string.clone(),
            metadata: decoded(&$output.metadata.clone().unwrap_or_default(), $output.missing_meta)?,
        }
    };
}

pub(super) fn of_head(output: &HeadObjectOutput) -> Result<Attributes, Trouble> {
    Ok(attributes_of!(output))
}

pub(super) fn of_get(output: &GetObjectOutput) -> Result<Attributes, Trouble> {
    Ok(attributes_of!(output))
}

/// `aws-chunked` belongs to one upload's transfer; some stores keep it as if it were the content's.
fn own_encoding(header: &str) -> Option<String> {
    let kept: Vec<&str> =
        header.split(',').map(str::trim).filter(|t| !t.is_empty() && *t != "aws-chunked").collect();
    (!kept.is_empty()).then(|| kept.join(","))
}

/// # Errors
/// A store that hides metadata (`x-amz-missing-meta`) can't be copied from exactly.
fn decoded(raw: &HashMap<String, String>, missing: Option<i32>) -> Result<BTreeMap<String, String>, Trouble> {
    if missing.is_some_and(|n| n > 0) {
        return Err(Trouble::new(Kind::Unsupported("metadata that no header can carry"), ""));
    }
    Ok(raw.iter().map(|(name, value)| (name.to_lowercase(), decode_words(value))).collect())
}

/// Decodes RFC 2047 words: how AWS hands out metadata beyond ASCII.
fn decode_words(value: &str) -> String {
    if !value.contains("=?") {
        return value.to_owned();
    }
    let words: Option<Vec<Vec<u8>>> = value.split_ascii_whitespace().map(decode_word).collect();
    words.and_then(|w| String::from_utf8(w.concat()).ok()).unwrap_or_else(|| value.to_owned())
}

fn decode_word(word: &str) -> Option<Vec<u8>> {
    let inner = word.strip_prefix("=?")?.strip_suffix("?=")?;
    let mut fields = inner.splitn(3, '?');
    let (charset, encoding, text) = (fields.next()?, fields.next()?, fields.next()?);
    if !charset.eq_ignore_ascii_case("utf-8") {
        return None;
    }
    match encoding {
        "B" | "b" => BASE64_STANDARD.decode(text).ok(),
        "Q" | "q" => {
            let percent = text.replace('%', "%25").replace('=', "%").replace('_', " ");
            Some(percent_encoding::percent_decode_str(&percent).collect())
        }
        _ => None,
    }
}

/// An entity tag without its quotes.
pub(super) fn etag(raw: Option<&str>) -> Result<ETag, Trouble> {
    let tag = raw.map(|t| t.trim_matches('"')).filter(|t| !t.is_empty());
    tag.map(|t| ETag(t.to_owned())).ok_or_else(|| Trouble::new(Kind::Protocol, "the answer has no ETag"))
}

/// A moment as the SDK holds it.
pub(super) fn moment(raw: Option<&aws_sdk_s3::primitives::DateTime>) -> Result<jiff::Timestamp, Trouble> {
    let missing = || Trouble::new(Kind::Protocol, "the answer has no time of change");
    let at = raw.ok_or_else(missing)?;
    jiff::Timestamp::new(at.secs(), i32::try_from(at.subsec_nanos()).unwrap_or(0)).map_err(|_| missing())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_beyond_ascii_is_decoded_however_it_was_sent() {
        assert_eq!(decode_words("=?UTF-8?B?w6TDtsO8?="), "äöü");
        assert_eq!(decode_words("=?utf-8?q?100=25_=C3=A4?="), "100% ä");
        assert_eq!(decode_words("=?UTF-8?B?w6Q=?= =?UTF-8?B?w7Y=?="), "äö");
        assert_eq!(decode_words("plain =? text"), "plain =? text");
    }

    #[test]
    fn the_transfer_encoding_is_not_the_contents() {
        assert_eq!(own_encoding("aws-chunked"), None);
        assert_eq!(own_encoding("gzip,aws-chunked").as_deref(), Some("gzip"));
    }
}
