//! What a volume says of the restore that filled it.
//!
//! A pod that has finished may still be followed by another: it was killed before it could say so. That one must not
//! empty what the first has filled, and what may be served already.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Error, Reached, Result};

const FILE: &str = "farshore-restored.json";

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Finished {
    /// The attempt: hash of its task.
    attempt: String,
    reached: Reached,
}

/// What this very attempt reached, if an earlier pod of it has finished.
///
/// # Errors
/// [`Error::File`] for a volume that can't be read: then nothing may be emptied.
pub fn finished(volume: &Path, attempt: &str) -> Result<Option<Reached>> {
    let path = volume.join(FILE);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::file(&path)(error)),
    };
    // What can't be read was not written to its end: the attempt was not finished.
    let found = serde_json::from_str::<Finished>(&text).ok().filter(|found| found.attempt == attempt);
    Ok(found.map(|found| found.reached))
}

/// Notes that an attempt has finished, before anybody is told.
///
/// # Errors
/// [`Error::File`].
pub fn note_finished(volume: &Path, attempt: &str, reached: &Reached) -> Result<()> {
    let path = volume.join(FILE);
    let finished = Finished { attempt: attempt.to_owned(), reached: reached.clone() };
    let text = serde_json::to_string(&finished).map_err(|error| Error::Broken(error.to_string()))?;
    std::fs::write(&path, text).map_err(Error::file(&path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b08_only_the_very_attempt_that_filled_a_volume_finds_itself_finished() {
        let volume = tempfile::tempdir().unwrap();
        let reached = Reached {
            time_point: jiff::Timestamp::UNIX_EPOCH,
            last_commit: None,
            transactions: 7,
            bytes: 9,
            answers: vec!["1".to_owned()],
        };
        assert_eq!(finished(volume.path(), "one").unwrap(), None);
        note_finished(volume.path(), "one", &reached).unwrap();
        assert_eq!(finished(volume.path(), "one").unwrap(), Some(reached));
        assert_eq!(finished(volume.path(), "two").unwrap(), None, "another attempt starts clean");
        std::fs::write(volume.path().join(FILE), "{\"attempt\": \"one\"").unwrap();
        assert_eq!(finished(volume.path(), "one").unwrap(), None);
    }
}
