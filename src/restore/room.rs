//! Room for what is restored.

use std::path::Path;

use super::{Error, Result};

/// Empties a volume: whatever an earlier attempt left is not used.
pub(super) fn empty(volume: &Path) -> Result<()> {
    for entry in std::fs::read_dir(volume).map_err(Error::file(volume))? {
        let path = entry.map_err(Error::file(volume))?.path();
        // The file system's own.
        if path.file_name().is_some_and(|name| name == "lost+found") {
            continue;
        }
        let gone = if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
        gone.map_err(Error::file(&path))?;
    }
    Ok(())
}

/// Writes a file that nobody else may read.
pub(super) fn private(path: &Path, text: &str) -> Result<()> {
    use std::{io::Write as _, os::unix::fs::OpenOptionsExt as _};
    let mut options = std::fs::OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes())).map_err(Error::file(path))
}
