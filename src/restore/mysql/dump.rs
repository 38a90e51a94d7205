//! A base that is a text of statements: a server of the same kind runs them, while they are fetched.

use std::{
    io::{self, BufRead, BufReader, PipeWriter, Read, Write},
    path::Path,
    process::Stdio,
};

use bytes::Buf as _;

use super::{DATA, Settings, Tools, base::Start, plain, server::Server, write_settings};
use crate::{
    backup::catalog::{Object, decode, dump, gtid::Gtids},
    restore::{
        Error, Origin, Plan, Result, Step,
        child::{self, Running, tool_in},
        error::AtStep,
    },
};

/// Bytes of an object that tell, unpacked, what it is.
const FIRST: u64 = 64 << 10;
/// Bytes that are handed on at a time.
const CHUNK: usize = 256 << 10;
/// The tools' last line; it is missing from a dump that was cut off.
const LAST: &[u8] = b"\n-- Dump completed";
/// Bytes of a dump's end in which the last line is.
const END: usize = 256;

/// The base of a plan, if it is a dump: told by its first bytes.
pub(super) async fn find<'a>(plan: &'a Plan, origin: &Origin) -> Result<Option<&'a Object>> {
    let Some([object]) = plan.bases.first().map(|base| base.objects.as_slice()) else { return Ok(None) };
    let packed = origin.peek(object, FIRST).await?;
    let unpacked = decode::unpack(decode::split(&object.key).1, Box::new(packed.reader()));
    let mut start = Vec::new();
    // What can't be unpacked is said by whoever reads all of it.
    unpacked.take(128).read_to_end(&mut start).ok();
    Ok(dump::is_dump(&start).then_some(object))
}

/// Makes an empty database, and runs the dump in it. Answers where the log goes on; `None` for a dump that doesn't
/// say.
pub(super) async fn bring_back(
    object: &Object,
    origin: &Origin,
    (tools, settings): (&Tools, &Settings),
) -> Result<Option<Start>, AtStep> {
    let server = async {
        initialise(tools, settings).await?;
        write_settings(settings)?;
        Server::start(tools, &settings.volume.join(DATA), settings).await
    };
    let server = server.await.map_err(|error| error.at(Step::Prepare))?;
    let run = async {
        let head = feed(object, origin, server.client(tools)).await?;
        // The accounts are the dump's now, ours is not among them: it is made when the server starts.
        server.shut_down().await?;
        Ok(start(head))
    };
    run.await.map_err(|error: Error| error.at(Step::Fetch))
}

/// An empty data directory.
async fn initialise(tools: &Tools, settings: &Settings) -> Result<()> {
    let data = format!("--datadir={}", settings.volume.join(DATA).display());
    let mut command = if tools.mariadb {
        let program = tool_in(settings.programs.as_deref(), &["mariadb-install-db", "mysql_install_db"])?;
        let mut command = plain(&program);
        command.args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"]);
        command
    } else {
        let mut command = plain(&tools.server);
        command.args(["--no-defaults", "--initialize-insecure", "--secure-file-priv=NULL"]);
        command
    };
    child::run(command.args(&settings.arguments).arg(data)).await
}

/// Hands the dump to a client, as one session; both must say that all of it went well.
async fn feed(object: &Object, origin: &Origin, mut client: tokio::process::Command) -> Result<dump::Head> {
    let (reading, writing) = io::pipe().map_err(Error::file(Path::new("a pipe")))?;
    let running = Running::start(client.stdin(Stdio::from(reading)).stdout(Stdio::null()))?;
    // It holds the reading end too: without this, a client that gave up would leave us waiting.
    drop(client);
    let (packing, key) = (decode::split(&object.key).1, object.key.clone());
    let fed = origin.read(object, move |input| hand_on(decode::unpack(packing, input), writing, &key)).await;
    let done = running.done().await;
    match fed {
        // A client that gave up is what broke the pipe: its words say why.
        Err(Error::File { source, .. }) if source.kind() == io::ErrorKind::BrokenPipe => {
            done.and_then(|()| Err(Error::Broken("the client left before the dump was over".to_owned())))
        }
        Err(error) => Err(error),
        Ok(head) => done.map(|()| head),
    }
}

/// Copies all of a dump, and reads its head on the way.
fn hand_on(input: impl Read, mut client: PipeWriter, key: &str) -> Result<dump::Head> {
    let damaged = |cause: &str| Error::Damaged { key: key.to_owned(), cause: cause.to_owned() };
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
            damaged(&source.to_string())
        }
        _ => Error::File { path: key.to_owned(), source },
    };
    let mut input = BufReader::with_capacity(CHUNK, input);
    let mut first = vec![0; CHUNK];
    let length = fill(&mut input, &mut first).map_err(failed)?;
    first.truncate(length);
    let head = dump::read_head(first.as_slice()).map_err(failed)?;
    let head = head.ok_or_else(|| damaged("it is no dump"))?;
    client.write_all(&first).map_err(failed)?;
    let mut end = tail(first);
    loop {
        let chunk = input.fill_buf().map_err(failed)?;
        if chunk.is_empty() {
            break;
        }
        client.write_all(chunk).map_err(failed)?;
        end.extend_from_slice(&chunk[chunk.len().saturating_sub(END)..]);
        end = tail(end);
        let length = chunk.len();
        input.consume(length);
    }
    if end.windows(LAST.len()).any(|part| part == LAST) {
        return Ok(head);
    }
    Err(damaged("its last line is missing: the dump was cut off when it was taken"))
}

fn tail(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.drain(..bytes.len().saturating_sub(END));
    bytes
}

fn fill(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match input.read(&mut buffer[filled..])? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(filled)
}

fn start(head: dump::Head) -> Option<Start> {
    let gtids = head.gtids.as_deref().and_then(Gtids::parse);
    match (head.file, head.position) {
        (Some(file), Some(position)) => Some(Start { file, position, gtids }),
        _ => gtids.map(|gtids| Start { file: String::new(), position: 0, gtids: Some(gtids) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DUMP: &str = "-- MySQL dump 10.13\n-- CHANGE MASTER TO MASTER_LOG_FILE='b.000002', MASTER_LOG_POS=157;\n-- Current Database: `a`\nINSERT INTO a VALUES (1);\n\n-- Dump completed on 2026-11-21 21:57:01\n";

    fn handed(dump: &str) -> (Result<dump::Head>, String) {
        let (mut reading, writing) = io::pipe().unwrap();
        let text = dump.to_owned();
        let thread = std::thread::spawn(move || hand_on(text.as_bytes(), writing, "stream.zst"));
        let mut all = String::new();
        reading.read_to_string(&mut all).unwrap();
        (thread.join().unwrap(), all)
    }

    #[test]
    fn b08_a_dump_is_handed_on_whole() {
        let rows = "INSERT INTO a VALUES (2);\n".repeat(50_000);
        let long = DUMP.replace("\n\n-- Dump", &format!("\n{rows}\n-- Dump"));
        for dump in [DUMP, &long] {
            let (head, handed) = handed(dump);
            assert_eq!(head.unwrap().file.as_deref(), Some("b.000002"));
            assert!(handed == dump);
        }
    }

    #[test]
    fn b08_a_dump_that_was_cut_off_is_no_base() {
        for cut in [DUMP.len() / 2, DUMP.find("\n-- Dump").unwrap(), 30] {
            let (head, _) = handed(&DUMP[..cut]);
            assert!(matches!(head, Err(Error::Damaged { .. })), "{cut}: {head:?}");
        }
    }
}
