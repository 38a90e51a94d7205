//! The log, as one stream into one session.

use std::{
    fs::File,
    io::{self, BufReader, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    process::Stdio,
};

use futures::{FutureExt, StreamExt, stream};
use jiff::Timestamp;
use tokio::{io::AsyncWriteExt, process::ChildStdin};

use super::{Tools, base::Start, plain, server::Server};
use crate::{
    backup::catalog::{
        binlog::{Applied, Cut, cut},
        decode,
    },
    restore::{Error, Origin, Plan, PlannedLog, Result, child::Running},
};

/// Logs that are fetched ahead of the one that is replayed.
const AHEAD: usize = 2;
/// Bytes that are handed on at a time.
const CHUNK: usize = 256 << 10;
/// Length of a binlog's magic number; a stream of several files has only the first one's.
const MAGIC: u64 = 4;

/// What was replayed.
#[derive(Clone, Debug, Default)]
pub(super) struct Replayed {
    pub transactions: u64,
    pub last_commit: Option<Timestamp>,
    /// Where `MariaDB` stands now, one GTID a domain.
    pub position: Option<String>,
}

/// Replays the log on top of the bases, to the place that the plan's moment means.
///
/// # Errors
/// [`Error::Damaged`] for a log that can't be read, [`Error::Tool`] for a program that failed.
pub(super) async fn replay(
    plan: &Plan,
    origin: &Origin,
    (start, scratch): (Option<Start>, &Path),
    (tools, server): (&Tools, &Server),
) -> Result<Replayed> {
    let Some(first) = plan.logs.first() else { return Ok(Replayed::default()) };
    let start = start.ok_or_else(|| {
        Error::Unusable(
            "the base doesn't say where the log goes on (it has no xtrabackup_binlog_info)".to_owned(),
        )
    })?;
    let mut state = State { applied: start.applied(&first.name)?, replayed: Replayed::default() };
    // Opened with the first transaction: a stream that holds none is an error to the tool.
    let mut session = Lazy { tools, server, open: None };
    let fetched = plan.logs.iter().enumerate();
    let fetched = fetched
        .map(|(at, log)| fetch(origin.clone(), log.clone(), scratch.join(format!("log-{at}"))).boxed());
    let mut fetched = stream::iter(fetched.collect::<Vec<_>>()).buffered(AHEAD);
    while let Some(log) = fetched.next().await {
        let (log, path) = log?;
        let over = state.take(&log, &path, plan.time_point, &mut session).await;
        std::fs::remove_file(&path).map_err(Error::file(&path))?;
        match over {
            Ok(false) => {}
            Ok(true) => break,
            // A program that ended is what broke the pipe: its words say why.
            Err(error) => return Err(session.close().await.err().unwrap_or(error)),
        }
    }
    session.close().await?;
    state.replayed.position = match &state.applied {
        Applied::Gtids(gtids) => gtids.position(),
        Applied::Before(_) => None,
    };
    Ok(state.replayed)
}

struct State {
    applied: Applied,
    replayed: Replayed,
}

impl State {
    /// Replays what of a log belongs to the moment. True when the rest is too late.
    async fn take(
        &mut self,
        log: &PlannedLog,
        path: &Path,
        until: Timestamp,
        session: &mut Lazy<'_>,
    ) -> Result<bool> {
        let (file, mut applied) = (path.to_owned(), self.applied.clone());
        let cut = tokio::task::spawn_blocking(move || {
            let input = File::open(&file)?;
            let cut = cut(BufReader::with_capacity(CHUNK, input), &mut applied, until)?;
            Ok((cut, applied))
        });
        let cut = cut.await.map_err(|error| Error::Broken(error.to_string()))?;
        let damaged = |cause: String| Error::Damaged { key: log.object.key.clone(), cause };
        let (cut, applied) =
            cut.map_err(|error: crate::backup::catalog::binlog::Unreadable| damaged(error.to_string()))?;
        if let Some(at) = cut.lost_events {
            return Err(damaged(format!(
                "at byte {at} the source's server noted that it lost events: what follows can't be replayed; choose an earlier moment, or one after the next full backup"
            )));
        }
        session.feed(&cut, path).await?;
        self.applied = applied;
        self.replayed.transactions += cut.transactions;
        self.replayed.last_commit = cut.last_commit.or(self.replayed.last_commit);
        tracing::debug!(log = log.name, transactions = cut.transactions, "replayed");
        Ok(cut.too_late.is_some())
    }
}

/// Fetches a log and unpacks it into the scratch folder.
async fn fetch(origin: Origin, log: PlannedLog, path: PathBuf) -> Result<(PlannedLog, PathBuf)> {
    let packing = decode::split(&log.object.key).1;
    let (to, key) = (path.clone(), log.object.key.clone());
    let unpacked = origin.read(&log.object, move |input| {
        let mut file = File::create(&to).map_err(Error::file(&to))?;
        io::copy(&mut decode::unpack(packing, input), &mut file).map_err(|source| match source.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
                Error::Damaged { key, cause: source.to_string() }
            }
            _ => Error::File { path: key, source },
        })
    });
    unpacked.await?;
    Ok((log, path))
}

