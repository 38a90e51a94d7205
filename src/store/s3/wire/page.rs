//! A page of `ListObjectsV2`.

use super::{
    super::{
        listing::{garbled, next},
        trouble::Trouble,
    },
    entry::{Entry, Head},
    xml,
};
use crate::store::{ListPage, Listed};

/// Reads a page: whole, or an error.
pub(in super::super) fn page(text: &[u8]) -> Result<ListPage, Trouble> {
    let (mut head, mut entry, mut objects) = (Head::default(), Entry::default(), Vec::new());
    xml::read(text, "ListBucketResult", |element| {
        match (element.depth, element.name) {
            (1, "Contents") => objects.push(listed(std::mem::take(&mut entry))?),
            (1, name) => head.read(name, element.text)?,
            (2, name) => entry.read(name, element.text),
            _ => {}
        }
        Ok(())
    })?;
    for object in &mut objects {
        head.decode(&mut object.key)?;
    }
    if head.count.is_some_and(|count| count != objects.len()) {
        return Err(garbled("the page's own count of keys is another"));
    }
    let next = next(head.truncated, head.next.as_deref())?.map(str::to_owned);
    Ok(ListPage { objects, next })
}

fn listed(mut entry: Entry) -> Result<Listed, Trouble> {
    let ((key, modified), (size, etag)) = (entry.place()?, entry.content()?);
    Ok(Listed { key, size, etag, modified, storage_class: entry.storage_class })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::ETag;

    /// A page as stores send it; with a token where more follows.
    fn sent(keys: &[String], token: Option<&str>) -> String {
        use std::fmt::Write;
        let mut text = String::from(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>b</Name><Prefix></Prefix>",
        );
        write!(text, "<KeyCount>{}</KeyCount><EncodingType>url</EncodingType>", keys.len()).unwrap();
        for key in keys {
            let key = percent_encoding::utf8_percent_encode(key, percent_encoding::NON_ALPHANUMERIC);
            write!(
                text,
                "<Contents><Key>{key}</Key><LastModified>2026-11-21T02:14:06.123Z</LastModified>\
                 <ETag>&#34;abc&quot;</ETag><Size>12</Size><Owner><ID>x</ID></Owner>\
                 <StorageClass>STANDARD</StorageClass></Contents>"
            )
            .unwrap();
        }
        match token {
            Some(token) => write!(text, "<NextContinuationToken>{token}</NextContinuationToken>").unwrap(),
            None => text.push_str("<CommonPrefixes><Prefix>p</Prefix></CommonPrefixes>"),
        }
        write!(text, "<IsTruncated>{}</IsTruncated></ListBucketResult>", token.is_some()).unwrap();
        text
    }

    fn keys(page: &ListPage) -> Vec<String> {
        page.objects.iter().map(|o| o.key.clone()).collect()
    }

    #[test]
    fn a_page_is_read_as_it_was_meant() {
        let page = page(sent(&["a/b+c".to_owned()], Some("t&amp;1")).as_bytes()).unwrap();
        let expected = Listed {
            key: "a/b+c".to_owned(),
            size: 12,
            etag: ETag("abc".to_owned()),
            modified: "2026-11-21T02:14:06.123Z".parse().unwrap(),
            storage_class: None,
        };
        assert_eq!((page.objects, page.next.as_deref()), (vec![expected], Some("t&1")));
    }

    #[test]
    fn b18_what_is_no_page_is_an_error_and_never_an_empty_one() {
        let good = sent(&["a".to_owned()], None);
        for (what, text) in [
            ("nothing", String::new()),
            ("HTML", "<html><body>Gateway says hello</body></html>".to_owned()),
            ("HTML of its own type", "<!DOCTYPE html><html></html>".to_owned()),
            ("an error with status 200", "<Error><Code>InternalError</Code></Error>".to_owned()),
            ("words", "upstream timed out".to_owned()),
            ("an empty root", "<ListBucketResult/>".to_owned()),
            ("two pages", format!("{good}{}", good.split_once('\n').unwrap().1)),
            ("words after it", format!("{good} and more")),
            ("no place to go on at", good.replace("false", "true")),
            ("no word of an end", good.replace("<IsTruncated>false</IsTruncated>", "")),
            ("neither true nor false", good.replace("false", "maybe")),
            ("another count", good.replace("<KeyCount>1<", "<KeyCount>2<")),
            ("an entry without a key", good.replace("<Key>a</Key>", "")),
            ("an entry without a size", good.replace("<Size>12</Size>", "")),
            ("a size below zero", good.replace("<Size>12<", "<Size>-12<")),
            ("an entry without a tag", good.replace("&#34;abc&quot;", "")),
            ("a time that is none", good.replace("2026-11", "2026-99")),
            ("a key that is not UTF-8", good.replace("<Key>a<", "<Key>%FF<")),
            ("an unknown entity", good.replace("&#34;", "&nbsp;")),
        ] {
            assert!(page(text.as_bytes()).is_err(), "{what}");
        }
    }

    proptest! {
        #[test]
        fn b18_any_keys_are_read_and_a_page_cut_anywhere_is_an_error(
            names in prop::collection::vec("\\PC{1,12}", 0..4),
            token in prop::option::of("[a-zA-Z0-9=/+]{1,20}"),
            cut in any::<prop::sample::Index>(),
        ) {
            let text = sent(&names, token.as_deref());
            let whole = page(text.as_bytes()).unwrap();
            prop_assert_eq!(keys(&whole), names);
            prop_assert_eq!(&whole.next, &token);
            prop_assert!(page(&text.as_bytes()[..cut.index(text.len())]).is_err());
        }

        #[test]
        fn b18_a_page_garbled_in_any_byte_is_an_error_or_loses_no_entry(
            names in prop::collection::vec("[a-z]{1,6}", 0..4),
            token in prop::option::of("[a-z]{1,9}"),
            place in any::<prop::sample::Index>(),
            byte in any::<u8>(),
        ) {
            let mut text = sent(&names, token.as_deref()).into_bytes();
            let place = place.index(text.len());
            text[place] = byte;
            if let Ok(page) = page(&text) {
                prop_assert_eq!(page.objects.len(), names.len());
                prop_assert_eq!(page.next.is_some(), token.is_some());
            }
        }
    }
}
