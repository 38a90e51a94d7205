//! A MariaDB or MySQL that is written to, backed up and archived, and what its copy brings back.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use farshore::{
    backup::catalog::Format,
    store::{ObjectStore, PutOptions, memory::MemoryStore},
};
use jiff::Timestamp;

use crate::{
    moments::Journal,
    server::{Database, mysql_programs},
    set::Set,
};

pub const PREFIX: &str = "orders/";
const SCHEMA: &str = "CREATE DATABASE shop; CREATE TABLE shop.orders (id INT PRIMARY KEY, note VARCHAR(40)) ENGINE=InnoDB; CREATE TABLE shop.locked (id INT PRIMARY KEY, n INT); INSERT INTO shop.locked VALUES (1, 0); CREATE USER app@'%' IDENTIFIED BY 'secret'";

/// What the source is.
#[derive(Clone, Copy, PartialEq)]
pub enum Kind {
    MySql { gtids: bool },
    MariaDb,
}

impl Kind {
    fn program(self, mysql: &str, mariadb: &str) -> Command {
        match self {
            Self::MySql { .. } => Command::new(mysql_programs().join(mysql)),
            Self::MariaDb => Command::new(mariadb),
        }
    }

    pub fn start(self, folder: &Path, data: &Path, arguments: &[&str]) -> Database {
        match self {
            Self::MySql { .. } => Database::mysql(folder, data, arguments),
            Self::MariaDb => Database::mariadb(folder, data, arguments),
        }
    }

    fn options(self) -> &'static [&'static str] {
        match self {
            Self::MySql { gtids: true } => &["--gtid-mode=ON", "--enforce-gtid-consistency=ON"],
            Self::MySql { gtids: false } => &["--gtid-mode=OFF", "--enforce-gtid-consistency=OFF"],
            Self::MariaDb => &["--gtid-strict-mode=ON", "--log-slave-updates"],
        }
    }
}

/// How it is backed up.
#[derive(Clone, Copy, PartialEq)]
pub enum Backups {
    /// By mariadb-backup, in mariadb-operator's layout: full first, then on top of the last one.
    Files,
    /// By dump, in WAL-G's layout.
    Dumps,
}

/// The source: a server, its archiver, and the copy that it is archived to.
pub struct Source<S = MemoryStore> {
    kind: Kind,
    backups: Backups,
    pub server: Database,
    pub data: PathBuf,
    folder: PathBuf,
    pub store: Arc<S>,
    prefix: String,
    archived: usize,
    next: u32,
    /// The last base, as its tool streamed it.
    pub base: Vec<u8>,
}

impl Source {
    /// One that is archived to memory.
    pub fn start(kind: (Kind, Backups), folder: &Path) -> Self {
        Self::archived_to(kind, folder, (Arc::new(MemoryStore::new("backups")), PREFIX))
    }
}

