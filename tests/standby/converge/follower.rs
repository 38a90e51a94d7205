//! The worker, as a process.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
};

use jiff::Timestamp;
use serde_json::Value;

use crate::secantus::Secantus;

pub struct Follower {
    child: Child,
    report: Arc<Mutex<Value>>,
    log: tempfile::NamedTempFile,
}

impl Follower {
    pub fn start(master: &Secantus, target: &Secantus) -> Self {
        Self::with(&[master.uri(), target.uri(), "--json".to_owned()])
    }

    /// `farshore follow …`
    pub fn with<T: AsRef<std::ffi::OsStr>>(arguments: &[T]) -> Self {
        let log = tempfile::NamedTempFile::new().unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_farshore"))
            .arg("follow")
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(log.reopen().unwrap())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let report = Arc::new(Mutex::new(Value::Null));
        let newest = Arc::clone(&report);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                *newest.lock().unwrap() = serde_json::from_str(&line).unwrap();
            }
        });
        Self { child, report, log }
    }

    /// What it reported last.
    pub fn report(&self) -> Value {
        self.report.lock().unwrap().clone()
    }

    /// Consistent, and every change up to then is there.
    pub fn has_applied(&self, moment: Timestamp) -> bool {
        let report = self.report();
        let applied = report["appliedTime"].as_str().map(|text| text.parse::<Timestamp>().unwrap());
        report["stage"] == "Following" && applied.is_some_and(|applied| applied >= moment)
    }

    /// Waits for its end; its exit code.
    pub fn ended(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }

    pub fn lives(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// The report, and the end of the log.
    pub fn told(&self) -> String {
        let log = std::fs::read_to_string(self.log.path()).unwrap_or_default();
        let end = log.lines().rev().take(30).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>();
        format!("{:#}\n{}", self.report(), end.join("\n"))
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends a signal, by its name.
    pub fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &id]).status().unwrap().success());
    }

    /// Lets it end by itself; its exit code.
    pub fn stop(&mut self) -> Option<i32> {
        self.signal("TERM");
        self.child.wait().unwrap().code()
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
