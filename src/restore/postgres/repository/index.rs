//! pgBackRest's index, written from the backups' own manifests.
//!
//! Its checksum is that of its sections as one JSON object. See pgBackRest's `info/info.c` and `info/infoBackup.c`.

use std::fmt::Write as _;

use sha1::{Digest as _, Sha1};

/// Fields of a manifest's section, values in JSON.
fn section<'a>(text: &'a str, name: &str) -> Vec<(&'a str, &'a str)> {
    let mut lines = text.lines();
    let heading = format!("[{name}]");
    if !lines.any(|line| line == heading) {
        return Vec::new();
    }
    lines.take_while(|line| !line.starts_with('[')).filter_map(|line| line.split_once('=')).collect()
}

/// An index that names these backups, as pgBackRest writes it: what it says of their sizes is nothing. That of an
/// encrypted repository holds the key of all manifests, in `sealed`.
pub(super) fn index(manifests: &[(&str, String)], sealed: Option<&str>) -> Option<String> {
    let (_, newest) = manifests.last()?;
    let field = |text: &str, of: &str, name: &str| -> Option<String> {
        section(text, of).into_iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_owned())
    };
    let mut current = Vec::new();
    for (label, text) in manifests {
        current.push(((*label).to_owned(), entry(text)?));
    }
    let db: Vec<(String, String)> = section(newest, "backup:db")
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    let id = field(newest, "backup:db", "db-id")?;
    let history = json(db.iter().filter(|(key, _)| key != "db-id"));
    let backrest: Vec<(String, String)> = ["backrest-format", "backrest-version"]
        .into_iter()
        .map(|name| Some((name.to_owned(), field(newest, "backrest", name)?)))
        .collect::<Option<_>>()?;
    let cipher = sealed.map(|key| ("cipher", vec![("cipher-pass".to_owned(), key.to_owned())]));
    let sections: Vec<(&str, Vec<(String, String)>)> = [("backrest", backrest), ("backup:current", current)]
        .into_iter()
        .chain(cipher)
        .chain([("db", db), ("db:history", vec![(id, history)])])
        .collect();
    let sum = Sha1::digest(format!(
        "{{{}}}",
        sections
            .iter()
            .map(|(name, fields)| format!("\"{name}\":{}", json(fields.iter())))
            .collect::<Vec<_>>()
            .join(",")
    ));
    let mut text = String::new();
    for (name, fields) in &sections {
        writeln!(text, "[{name}]").ok()?;
        for (key, value) in fields {
            writeln!(text, "{key}={value}").ok()?;
        }
        writeln!(text).ok()?;
    }
    writeln!(text, "[backrest]\nbackrest-checksum=\"{}\"", hex::encode(sum)).ok()?;
    Some(text)
}

/// The key of the manifests, as an encrypted repository's index has it.
pub(super) fn sealed(index: &str) -> Option<&str> {
    section(index, "cipher").into_iter().find(|(key, _)| *key == "cipher-pass").map(|(_, value)| value)
}

/// What the index says of a backup.
fn entry(manifest: &str) -> Option<String> {
    let mut fields: Vec<(String, String)> = section(manifest, "backrest")
        .into_iter()
        .filter(|(key, _)| *key != "backrest-checksum")
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    for (key, value) in section(manifest, "backup") {
        let value = match key {
            "backup-label" | "backup-timestamp-copy-start" | "backup-bundle" | "backup-block-incr" => {
                continue;
            }
            "backup-reference" => {
                // A text in the manifest, a list of the others in the index.
                let own = section(manifest, "backup").into_iter().find(|(key, _)| *key == "backup-label")?.1;
                let own = own.trim_matches('"');
                let others = value.trim_matches('"').split(',').filter(|label| *label != own);
                format!("[{}]", others.map(|label| format!("\"{label}\"")).collect::<Vec<_>>().join(","))
            }
            _ => value.to_owned(),
        };
        fields.push((key.to_owned(), value));
    }
    for name in
        ["backup-info-repo-size", "backup-info-repo-size-delta", "backup-info-size", "backup-info-size-delta"]
    {
        fields.push((name.to_owned(), "0".to_owned()));
    }
    fields.push(("backup-error".to_owned(), "false".to_owned()));
    let id = section(manifest, "backup:db").into_iter().find(|(key, _)| *key == "db-id")?.1;
    fields.push(("db-id".to_owned(), id.to_owned()));
    let named = [
        "archive-check",
        "archive-copy",
        "backup-standby",
        "checksum-page",
        "compress",
        "hardlink",
        "online",
    ];
    for (key, value) in section(manifest, "backup:option") {
        if key.strip_prefix("option-").is_some_and(|name| named.contains(&name)) {
            fields.push((key.to_owned(), value.to_owned()));
        }
    }
    fields.retain(|(key, value)| !(key == "backup-reference" && value == "[]"));
    fields.sort();
    Some(json(fields.iter()))
}

fn json<'a>(fields: impl Iterator<Item = &'a (String, String)>) -> String {
    let fields: Vec<String> = fields.map(|(key, value)| format!("\"{key}\":{value}")).collect();
    format!("{{{}}}", fields.join(","))
}
