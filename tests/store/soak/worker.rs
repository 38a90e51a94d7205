//! Keeps a worker running, as the controller does: what it says is noted, and the next one knows just that.

use std::{
    process::Stdio,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::{Child, ChildStdin, Command},
    sync::{Notify, watch},
};

use super::child::{MARK, Noted, ORDER, Order, Said};

/// What was noted and counted so far.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub noted: Option<Noted>,
    /// When the last complete comparison began.
    pub compared: Option<Timestamp>,
    pub comparisons: u64,
    pub copied: u64,
    pub deleted: u64,
    /// Changes that the feed lost.
    pub lost: u64,
    pub workers: u64,
    pub killed: u64,
    /// Since when the worker that runs hears of changes.
    pub listens_since: Option<Instant>,
    pub failures: Vec<String>,
}

/// A worker's life, process after process, until this is dropped.
#[derive(Debug)]
pub struct Worker {
    seen: watch::Receiver<Seen>,
    kill: Arc<Notify>,
    pause: Arc<Mutex<Duration>>,
    task: tokio::task::JoinHandle<()>,
}

impl Worker {
    /// `test`: the name of a test that does an [`Order`] when its environment has one.
    pub fn keep(test: &'static str, order: Order) -> Self {
        let (show, seen) = watch::channel(Seen { noted: order.noted.clone(), ..Seen::default() });
        let (kill, pause) = (Arc::new(Notify::new()), Arc::new(Mutex::new(Duration::ZERO)));
        let task = tokio::spawn(keep(test, order, show, Arc::clone(&kill), Arc::clone(&pause)));
        Self { seen, kill, pause, task }
    }

    /// `kill -9`; the next one comes after a pause.
    pub async fn is_killed_for(&self, pause: Duration) {
        let killed = self.seen().killed;
        *self.pause.lock().unwrap() = pause;
        self.kill.notify_one();
        self.until("be killed", |seen| seen.killed > killed).await;
    }

    pub fn seen(&self) -> Seen {
        self.seen.borrow().clone()
    }

    /// Waits until something was seen.
    pub async fn until(&self, what: &str, holds: impl FnMut(&Seen) -> bool) -> Seen {
        let mut seen = self.seen.clone();
        let wait = tokio::time::timeout(Duration::from_mins(3), seen.wait_for(holds));
        let waited = wait.await.map(|seen| seen.expect("it is kept running").clone());
        waited.unwrap_or_else(|_| panic!("the worker was to {what}: {:#?}", self.seen()))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn keep(
    test: &'static str,
    mut order: Order,
    show: watch::Sender<Seen>,
    kill: Arc<Notify>,
    pause: Arc<Mutex<Duration>>,
) {
    loop {
        order.noted.clone_from(&show.borrow().noted);
        let mut child = spawn(test, &order);
        let mut answers = child.stdin.take().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        show.send_modify(|seen| seen.workers += 1);
        let mut killed = false;
        // What it wrote before it died is written.
        loop {
            tokio::select! {
                line = lines.next_line() => match line.unwrap() {
                    Some(line) => hear(&line, &show, &mut answers).await,
                    None => break,
                },
                () = kill.notified(), if !killed => {
                    child.start_kill().unwrap();
                    killed = true;
                }
            }
        }
        child.wait().await.unwrap();
        show.send_modify(|seen| {
            seen.killed += u64::from(killed);
            seen.listens_since = None;
        });
        let pause = if killed { *pause.lock().unwrap() } else { Duration::from_millis(500) };
        tokio::time::sleep(pause).await;
    }
}

fn spawn(test: &str, order: &Order) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--include-ignored"])
        .env(ORDER, serde_json::to_string(order).unwrap())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

async fn hear(line: &str, show: &watch::Sender<Seen>, answers: &mut ChildStdin) {
    let Some((_, said)) = line.split_once(MARK) else { return };
    // The last line of one that was killed may be half a line.
    let Ok(said) = serde_json::from_str::<Said>(said) else { return };
    let mut answer = None;
    show.send_modify(|seen| answer = note(seen, said));
    if let Some(answer) = answer {
        // Killed meanwhile: the answer is for nobody.
        answers.write_all(answer.as_bytes()).await.ok();
    }
}

/// As the role's report does: what is drawn before a comparison was reported has no place there.
fn note(seen: &mut Seen, said: Said) -> Option<&'static str> {
    match said {
        Said::Compared { began, noted, copied, deleted, failed, examples } => {
            seen.noted = Some(noted);
            seen.compared = Some(began);
            seen.comparisons += 1;
            (seen.copied, seen.deleted) = (seen.copied + copied, seen.deleted + deleted);
            if failed > 0 {
                seen.failures.push(format!("{failed} failed in the comparison of {began}: {examples:?}"));
            }
            None
        }
        Said::Drawn { spent } => match &mut seen.noted {
            Some(noted) => {
                noted.spent = Some(spent);
                Some("noted\n")
            }
            None => Some("there is no place for it\n"),
        },
        Said::Lost(0) => {
            seen.listens_since = Some(Instant::now());
            None
        }
        Said::Lost(count) => {
            seen.lost += count;
            None
        }
        Said::Failed { reason, message } => {
            seen.failures.push(format!("{} {reason}: {message}", Timestamp::now()));
            None
        }
        Said::Ended(how) => {
            seen.failures.push(format!("{} ended: {how}", Timestamp::now()));
            None
        }
    }
}
