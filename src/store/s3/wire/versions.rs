//! `ListObjectVersions`, versions and delete markers in the order in which they came; and whether there are any.

use super::{
    super::{listing::next, trouble::Trouble},
    entry::{Entry, Head},
    xml,
};
use crate::store::{ETag, ObjectVersion, VersionMarker, VersionPage, Versioning};

/// Reads a page: whole, or an error.
pub(in super::super) fn versions(text: &[u8]) -> Result<VersionPage, Trouble> {
    let (mut head, mut entry, mut versions) = (Head::default(), Entry::default(), Vec::new());
    xml::read(text, "ListVersionsResult", |element| {
        match (element.depth, element.name) {
            (1, kind @ ("Version" | "DeleteMarker")) => {
                versions.push(version(std::mem::take(&mut entry), kind == "DeleteMarker")?);
            }
            (1, name) => head.read(name, element.text)?,
            (2, name) => entry.read(name, element.text),
            _ => {}
        }
        Ok(())
    })?;
    for version in &mut versions {
        head.decode(&mut version.key)?;
    }
    let mut key = next(head.truncated, head.next.as_deref())?.map(str::to_owned);
    key.as_mut().map(|key| head.decode(key)).transpose()?;
    Ok(VersionPage { versions, next: key.map(|key| VersionMarker { key, version: head.next_version }) })
}

fn version(mut entry: Entry, is_delete_marker: bool) -> Result<ObjectVersion, Trouble> {
    let (key, modified) = entry.place()?;
    let (size, etag) = if is_delete_marker { (0, ETag(String::new())) } else { entry.content()? };
    let version = entry.version.unwrap_or_else(|| "null".to_owned());
    Ok(ObjectVersion { key, version, is_latest: entry.is_latest, is_delete_marker, size, etag, modified })
}

/// Reads whether a bucket keeps versions. There are stores (seen: moto 5) that give the answer another name, which
/// the SDK takes for none.
pub(in super::super) fn versioning(text: &[u8]) -> Result<Versioning, Trouble> {
    let read = |root| {
        let mut found = Versioning::Off;
        xml::read(text, root, |element| {
            match (element.depth, element.name, element.text) {
                (1, "Status", "Enabled") => found = Versioning::Enabled,
                (1, "Status", "Suspended") => found = Versioning::Suspended,
                _ => {}
            }
            Ok(())
        })?;
        Ok(found)
    };
    read("VersioningConfiguration").or_else(|other| read("GetBucketVersioningResponse").map_err(|_| other))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "<?xml version=\"1.0\"?><ListVersionsResult><Name>b</Name><Prefix></Prefix>\
        <KeyMarker></KeyMarker><VersionIdMarker></VersionIdMarker><EncodingType>url</EncodingType>\
        <DeleteMarker><Key>a%2Bb+c</Key><VersionId>3</VersionId><IsLatest>true</IsLatest>\
        <LastModified>2026-11-21T02:14:08Z</LastModified><Owner><ID>x</ID></Owner></DeleteMarker>\
        <Version><ETag>&#34;abc&#34;</ETag><Key>a%2Bb+c</Key><VersionId>2</VersionId><IsLatest>false</IsLatest>\
        <LastModified>2026-11-21T02:14:08Z</LastModified><Size>12</Size><StorageClass>STANDARD</StorageClass></Version>\
        <IsTruncated>true</IsTruncated><NextKeyMarker>a%2Bb+c</NextKeyMarker>\
        <NextVersionIdMarker>2</NextVersionIdMarker></ListVersionsResult>";

    #[test]
    fn c08_markers_and_versions_of_one_second_keep_their_order() {
        let page = versions(PAGE.as_bytes()).unwrap();
        let told =
            |v: &ObjectVersion| (v.key.clone(), v.version.clone(), v.is_delete_marker, v.is_latest, v.size);
        let key = "a+b c".to_owned();
        assert_eq!(
            page.versions.iter().map(told).collect::<Vec<_>>(),
            [(key.clone(), "3".to_owned(), true, true, 0), (key.clone(), "2".to_owned(), false, false, 12)]
        );
        assert_eq!(page.versions[1].etag.0, "abc");
        assert_eq!(page.next, Some(VersionMarker { key, version: Some("2".to_owned()) }));
    }

    #[test]
    fn b18_what_is_no_page_of_versions_is_an_error_and_never_an_empty_one() {
        for (what, text) in [
            ("nothing", String::new()),
            ("a root without an end", "<ListVersionsResult/>".to_owned()),
            ("another document", PAGE.replace("ListVersionsResult", "ListBucketResult")),
            ("no place to go on at", PAGE.replace("<NextKeyMarker>a%2Bb+c</NextKeyMarker>", "")),
            ("no size", PAGE.replace("<Size>12</Size>", "")),
            ("no tag", PAGE.replace("<ETag>&#34;abc&#34;</ETag>", "")),
            ("no key", PAGE.replace("<Key>a%2Bb+c</Key>", "")),
            ("no time", PAGE.replace("2026-11-21T02:14:08Z", "soon")),
            ("cut short", PAGE[..PAGE.len() - 30].to_owned()),
        ] {
            assert!(versions(text.as_bytes()).is_err(), "{what}");
        }
    }

    #[test]
    fn c08_c15_whether_versions_are_kept_is_read_whole_or_not_at_all() {
        let enabled =
            "<VersioningConfiguration xmlns=\"x\"><Status>Enabled</Status></VersioningConfiguration>";
        for (text, found) in [
            (enabled, Versioning::Enabled),
            (&enabled.replace("Enabled", "Suspended"), Versioning::Suspended),
            ("<VersioningConfiguration/>", Versioning::Off),
            (&enabled.replace("VersioningConfiguration", "GetBucketVersioningResponse"), Versioning::Enabled),
            ("<GetBucketVersioningResponse xmlns=\"x\"></GetBucketVersioningResponse>", Versioning::Off),
        ] {
            assert_eq!(versioning(text.as_bytes()).unwrap(), found, "{text}");
        }
        for text in
            ["", "<html/>", "<Error><Code>InternalError</Code></Error>", &enabled[..enabled.len() - 5]]
        {
            assert!(versioning(text.as_bytes()).is_err(), "{text}");
        }
    }
}
