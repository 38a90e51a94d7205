//! Resume tokens.
//!
//! mongod's token is `{_data: <hex>}`, the hex of a key string (version 1) whose first value is the cluster time of
//! the event, or, for a token that stands for no event ("high water mark"), the cluster time up to which the oplog
//! was read (`mongo/db/pipeline/resume_token.cpp`, `ResumeToken::ResumeToken(const ResumeTokenData&)`). A time stamp
//! in a key string is the byte 130, then its eight bytes with the greatest first: seconds, then the increment
//! (`mongo/db/storage/key_string`, `CType::kTimestamp` and `_appendTimestamp`).
//!
//! Other servers write what they like: then a token says nothing of time.

use mongodb::bson::Document;

use crate::mongo::Place;

/// Marks a time stamp in a key string.
const TIMESTAMP: u8 = 130;

/// The cluster time in a token of mongod's.
pub(super) fn place(token: &Document) -> Option<Place> {
    let data = token.get_str("_data").ok()?;
    let head = hex::decode(data.get(..18)?).ok()?;
    let [TIMESTAMP, time @ ..] = &head[..] else { return None };
    let (seconds, increment) = time.split_at_checked(4)?;
    Some(Place {
        seconds: u32::from_be_bytes(seconds.try_into().ok()?),
        increment: u32::from_be_bytes(increment.try_into().ok()?),
    })
}

#[cfg(test)]
mod tests {
    use mongodb::bson::doc;

    use super::place;
    use crate::mongo::Place;

    #[test]
    fn d01_the_cluster_time_is_read_from_mongods_tokens() {
        // Of an event and of a high water mark, in mongod's format.
        let event = "82635019A0000000012B042C0100296E5A1004AB1154ACACD849A48C61756D70D3B21F463C6F7065726174696F6E54797065003C696E736572740046646F63756D656E744B65790046645F69640064635019A0F0EC6C0B1EF0FB4A000004";
        let mark = "82635019A1000000022B0429296E1404";
        let expected = [(event, 0x6350_19A0, 1), (mark, 0x6350_19A1, 2)];
        for (data, seconds, increment) in expected {
            assert_eq!(place(&doc! {"_data": data}), Some(Place { seconds, increment }));
        }
    }

    #[test]
    fn d01_tokens_of_others_say_nothing_of_time() {
        let others = [
            doc! {"_data": "4e00000012730002000000000000001174"},
            doc! {"_data": "82"},
            doc! {"_data": "82zz5019A1000000022B0429296E1404"},
            doc! {"_data": 1},
            doc! {},
        ];
        for token in others {
            assert_eq!(place(&token), None, "{token}");
        }
    }
}
