//! The words of RFC 2047, in which headers carry text beyond ASCII.

use base64::{Engine, prelude::BASE64_STANDARD};

/// Most bytes of text in a word: with its frame it stays within the 75 that RFC 2047 allows.
const WORD: usize = 45;

/// Words of RFC 2047, no character cut in two; ASCII as it is.
pub(super) fn encoded(value: &str) -> String {
    if value.is_ascii() {
        return value.to_owned();
    }
    let (mut words, mut rest) = (Vec::new(), value);
    while !rest.is_empty() {
        let (word, others) = rest.split_at(rest.floor_char_boundary(WORD));
        words.push(format!("=?UTF-8?B?{}?=", BASE64_STANDARD.encode(word)));
        rest = others;
    }
    words.join(" ")
}

/// The meaning of metadata, however a store spells it: AWS and `MinIO` hand out what is beyond ASCII in words.
pub(super) fn decoded(value: &str) -> String {
    if !is_encoded(value) {
        return value.to_owned();
    }
    let words: Option<Vec<Vec<u8>>> = value.split_ascii_whitespace().map(decode_word).collect();
    words.and_then(|w| String::from_utf8(w.concat()).ok()).unwrap_or_else(|| value.to_owned())
}

/// True for text that may hold words.
pub(super) fn is_encoded(value: &str) -> bool {
    value.contains("=?")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c02_words_are_read_back_as_they_were_meant() {
        for value in ["plain", "ä", "Grüße, 世界", &"世界 and more of it, ".repeat(20)] {
            let words = encoded(value);
            assert!(
                words.is_ascii() && words.split(' ').all(|w| value.is_ascii() || w.len() <= 75),
                "{words}"
            );
            assert_eq!(decoded(&words), value);
        }
    }

    #[test]
    fn metadata_beyond_ascii_is_decoded_however_it_was_sent() {
        assert_eq!(decoded("=?UTF-8?B?w6TDtsO8?="), "äöü");
        assert_eq!(decoded("=?utf-8?q?100=25_=C3=A4?="), "100% ä");
        assert_eq!(decoded("=?UTF-8?B?w6Q=?= =?UTF-8?B?w7Y=?="), "äö");
        assert_eq!(decoded("plain =? text"), "plain =? text");
    }
}
