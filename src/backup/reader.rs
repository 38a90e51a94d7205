//! Looks into objects for an adapter: the I/O that catalogs leave out.
//!
//! Everything is read as a stream with bounded memory; what was learned of an object is kept in
//! [`Answers`] by key and ETag, so nothing is read twice.

use std::{collections::HashMap, io, io::Read, sync::Arc};

use bytes::{Buf, Bytes, BytesMut};
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use tokio::sync::mpsc;

use super::{
    Error, Result,
    catalog::{
        Adapter, Answer, Answers, Catalog, MAX_FILE, Object, START, Scan, What, binlog, decode, dump,
        gtid::Gtids, mssql, wal, xbstream,
    },
};
use crate::store::{self, ByteStream, GetOptions, ObjectStore, Side};

/// Heads are looked for in the first bytes: so many, then so many.
const HEADS: [u64; 3] = [4 << 10, 64 << 10, 1 << 20];
/// Rounds after which an adapter that still needs something is at fault.
const MAX_ROUNDS: usize = 12;
/// Objects looked into at once; each holds at most a decoder's window (8 MiB) and a few chunks.
const PARALLEL: usize = 2;

/// How much may be read to learn something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Depth {
    /// Largest log that is read to its end.
    pub log_bytes: u64,
    /// Largest base that is read for what it says about itself.
    pub base_bytes: u64,
}

impl Depth {
    /// Reads whatever is needed: for a store nearby.
    pub const ALL: Self = Self { log_bytes: u64::MAX, base_bytes: u64::MAX };
    /// Reads heads and small files only: for a store far away.
    pub const HEADS: Self = Self { log_bytes: 0, base_bytes: 0 };
}

/// Looks into objects under a prefix of a bucket.
#[derive(Clone, Debug)]
pub struct Reader {
    pub store: Arc<dyn ObjectStore>,
    pub prefix: String,
    pub side: Side,
    pub depth: Depth,
}

impl Reader {
    /// Runs an adapter to its catalog, reading what it wants and `answers` do not hold yet.
    ///
    /// # Errors
    /// [`Error::Store`] when the store fails. What an object holds is never an error: a file that can't
    /// be understood is answered as unreadable.
    pub async fn scan(&self, adapter: &mut dyn Adapter, answers: &mut Answers) -> Result<Catalog> {
        for _ in 0..MAX_ROUNDS {
            let wants = match adapter.scan(answers) {
                Scan::Done(catalog) => return Ok(catalog),
                Scan::Need(wants) => wants,
            };
            // All about one object together: one reading may answer several wants.
            let mut grouped: Vec<(Object, Vec<What>)> = Vec::new();
            let mut at: HashMap<(String, String), usize> = HashMap::new();
            for want in wants {
                let key = (want.object.key.clone(), want.object.etag.0.clone());
                let slot = *at.entry(key).or_insert_with(|| {
                    grouped.push((want.object.clone(), Vec::new()));
                    grouped.len() - 1
                });
                grouped[slot].1.push(want.what);
            }
            let looks = grouped.into_iter().map(|(object, whats)| self.look_at(object, whats).boxed());
            let mut found = stream::iter(looks.collect::<Vec<_>>()).buffer_unordered(PARALLEL);
            while let Some((object, learned)) = found.try_next().await? {
                for (what, answer) in learned {
                    answers.put(&object.key, &object.etag, what, answer);
                }
            }
        }
        Err(Error::Stuck(std::time::Duration::ZERO))
    }

    async fn look_at(&self, object: Object, whats: Vec<What>) -> Result<(Object, Vec<(What, Answer)>)> {
        let learned = self.look(&object, &whats).await?;
        Ok((object, learned))
    }

    async fn look(&self, object: &Object, whats: &[What]) -> Result<Vec<(What, Answer)>> {
        let mut learned = Vec::new();
        for &what in whats {
            if learned.iter().any(|(of, _)| *of == what) {
                continue;
            }
            let found = match what {
                What::Whole => self.whole(object).await.map(|answer| vec![(what, answer)]),
                What::BackupHeader | What::BlobIndex | What::GtidSet => {
                    self.small(object, what).await.map(|answer| vec![(what, answer)])
                }
                What::BinlogHead => self.head(object).await.map(|answer| vec![(what, answer)]),
                What::BinlogTail | What::WalCommits if object.size > self.depth.log_bytes => {
                    Ok(vec![(what, Answer::Withheld)])
                }
                What::BinlogTail => self.tail(object).await,
                What::BackupInfo if object.size > self.depth.base_bytes => Ok(vec![(what, Answer::Withheld)]),
                What::BackupInfo => self.info(object).await.map(|answer| vec![(what, answer)]),
                What::DumpHead => self.dump_head(object).await.map(|answer| vec![(what, answer)]),
                What::Start => self.start(object).await.map(|answer| vec![(what, answer)]),
                What::WalCommits => self.commits(object).await.map(|answer| vec![(what, answer)]),
            };
            match found {
                Ok(answers) => learned.extend(answers),
                Err(store::Error::NotFound(_) | store::Error::Changed(_)) => {
                    learned.push((what, Answer::Gone));
                }
                Err(source) => return Err(Error::Store { side: self.side, source }),
            }
        }
        Ok(learned)
    }

    async fn open(&self, object: &Object, last: Option<u64>) -> store::Result<ByteStream> {
        let key = format!("{}{}", self.prefix, object.location());
        let range = last.map(|last| (0, last.min(object.size.saturating_sub(1))));
        // At the target, an object may have another tag than the one it is known by.
        let if_match = (self.side == Side::Source).then(|| object.etag.clone());
        let options = GetOptions { range, if_match, ..GetOptions::default() };
        Ok(self.store.get(&key, &options).await?.body)
    }

