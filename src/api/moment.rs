//! A moment of a database, as exact as it is known.

use std::fmt;

use jiff::Timestamp;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// A moment of a database: RFC 3339 in UTC, with a fraction where there is one.
///
/// Kubernetes' own `Time` ends with the second. Engines tell commits apart by the microsecond: of a window that begins
/// at 31.5, 31 would be shown, and then refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Moment(pub Timestamp);

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl JsonSchema for Moment {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Moment".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "format": "date-time"})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b08_a_moment_is_told_as_exactly_as_it_is_known() {
        for text in ["2026-11-21T02:55:31Z", "2026-11-21T02:55:31.25Z", "2026-11-21T02:55:31.913406Z"] {
            let moment: Moment = serde_json::from_value(text.into()).unwrap();
            assert_eq!(serde_json::to_value(moment).unwrap(), text);
            assert_eq!(moment.to_string(), text);
        }
        let elsewhere: Moment = serde_json::from_str("\"2026-11-21T04:55:31+02:00\"").unwrap();
        assert_eq!(elsewhere.to_string(), "2026-11-21T02:55:31Z");
    }
}
