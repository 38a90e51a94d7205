//! Who we are to a store: fixed keys, nobody, or files that a Kubernetes Secret is mounted as.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use super::{Error, Result};

const ACCESS_KEY: &str = "AWS_ACCESS_KEY_ID";
const SECRET_KEY: &str = "AWS_SECRET_ACCESS_KEY";
const SESSION_TOKEN: &str = "AWS_SESSION_TOKEN";

/// Text that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes a text out of sight.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for signing.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A key pair, with a token where it is a temporary one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    pub access_key: String,
    pub secret_key: Secret,
    pub session_token: Option<Secret>,
}

/// Where the keys of a store come from. Clones share what was read.
#[derive(Clone, Debug)]
pub struct Credentials(Source);

#[derive(Clone, Debug)]
enum Source {
    Anonymous,
    Fixed(Keys),
    Files { directory: PathBuf, keys: Arc<RwLock<Keys>> },
}

impl Credentials {
    /// Requests are not signed.
    #[must_use]
    pub fn anonymous() -> Self {
        Self(Source::Anonymous)
    }

    /// Keys that never change.
    #[must_use]
    pub fn fixed(access_key: impl Into<String>, secret_key: impl Into<String>) -> Self {
        let (access_key, secret_key) = (access_key.into(), Secret::new(secret_key));
        Self(Source::Fixed(Keys { access_key, secret_key, session_token: None }))
    }

    /// Keys that never change, and hold with a token only.
    #[must_use]
    pub fn temporary(
        access_key: impl Into<String>,
        secret_key: impl Into<String>,
        session_token: impl Into<String>,
    ) -> Self {
        let (access_key, secret_key) = (access_key.into(), Secret::new(secret_key));
        Self(Source::Fixed(Keys { access_key, secret_key, session_token: Some(Secret::new(session_token)) }))
    }

    /// Keys in files `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and, where temporary,
    /// `AWS_SESSION_TOKEN` of a directory, as a Secret is mounted. Read at once, and again when
    /// the store refuses them.
    ///
    /// # Errors
    /// [`Error::CredentialsMissing`] names the file that is missing or empty.
    pub fn files(directory: impl Into<PathBuf>) -> Result<Self> {
        let directory = directory.into();
        let keys = Arc::new(RwLock::new(read_keys(&directory)?));
        Ok(Self(Source::Files { directory, keys }))
    }

    /// The keys to sign with; `None` = don't sign.
    #[must_use]
    pub fn current(&self) -> Option<Keys> {
        match &self.0 {
            Source::Anonymous => None,
            Source::Fixed(keys) => Some(keys.clone()),
            Source::Files { keys, .. } => Some(keys.read().unwrap_or_else(PoisonError::into_inner).clone()),
        }
    }

    /// Reads the files again; true when the keys are others than `refused`.
    ///
    /// # Errors
    /// [`Error::CredentialsMissing`] when a file has gone meanwhile.
    pub(crate) fn renew(&self, refused: Option<&Keys>) -> Result<bool> {
        let Source::Files { directory, keys } = &self.0 else { return Ok(false) };
        let read = read_keys(directory)?;
        let differs = refused != Some(&read);
        *keys.write().unwrap_or_else(PoisonError::into_inner) = read;
        Ok(differs)
    }
}

fn read_keys(directory: &Path) -> Result<Keys> {
    let session_token = match read_key(directory, SESSION_TOKEN) {
        Ok(token) => Some(Secret(token)),
        Err(_) if !directory.join(SESSION_TOKEN).exists() => None,
        Err(error) => return Err(error),
    };
    Ok(Keys {
        access_key: read_key(directory, ACCESS_KEY)?,
        secret_key: Secret(read_key(directory, SECRET_KEY)?),
        session_token,
    })
}

/// A Secret made by hand often ends in a newline, which no key has.
fn read_key(directory: &Path, name: &'static str) -> Result<String> {
    let file = directory.join(name);
    let missing = |cause: String| Error::CredentialsMissing { key: name, file: file.clone(), cause };
    let text = std::fs::read_to_string(&file).map_err(|e| missing(e.to_string()))?;
    match text.trim() {
        "" => Err(missing("it is empty".to_owned())),
        key => Ok(key.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(directory: &Path, name: &str, text: &str) {
        std::fs::write(directory.join(name), text).unwrap();
    }

    #[test]
    fn a_missing_file_is_named_with_the_next_step() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), ACCESS_KEY, "id\n");
        let message = Credentials::files(dir.path()).unwrap_err().to_string();
        assert!(message.contains(SECRET_KEY) && message.contains("add it to the Secret"), "{message}");
    }

    #[test]
    fn files_are_read_again_and_only_a_change_counts() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), ACCESS_KEY, "id\n");
        write(dir.path(), SECRET_KEY, "old");
        let credentials = Credentials::files(dir.path()).unwrap();
        let old = credentials.current().unwrap();
        assert_eq!(old.access_key, "id");
        assert!(!credentials.renew(Some(&old)).unwrap());
        write(dir.path(), SECRET_KEY, "new");
        assert!(credentials.renew(Some(&old)).unwrap());
        assert_eq!(credentials.current().unwrap().secret_key.reveal(), "new");
    }

    #[test]
    fn secrets_do_not_print() {
        let printed = format!("{:?}", Credentials::fixed("id", "hush"));
        assert!(!printed.contains("hush"), "{printed}");
    }
}
