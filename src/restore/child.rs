//! The database's own programs.

use std::{
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    process::{Child, Command},
    task::JoinHandle,
};

use super::{Error, Result};

/// Bytes of a program's last words that are kept.
const WORDS: usize = 2048;
/// The same of one that writes a log, in which what went wrong is followed by how it ended.
const LOG: usize = 64 << 10;

/// The first of these programs that the image has.
///
/// # Errors
/// [`Error::NoTool`] with all names.
pub(super) fn tool(names: &[&str]) -> Result<PathBuf> {
    tool_in(None, names)
}

/// The same, from this folder if it has one of them.
///
/// # Errors
/// [`Error::NoTool`] with all names.
pub(super) fn tool_in(folder: Option<&Path>, names: &[&str]) -> Result<PathBuf> {
    let ours = names.iter().filter_map(|name| Some(folder?.join(name)));
    if let Some(file) = ours.into_iter().find(|file| file.is_file()) {
        return Ok(file);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Images keep servers in folders that are not in every PATH.
    let folders: Vec<PathBuf> = std::env::split_paths(&path)
        .chain(
            ["/usr/sbin", "/usr/local/sbin", "/usr/libexec", "/usr/local/bin", "/usr/bin"].map(PathBuf::from),
        )
        .collect();
    let found =
        names.iter().find_map(|name| folders.iter().map(|f| f.join(name)).find(|file| file.is_file()));
    found.ok_or_else(|| Error::NoTool(names.join(", ")))
}

/// A program that runs, whose last words are kept.
pub(super) struct Running {
    program: String,
    pub child: Child,
    words: JoinHandle<String>,
}

impl Running {
    /// Starts a program; it ends with us.
    pub fn start(command: &mut Command) -> Result<Self> {
        let program = name_of(command);
        let mut child = command
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|source| Error::File { path: program.clone(), source })?;
        let words = tokio::spawn(end_of(child.stderr.take(), WORDS));
        Ok(Self { program, child, words })
    }

    /// The same of a server that writes its log to its standard output. The log's end is among its last words.
    pub fn start_logging(command: &mut Command) -> Result<Self> {
        let Self { program, mut child, words } =
            Self::start(command.stdin(Stdio::null()).stdout(Stdio::piped()))?;
        let log = end_of(child.stdout.take(), LOG);
        let words = tokio::spawn(async move {
            let (log, complaints) = tokio::join!(log, words);
            format!("{log}\n{}", complaints.unwrap_or_default()).trim().to_owned()
        });
        Ok(Self { program, child, words })
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// [`Error::Tool`] unless it ended well.
    pub async fn done(mut self) -> Result<()> {
        let status = self.child.wait().await.map_err(|error| Error::Broken(error.to_string()))?;
        self.judge(status).await
    }

    /// Its end, if it has ended already: a server that should run.
    pub async fn ended(&mut self) -> Option<Error> {
        let status = self.child.try_wait().ok().flatten()?;
        let said = (&mut self.words).await.unwrap_or_default();
        Some(Error::Tool { program: self.program.clone(), status: status.to_string(), said })
    }

    async fn judge(self, status: ExitStatus) -> Result<()> {
        if status.success() {
            return Ok(());
        }
        let said = self.words.await.unwrap_or_default();
        Err(Error::Tool { program: self.program, status: status.to_string(), said })
    }
}

/// Runs a program to its end.
pub(super) async fn run(command: &mut Command) -> Result<()> {
    Running::start(command.stdin(Stdio::null()).stdout(Stdio::null()))?.done().await
}

/// Runs a program on an input; answers its output, its words, and whether it ended well.
pub(super) async fn feed(command: &mut Command, input: &[u8]) -> Result<(Vec<u8>, String, bool)> {
    let broken = |error: std::io::Error| Error::Broken(error.to_string());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().map_err(Error::file(Path::new(command.as_std().get_program())))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that gives up says why itself.
        stdin.write_all(input).await.ok();
    }
    let output = child.wait_with_output().await.map_err(broken)?;
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Ok((output.stdout, said, output.status.success()))
}

fn name_of(command: &Command) -> String {
    let program = Path::new(command.as_std().get_program());
    program.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The end of what a program says.
async fn end_of(stream: Option<impl AsyncRead + Unpin>, most: usize) -> String {
    let Some(mut stream) = stream else { return String::new() };
    let (mut kept, mut buffer) = (Vec::new(), [0; 4096]);
    while let Ok(count) = stream.read(&mut buffer).await {
        if count == 0 {
            break;
        }
        kept.extend_from_slice(&buffer[..count]);
        let surplus = kept.len().saturating_sub(most);
        kept.drain(..surplus);
    }
    String::from_utf8_lossy(&kept).trim().to_owned()
}