impl<S: ObjectStore + 'static> Source<S> {
    /// One that is archived to a prefix of a store.
    pub fn archived_to(
        (kind, backups): (Kind, Backups),
        folder: &Path,
        (store, prefix): (Arc<S>, &str),
    ) -> Self {
        let data = folder.join("data");
        let mut install = kind.program("mysqld", "mariadb-install-db");
        install.args(["--no-defaults", "--user=root"]).arg(format!("--datadir={}", data.display()));
        match kind {
            Kind::MySql { .. } => install.arg("--initialize-insecure"),
            Kind::MariaDb => install.args(["--auth-root-authentication-method=normal", "--skip-test-db"]),
        };
        succeeds(install.env("TMPDIR", folder));
        let options = ["--server-id=101", "--log-bin=mysql-bin", "--binlog-format=ROW"];
        let server = kind.start(folder, &data, &[&options, kind.options()].concat());
        server.ask(SCHEMA);
        let (prefix, folder) = (prefix.to_owned(), folder.to_owned());
        Self { kind, backups, server, data, folder, store, prefix, archived: 0, next: 0, base: Vec::new() }
    }

    pub fn write(&mut self, rows: u32) {
        for _ in 0..rows {
            self.next += 1;
            self.server.ask(&format!("INSERT INTO shop.orders (id, note) VALUES ({}, 'row')", self.next));
        }
    }

    async fn put(&self, key: &str, bytes: Vec<u8>) {
        self.store
            .put(&format!("{}{key}", self.prefix), Bytes::from(bytes), &PutOptions::default())
            .await
            .unwrap();
    }

    pub async fn back_up(&mut self) {
        match self.backups {
            Backups::Files => self.back_up_files().await,
            Backups::Dumps => self.dump().await,
        }
    }

    async fn back_up_files(&mut self) {
        let (last, this) = (self.folder.join("lsn"), self.folder.join("lsn-new"));
        std::fs::remove_dir_all(&this).ok();
        let stamp = Timestamp::now().strftime("%Y%m%d%H%M%S");
        let mut command = Command::new("mariadb-backup");
        command
            .args(["--no-defaults", "--backup", "--stream=xbstream", "--user=root"])
            .arg(format!("--socket={}", self.server.socket.display()))
            .arg(format!("--datadir={}", self.data.display()))
            .arg(format!("--target-dir={}", self.folder.join("target").display()))
            .arg(format!("--extra-lsndir={}", this.display()))
            .env("TZ", "UTC");
        let name = if last.exists() {
            command.arg(format!("--incremental-basedir={}", last.display()));
            format!("incremental-{stamp}")
        } else {
            format!("physicalbackup-{stamp}")
        };
        self.base = succeeds(&mut command);
        self.put(&format!("{name}.xb.gz"), gzip(&self.base)).await;
        for (file, suffix) in [("xtrabackup_info", "info"), ("xtrabackup_checkpoints", "checkpoints")] {
            self.put(&format!("{name}.{suffix}"), std::fs::read(this.join(file)).unwrap()).await;
        }
        std::fs::remove_dir_all(&last).ok();
        std::fs::rename(&this, &last).unwrap();
    }

    /// As `wal-g backup-push` does with mysqldump for its command: the sentinel says nothing of the log.
    async fn dump(&mut self) {
        let began = Timestamp::now();
        let place = if self.kind == Kind::MariaDb { "--master-data=2" } else { "--source-data=2" };
        let mut dump = self.kind.program("mysqldump", "mariadb-dump");
        dump.args(["--no-defaults", "--user=root", "--single-transaction", place, "--all-databases"])
            .args(["--triggers", "--routines", "--events"])
            .arg(format!("--socket={}", self.server.socket.display()));
        self.base = succeeds(&mut dump);
        let packed = zstd::encode_all(self.base.as_slice(), 1).unwrap();
        let name = format!("stream_{}", began.strftime("%Y%m%dT%H%M%SZ"));
        let sentinel = format!(
            r#"{{"Tool": "", "StartLocalTime": "{began}", "StopLocalTime": "{}", "CompressedSize": {}, "IsPermanent": false}}"#,
            Timestamp::now(),
            packed.len()
        );
        self.put(&format!("basebackups_005/{name}/stream.zst"), packed).await;
        self.put(&format!("basebackups_005/{name}_backup_stop_sentinel.json"), sentinel.into_bytes()).await;
    }

    /// Closes the log that is written, and archives what is closed.
    pub async fn rotate(&mut self) {
        self.server.ask("FLUSH BINARY LOGS");
        let logs = self.logs();
        for log in &logs[self.archived..logs.len() - 1] {
            let bytes = std::fs::read(self.data.join(log)).unwrap();
            let (key, packed) = match self.backups {
                Backups::Files => (format!("binlogs/server-101/{log}.gz"), gzip(&bytes)),
                Backups::Dumps => {
                    (format!("binlog_005/{log}.zst"), zstd::encode_all(bytes.as_slice(), 1).unwrap())
                }
            };
            self.put(&key, packed).await;
        }
        self.archived = logs.len() - 1;
    }

    pub fn logs(&self) -> Vec<String> {
        let listed = self.server.ask("SHOW BINARY LOGS");
        listed.lines().map(|line| line.split('\t').next().unwrap().to_owned()).collect()
    }

    /// The truth, by the official tool's own text: each transaction's recorded time, and the rows it inserted, in
    /// log order.
    pub fn journal(&self) -> Journal {
        let mut tool = self.kind.program("mysqlbinlog", "mariadb-binlog");
        tool.args(["--no-defaults", "-v", "--base64-output=DECODE-ROWS"])
            .args(self.logs().iter().map(|log| self.data.join(log)))
            .env("TZ", "UTC");
        read_journal(&String::from_utf8_lossy(&succeeds(&mut tool)))
    }

    /// What makes moments hard, some rows at a time.
    pub async fn live(&mut self, (rows, bases): (u32, &[u32])) {
        self.write(5);
        self.back_up().await;
        for round in 0..22 {
            self.write(rows);
            match round {
                3 => self.long_transaction(),
                6 => self.waits_for_a_lock(),
                12 => {
                    self.server.ask("ALTER TABLE shop.orders ADD COLUMN extra INT DEFAULT 7");
                }
                _ if bases.contains(&round) => self.back_up().await,
                _ => {}
            }
            // Two commits in one second, on both sides of the rotation.
            self.write(1);
            self.rotate().await;
            self.write(1);
            std::thread::sleep(Duration::from_millis(if round % 4 == 0 { 1300 } else { 250 }));
        }
        self.rotate().await;
    }

    /// Several rows, over several seconds.
    fn long_transaction(&mut self) {
        let (a, b) = (self.next + 1, self.next + 2);
        self.next += 2;
        self.server.ask(&format!(
            "BEGIN; INSERT INTO shop.orders (id) VALUES ({a}); SELECT SLEEP(2.2); INSERT INTO shop.orders (id) VALUES ({b}); COMMIT"
        ));
    }

    /// A statement that waits, in a log that goes on meanwhile. MariaDB gives it the time at which it began to.
    fn waits_for_a_lock(&mut self) {
        self.next += 1;
        let late = self.next;
        let run = |sql: String| {
            self.server.client(&["--user=root"]).args(["-e", &sql]).stdout(Stdio::null()).spawn().unwrap()
        };
        let mut holder = run("BEGIN; UPDATE shop.locked SET n = n + 1; SELECT SLEEP(4); COMMIT".to_owned());
        std::thread::sleep(Duration::from_millis(500));
        let mut waiter =
            run(format!("INSERT INTO shop.orders (id, note) SELECT {late}, n FROM shop.locked FOR UPDATE"));
        for _ in 0..3 {
            std::thread::sleep(Duration::from_millis(800));
            self.write(1);
        }
        assert!(holder.wait().unwrap().success() && waiter.wait().unwrap().success());
    }

    /// What was archived. The source is gone.
    pub fn gone(self) -> Set {
        let format = match self.backups {
            Backups::Files => Format::MariaDBOperator,
            Backups::Dumps => Format::WalGMySQL,
        };
        Set { kind: self.kind, format, store: self.store, prefix: self.prefix }
    }
}

