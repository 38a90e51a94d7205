//! Histories of a made-up MariaDB server, written as real binlogs and bases in mariadb-operator's layout.

use std::io::Write;

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp, tz::TimeZone};

/// Who takes the objects that the server's archiver uploads.
pub trait Bucket {
    fn upload(&mut self, key: &str, body: Bytes, at: Timestamp);
}

impl<F: FnMut(&str, Bytes, Timestamp)> Bucket for F {
    fn upload(&mut self, key: &str, body: Bytes, at: Timestamp) {
        self(key, body, at);
    }
}

/// A server that commits transactions of domain 0.
#[derive(Clone, Debug)]
pub struct Server {
    pub id: u32,
    pub now: Timestamp,
    /// Last transaction committed.
    pub sequence: u64,
    number: u64,
    opened: Timestamp,
    opened_at: u64,
    events: Vec<(u32, u64)>,
}

impl Server {
    pub fn new(id: u32, now: Timestamp) -> Self {
        Self { id, now, sequence: 0, number: 1, opened: now, opened_at: 0, events: Vec::new() }
    }

    pub fn pass(&mut self, seconds: i64) {
        self.now += SignedDuration::from_secs(seconds);
    }

    pub fn commit(&mut self) {
        self.sequence += 1;
        self.events.push((second(self.now), self.sequence));
    }

    /// Name of the binlog being written.
    pub fn binlog(&self) -> String {
        format!("mysql-bin.{:06}", self.number)
    }

    /// The server's position, as it prints it.
    pub fn position(&self) -> String {
        if self.sequence == 0 { String::new() } else { format!("0-{}-{}", self.id, self.sequence) }
    }

    /// Closes the binlog and uploads it. Answers its key.
    pub fn rotate(&mut self, bucket: &mut impl Bucket) -> String {
        let mut file = b"\xfebin".to_vec();
        let mut format = vec![0; 57 + 42];
        format[..2].copy_from_slice(&4u16.to_le_bytes());
        format[2..17].copy_from_slice(b"10.11.0-MariaDB");
        event(&mut file, second(self.opened), 15, self.id, &format);
        let mut list = Vec::new();
        list.extend(u32::from(self.opened_at > 0).to_le_bytes());
        if self.opened_at > 0 {
            list.extend(0u32.to_le_bytes());
            list.extend(self.id.to_le_bytes());
            list.extend(self.opened_at.to_le_bytes());
        }
        event(&mut file, second(self.opened), 163, self.id, &list);
        for (time, sequence) in &self.events {
            let mut body = sequence.to_le_bytes().to_vec();
            body.extend([0; 11]);
            event(&mut file, *time, 162, self.id, &body);
            event(&mut file, *time, 2, self.id, b"COMMIT");
        }
        event(&mut file, second(self.now), 4, self.id, b"\0\0\0\0\0\0\0\0next");
        let key = format!("binlogs/server-{}/{}.gz", self.id, self.binlog());
        bucket.upload(&key, gzip(&file), self.now);
        self.number += 1;
        self.opened = self.now;
        self.opened_at = self.sequence;
        self.events.clear();
        key
    }

    /// Takes a full base of `size` bytes. Answers its id.
    pub fn base(&mut self, size: usize, bucket: &mut impl Bucket) -> String {
        self.base_of("physicalbackup", (0, self.sequence + 1), size, bucket)
    }

    /// Takes an increment on the base whose last LSN is `from`.
    pub fn increment(&mut self, from: u64, bucket: &mut impl Bucket) -> String {
        self.base_of("incremental", (from, self.sequence + 1), 1000, bucket)
    }

    fn base_of(&mut self, kind: &str, lsn: (u64, u64), size: usize, bucket: &mut impl Bucket) -> String {
        let time = self.now.to_zoned(TimeZone::UTC);
        let id = format!("{kind}-{}", time.strftime("%Y%m%d%H%M%S"));
        let pretty = time.strftime("%Y-%m-%d %H:%M:%S");
        let (binlog, position) = (self.binlog(), self.position());
        let info = format!(
            "start_time = {pretty}\nend_time = {pretty}\nbinlog_pos = filename '{binlog}', position '1', GTID of the \
             last change '{position}'\ninnodb_from_lsn = {}\ninnodb_to_lsn = {}\nincremental = {}\n",
            lsn.0,
            lsn.1,
            if kind == "incremental" { "Y" } else { "N" }
        );
        let body: Vec<u8> = (0..size).map(|at| (at * 31 % 251).to_le_bytes()[0]).collect();
        bucket.upload(&format!("{id}.xb.gz"), body.into(), self.now);
        bucket.upload(&format!("{id}.info"), info.into(), self.now);
        id
    }
}

fn second(time: Timestamp) -> u32 {
    u32::try_from(time.as_second()).unwrap()
}

fn event(file: &mut Vec<u8>, time: u32, kind: u8, server: u32, body: &[u8]) {
    let length = u32::try_from(19 + body.len()).unwrap();
    file.extend(time.to_le_bytes());
    file.push(kind);
    file.extend(server.to_le_bytes());
    file.extend(length.to_le_bytes());
    let next = u32::try_from(file.len() + 6 + body.len()).unwrap();
    file.extend(next.to_le_bytes());
    file.extend([0, 0]);
    file.extend(body);
}

pub fn gzip(body: &[u8]) -> Bytes {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap().into()
}
