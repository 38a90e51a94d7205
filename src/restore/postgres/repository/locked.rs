//! Encrypted repositories: whether there is a key, and whether it fits.
//!
//! pgBackRest encrypts its index with the passphrase, and all else with keys that lie in its indexes.

use tokio::process::Command;

use super::label;
use crate::{
    backup::reader::collect,
    restore::{Error, Plan, Result, child},
    store::{GetOptions, ObjectStore},
};

/// How every encrypted file begins.
const MAGIC: &[u8] = b"Salted__";
/// How every index begins.
const INDEX: &[u8] = b"[backrest]";

/// True for the content of an encrypted file.
pub(super) fn is_encrypted(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

/// True where a plan reads backups of an encrypted repository of pgBackRest: restoring them needs its passphrase.
///
/// # Errors
/// When the store fails.
pub async fn is_locked(store: &dyn ObjectStore, prefix: &str, plan: &Plan) -> Result<bool> {
    let of_repository = plan.bases.last().filter(|base| label(base).is_some());
    let Some(key) = of_repository.and_then(|base| base.base.keys.commit.as_ref()) else { return Ok(false) };
    // An object that is shorter gives what it has.
    let range = Some((0, MAGIC.len() as u64 - 1));
    let options = GetOptions { range, ..GetOptions::default() };
    let got = async { collect(store.get(&format!("{prefix}{key}"), &options).await?.body).await }.await;
    Ok(is_encrypted(&got.map_err(Error::store)?))
}

/// What is said where there is no key. `place` is where one would be named.
#[must_use]
pub fn no_key(plan: &Plan, place: &str) -> Error {
    let stanza = plan.bases.last().and_then(label).map_or("", |label| label.stanza);
    Error::Locked(format!(
        "the pgBackRest repository of stanza {stanza} is encrypted, and {place} names no Secret with its passphrase (repo1-cipher-pass of the source's pgBackRest); set it"
    ))
}

/// Opens an index or a manifest of the repository.
///
/// # Errors
/// [`Error::Locked`] when the passphrase doesn't fit.
pub(super) async fn open(
    command: std::process::Command,
    (stanza, file): (&str, &str),
    place: &str,
) -> Result<String> {
    let mut command = Command::from(command);
    let (text, said, well) = child::feed(command.args(["repo-get", file]), b"").await?;
    // Of 256 wrong keys, one gives something.
    if well && text.starts_with(INDEX) {
        return Ok(String::from_utf8_lossy(&text).into_owned());
    }
    Err(Error::Locked(format!(
        "the passphrase of {place} does not open {file} of the pgBackRest repository of stanza {stanza} ({}): give the one that the source's pgBackRest has as repo1-cipher-pass",
        if said.is_empty() { "it gives no index" } else { &said }
    )))
}

/// Writes an index, encrypted as the others are.
pub(super) async fn save(command: std::process::Command, file: &str, text: &str) -> Result<()> {
    let mut command = Command::from(command);
    let (_, said, well) = child::feed(command.args(["repo-put", file]), text.as_bytes()).await?;
    if well {
        return Ok(());
    }
    let status = format!("{file} can't be written");
    Err(Error::Tool { program: "pgbackrest".to_owned(), status, said })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b14_an_encrypted_file_is_told_by_its_beginning() {
        assert!(is_encrypted(b"Salted__12345678..."));
        assert!(!is_encrypted(b"[backrest]\n") && !is_encrypted(b"Salted"));
    }
}