/// A session, once there is something for it.
struct Lazy<'a> {
    tools: &'a Tools,
    server: &'a Server,
    open: Option<Session>,
}

impl Lazy<'_> {
    /// Hands on what of a log is to be replayed, after its head.
    async fn feed(&mut self, cut: &Cut, path: &Path) -> Result<()> {
        if cut.spans.is_empty() {
            return Ok(());
        }
        let begin = if self.open.is_some() { MAGIC } else { 0 };
        let session = match &mut self.open {
            Some(session) => session,
            none => none.insert(Session::open(self.tools, self.server)?),
        };
        for (from, to) in std::iter::once((begin, cut.head)).chain(cut.spans.iter().copied()) {
            session.feed(path, from, to).await?;
        }
        Ok(())
    }

    async fn close(self) -> Result<()> {
        match self.open {
            Some(session) => session.close().await,
            None => Ok(()),
        }
    }
}

/// `mariadb-binlog` into `mariadb`: both ends are ours to look at.
struct Session {
    binlog: Running,
    client: Running,
    input: ChildStdin,
}

impl Session {
    fn open(tools: &Tools, server: &Server) -> Result<Self> {
        let mut binlog = plain(&tools.binlog);
        binlog.args(["--no-defaults", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut binlog = Running::start(&mut binlog)?;
        let broken = || Error::Broken("a pipe that was asked for is missing".to_owned());
        let input = binlog.child.stdin.take().ok_or_else(broken)?;
        let output = binlog.child.stdout.take().ok_or_else(broken)?;
        let output: Stdio = output.try_into().map_err(|error: io::Error| Error::Broken(error.to_string()))?;
        let mut client = server.client(tools);
        client.stdin(output).stdout(Stdio::null());
        Ok(Self { client: Running::start(&mut client)?, binlog, input })
    }

    /// Hands on a stretch of a file.
    async fn feed(&mut self, path: &Path, from: u64, to: u64) -> Result<()> {
        let mut file = File::open(path).map_err(Error::file(path))?;
        file.seek(SeekFrom::Start(from)).map_err(Error::file(path))?;
        let mut rest = file.take(to - from);
        let mut buffer = vec![0; CHUNK];
        loop {
            let count = rest.read(&mut buffer).map_err(Error::file(path))?;
            if count == 0 {
                return Ok(());
            }
            self.input.write_all(&buffer[..count]).await.map_err(|error| Error::Broken(error.to_string()))?;
        }
    }

    /// The stream is over: both programs must say that all of it went well.
    async fn close(self) -> Result<()> {
        drop(self.input);
        let (binlog, client) = tokio::join!(self.binlog.done(), self.client.done());
        // A client that gave up breaks the other's pipe: its own words are the cause.
        client.and(binlog)
    }
}