    async fn whole(&self, object: &Object) -> store::Result<Answer> {
        if object.size > MAX_FILE {
            return Ok(Answer::Unreadable(format!("{} bytes are too many for such a file", object.size)));
        }
        Ok(Answer::Whole(collect(self.open(object, None).await?).await?))
    }

    async fn small(&self, object: &Object, what: What) -> store::Result<Answer> {
        let answer = self.whole(object).await?;
        let Answer::Whole(bytes) = &answer else { return Ok(answer) };
        let read = match what {
            What::BackupHeader => {
                mssql::read_header(bytes).map(|header| Answer::BackupHeader(Box::new(header)))
            }
            What::BlobIndex => mssql::read_blob(bytes).map(Answer::Blob),
            What::GtidSet => Gtids::parse(&String::from_utf8_lossy(bytes).replace('\n', ""))
                .map(Answer::Gtids)
                .ok_or_else(|| "not a set of GTIDs".to_owned()),
            _ => Ok(answer),
        };
        Ok(read.unwrap_or_else(Answer::Unreadable))
    }

    async fn start(&self, object: &Object) -> store::Result<Answer> {
        let last = (object.size > START).then_some(START - 1);
        Ok(Answer::Whole(collect(self.open(object, last).await?).await?))
    }

    async fn head(&self, object: &Object) -> store::Result<Answer> {
        for length in HEADS {
            let whole = length >= object.size;
            let body = collect(self.open(object, (!whole).then_some(length - 1)).await?).await?;
            let packing = decode::split(&object.key).1;
            match binlog::read_head(decode::unpack(packing, Box::new(body.reader()))) {
                Ok(head) => return Ok(Answer::Head(head)),
                // What is cut off looks damaged in several ways.
                Err(_) if !whole => {}
                Err(error) => return Ok(Answer::Unreadable(error.to_string())),
            }
        }
        Ok(Answer::Unreadable("its head is not in the first MiB".to_owned()))
    }

    async fn dump_head(&self, object: &Object) -> store::Result<Answer> {
        let packing = decode::split(&object.key).1;
        for length in HEADS {
            let whole = length >= object.size;
            let body = collect(self.open(object, (!whole).then_some(length - 1)).await?).await?;
            // Where it can't be unpacked, whoever restores it must know what it is.
            match dump::read_head(decode::unpack(packing, Box::new(body.reader()))) {
                Ok(head) => return Ok(Answer::Dump(head)),
                Err(_) if !whole => {}
                Err(_) => break,
            }
        }
        Ok(Answer::Dump(None))
    }

    async fn tail(&self, object: &Object) -> store::Result<Vec<(What, Answer)>> {
        let packing = decode::split(&object.key).1;
        let read =
            self.read_through(object, move |input| binlog::read_all(decode::unpack(packing, input))).await?;
        Ok(match read {
            Ok((head, tail)) => {
                vec![(What::BinlogTail, Answer::Tail(tail)), (What::BinlogHead, Answer::Head(head))]
            }
            Err(error) => vec![(What::BinlogTail, Answer::Unreadable(error.to_string()))],
        })
    }

    async fn info(&self, object: &Object) -> store::Result<Answer> {
        let packing = decode::split(&object.key).1;
        let read = self
            .read_through(object, move |input| xbstream::read_info(decode::unpack(packing, input)))
            .await?;
        Ok(match read {
            Ok(info) => Answer::Info(info),
            Err(error) => Answer::Unreadable(error.to_string()),
        })
    }

    async fn commits(&self, object: &Object) -> store::Result<Answer> {
        let packing = decode::split(&object.key).1;
        let read =
            self.read_through(object, move |input| wal::read_commits(decode::unpack(packing, input))).await?;
        Ok(match read {
            Ok(commits) => Answer::Commits(commits),
            Err(error) => Answer::Unreadable(error.to_string()),
        })
    }

    /// Streams an object through a blocking reader. The outer error is the store's, the inner one the
    /// file's: a transfer that broke must not look like a damaged file.
    async fn read_through<T, F>(
        &self,
        object: &Object,
        read: F,
    ) -> store::Result<Result<T, binlog::Unreadable>>
    where
        T: Send + 'static,
        F: FnOnce(Box<dyn Read>) -> Result<T, binlog::Unreadable> + Send + 'static,
    {
        let mut body = self.open(object, None).await?;
        let (chunks, receiver) = mpsc::channel(2);
        let reading = tokio::task::spawn_blocking(move || {
            read(Box::new(ChannelReader { receiver, current: Bytes::new() }))
        });
        let mut broken = None;
        while let Some(chunk) = body.next().await {
            match chunk {
                Ok(chunk) => {
                    // The reader has seen enough, or given up.
                    if chunks.send(chunk).await.is_err() {
                        break;
                    }
                }
                Err(error) => {
                    broken = Some(error);
                    break;
                }
            }
        }
        drop(chunks);
        let read = reading.await.unwrap_or_else(|error| Err(io::Error::other(error).into()));
        match broken {
            Some(error) => Err(error),
            None => Ok(read),
        }
    }
}

/// Gathers a body that is known to be small.
pub(crate) async fn collect(mut body: ByteStream) -> store::Result<Bytes> {
    let mut all = BytesMut::new();
    while let Some(chunk) = body.next().await {
        all.extend_from_slice(&chunk?);
    }
    Ok(all.freeze())
}

/// The blocking end of a channel of chunks.
struct ChannelReader {
    receiver: mpsc::Receiver<Bytes>,
    current: Bytes,
}

impl Read for ChannelReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.receiver.blocking_recv() {
                Some(chunk) => self.current = chunk,
                None => return Ok(0),
            }
        }
        let count = self.current.len().min(buffer.len());
        self.current.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}