/// Runs a program, and answers what it printed.
pub fn succeeds(command: &mut Command) -> Vec<u8> {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// MariaDB's lines are like `#261121  2:55:31 server id 101  end_log_pos 385 CRC32 0x…`, a tab, `GTID 0-101-13 trans`;
/// MySQL's like `# immediate_commit_timestamp=1795298221913406 (2026-11-21 …)`, in microseconds.
fn read_journal(text: &str) -> Journal {
    let mut journal = Journal::new();
    let mut inserting = false;
    for line in text.lines() {
        if let Some(time) = line.strip_prefix("# immediate_commit_timestamp=") {
            let micros = time.split(' ').next().unwrap().parse().unwrap();
            journal.push((Timestamp::from_microsecond(micros).unwrap(), Vec::new()));
        } else if line.starts_with('#') && line.contains("\tGTID ") {
            let mut words = line[1..].split_whitespace();
            let (date, time) = (words.next().unwrap(), words.next().unwrap());
            let time = format!("20{date} {time:0>8} +0000");
            journal.push((Timestamp::strptime("%Y%m%d %H:%M:%S %z", time).unwrap(), Vec::new()));
        } else if let Some(statement) = line.strip_prefix("### ") {
            if !statement.starts_with("  @") && statement != "SET" {
                inserting = statement == "INSERT INTO `shop`.`orders`";
            }
            if let Some(id) = statement.strip_prefix("  @1=").filter(|_| inserting) {
                journal.last_mut().unwrap().1.push(id.parse().unwrap());
            }
        }
    }
    journal
}

#[test]
fn the_journal_reads_what_mariadb_binlog_prints() {
    let text = "#261121  2:55:31 server id 101  end_log_pos 385 CRC32 0x1 \tGTID 0-101-13 trans\n### INSERT INTO `shop`.`orders`\n### SET\n###   @1=7\n###   @2='x'\n### INSERT INTO `shop`.`locked`\n### SET\n###   @1=9\n";
    let journal = read_journal(text);
    assert_eq!(journal, [("2026-11-21T02:55:31Z".parse().unwrap(), vec![7])]);
}

#[test]
fn the_journal_reads_what_mysqlbinlog_prints() {
    let text = "#261121 21:57:01 server id 101  end_log_pos 300 CRC32 0x1 \tGTID\tlast_committed=1\n# original_commit_timestamp=1795298221913405 (2026-11-21 21:57:01.913405 UTC)\n# immediate_commit_timestamp=1795298221913406 (2026-11-21 21:57:01.913406 UTC)\n### INSERT INTO `shop`.`orders`\n### SET\n###   @1=7\n";
    assert_eq!(read_journal(text), [("2026-11-21T21:57:01.913406Z".parse().unwrap(), vec![7])]);
}
