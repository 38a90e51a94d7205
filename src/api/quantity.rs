//! Durations and rates as people write them.

use std::{borrow::Cow, fmt, str::FromStr, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

const DURATION_PATTERN: &str = "^([0-9]+(ms|s|m|h|d))+$";
const RATE_PATTERN: &str = "^[1-9][0-9]{0,14}(Ki|Mi|Gi|k|M|G)?$";

/// A length of time such as `7d`, `12h`, `1h30m` or `90s`.
///
/// Kept as written, so that what a user applied is what a user reads back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HumanDuration {
    text: String,
    length: Duration,
}

impl HumanDuration {
    /// The length of time.
    #[must_use]
    pub const fn get(&self) -> Duration {
        self.length
    }
}

impl From<Duration> for HumanDuration {
    /// In whole seconds.
    fn from(length: Duration) -> Self {
        let seconds = length.as_secs();
        Self { text: format!("{seconds}s"), length: Duration::from_secs(seconds) }
    }
}

/// Text that is no duration.
#[derive(Debug, thiserror::Error)]
#[error("\"{0}\" is not a duration; write it like 7d, 12h, 1h30m or 90s")]
pub struct BadDuration(String);

impl FromStr for HumanDuration {
    type Err = BadDuration;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let length = parse_duration(text).ok_or_else(|| BadDuration(text.to_owned()))?;
        Ok(Self { text: text.to_owned(), length })
    }
}

fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit_len = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let millis = match &rest[..unit_len] {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        total = total.checked_add(Duration::from_millis(number.checked_mul(millis)?))?;
        rest = &rest[unit_len..];
    }
    Some(total)
}

impl TryFrom<String> for HumanDuration {
    type Error = BadDuration;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<HumanDuration> for String {
    fn from(value: HumanDuration) -> Self {
        value.text
    }
}

impl fmt::Display for HumanDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl JsonSchema for HumanDuration {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": DURATION_PATTERN, "maxLength": 32})
    }
}

/// Bytes a second, such as `50Mi`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ByteRate {
    text: String,
    bytes: u64,
}

impl ByteRate {
    /// Bytes a second, at least one.
    #[must_use]
    pub const fn get(&self) -> u64 {
        self.bytes
    }
}

/// Text that is no rate.
#[derive(Debug, thiserror::Error)]
#[error("\"{0}\" is not a number of bytes a second; write it like 50Mi, 200Ki or 1000000")]
pub struct BadRate(String);

impl FromStr for ByteRate {
    type Err = BadRate;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || BadRate(text.to_owned());
        let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let number: u64 = text[..split].parse().map_err(|_| bad())?;
        let unit: u64 = match &text[split..] {
            "" => 1,
            "k" => 1_000,
            "M" => 1_000_000,
            "G" => 1_000_000_000,
            "Ki" => 1 << 10,
            "Mi" => 1 << 20,
            "Gi" => 1 << 30,
            _ => return Err(bad()),
        };
        let bytes = number.checked_mul(unit).filter(|bytes| *bytes > 0).ok_or_else(bad)?;
        Ok(Self { text: text.to_owned(), bytes })
    }
}

impl TryFrom<String> for ByteRate {
    type Error = BadRate;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<ByteRate> for String {
    fn from(value: ByteRate) -> Self {
        value.text
    }
}

impl JsonSchema for ByteRate {
    fn schema_name() -> Cow<'static, str> {
        "ByteRate".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": RATE_PATTERN, "maxLength": 20})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, seconds) in [("7d", 604_800), ("168h", 604_800), ("90s", 90), ("1h30m", 5_400), ("0s", 0)]
        {
            assert_eq!(text.parse::<HumanDuration>().unwrap().get(), Duration::from_secs(seconds), "{text}");
        }
        for text in ["", "7", "d", "7 d", "-7d", "7w", "99999999999999999999d"] {
            assert!(text.parse::<HumanDuration>().is_err(), "{text}");
        }
    }

    #[test]
    fn rates_are_read_as_people_write_them() {
        for (text, bytes) in [("50Mi", 52_428_800), ("1k", 1_000), ("7", 7)] {
            assert_eq!(text.parse::<ByteRate>().unwrap().get(), bytes, "{text}");
        }
        for text in ["", "0", "Mi", "1Ti", "-1", "99999999999999Gi"] {
            assert!(text.parse::<ByteRate>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_was_written_is_read_back() {
        let duration: HumanDuration = serde_json::from_str("\"168h\"").unwrap();
        assert_eq!(serde_json::to_string(&duration).unwrap(), "\"168h\"");
    }
}
