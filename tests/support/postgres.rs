//! PostgreSQL as a source: a writer with its journal, and pgBackRest beside it. Nothing of the machine's own is used.

use std::{
    os::unix::{fs::chown, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use jiff::Timestamp;

/// Who runs PostgreSQL, which refuses to be root.
#[derive(Clone, Copy)]
pub struct Account {
    pub user: u32,
    pub group: u32,
}

impl Account {
    fn find() -> Option<Self> {
        let id = |flag: &str, name: &[&str]| -> u32 {
            let output = Command::new("id").arg(flag).args(name).output().unwrap();
            String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
        };
        (id("-u", &[]) == 0).then(|| Self { user: id("-u", &["postgres"]), group: id("-g", &["postgres"]) })
    }
}

/// A folder that PostgreSQL's user can use.
pub struct Folder {
    _own: tempfile::TempDir,
    pub path: PathBuf,
    account: Option<Account>,
}

impl Folder {
    pub fn make() -> Self {
        let own = tempfile::tempdir().unwrap();
        let (path, account) = (own.path().join("pg"), Account::find());
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(own.path(), open).unwrap();
        let folder = Self { _own: own, path, account };
        folder.add("");
        folder
    }

    pub fn add(&self, name: &str) -> PathBuf {
        let path = self.path.join(name);
        std::fs::create_dir_all(&path).unwrap();
        if let Some(account) = self.account {
            chown(&path, Some(account.user), Some(account.group)).unwrap();
        }
        path
    }

    /// A command of PostgreSQL's user.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        command.env("TZ", "UTC").env("LC_ALL", "C.UTF-8").current_dir(&self.path);
        if let Some(account) = self.account {
            command.uid(account.user).gid(account.group);
        }
        command
    }
}

pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// The newest PostgreSQL of the machine.
pub fn programs() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").unwrap().flatten();
    let version = versions.filter_map(|found| found.file_name().to_str()?.parse::<u32>().ok()).max().unwrap();
    PathBuf::from(format!("/usr/lib/postgresql/{version}/bin"))
}

/// A server on a socket.
pub struct Server {
    pub child: Child,
    pub socket: PathBuf,
}

impl Server {
    pub fn start(folder: &Folder, data: &Path, socket: &str, options: &[&str]) -> Self {
        let socket = folder.add(socket);
        let log = std::fs::File::create(socket.join("log")).unwrap();
        let mut command = folder.command(programs().join("postgres"));
        command.arg("-D").arg(data).arg("-c").arg("listen_addresses=");
        command.arg("-c").arg(format!("unix_socket_directories={}", socket.display()));
        for option in options {
            command.arg("-c").arg(option);
        }
        let child = command.stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let server = Self { child, socket };
        for _ in 0..200 {
            if server.try_ask("SELECT 1").is_ok() {
                return server;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("{}", std::fs::read_to_string(server.socket.join("log")).unwrap());
    }

    pub fn try_ask(&self, sql: &str) -> Result<String, String> {
        let mut client = Command::new("psql");
        client.args(["-X", "-q", "-A", "-t", "-U", "postgres", "-d", "postgres", "-v", "ON_ERROR_STOP=1"]);
        let output = client.arg("-h").arg(&self.socket).args(["-c", sql]).output().unwrap();
        if output.status.success() {
            Ok(String::from_utf8(output.stdout).unwrap().trim().to_owned())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    pub fn ask(&self, sql: &str) -> String {
        self.try_ask(sql).unwrap_or_else(|error| panic!("{sql}: {error}"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A source that is written to.
pub struct Source {
    pub folder: Folder,
    pub server: Server,
    next: u32,
}

impl Source {
    /// Begins with a server that archives by a command.
    pub fn start(archive: impl Fn(&Folder) -> String) -> Self {
        let folder = Folder::make();
        let data = folder.path.join("data");
        run(folder
            .command(programs().join("initdb"))
            .args(["-U", "postgres", "--auth=trust", "-D"])
            .arg(&data));
        let command = archive(&folder);
        let settings = format!(
            "wal_level = replica\narchive_mode = on\narchive_command = '{command}'\ntrack_commit_timestamp = on\n\
             timezone = UTC\nfsync = off\nssl = on\nssl_cert_file = '/nowhere/on/the/new/machine'\n"
        );
        let file = data.join("postgresql.conf");
        let before = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, before + &settings).unwrap();
        let server = Server::start(&folder, &data, "source", &["ssl=off"]);
        server.ask("CREATE TABLE orders (id INT PRIMARY KEY, note TEXT)");
        Self { folder, server, next: 0 }
    }

    pub fn write(&mut self, rows: u32) {
        for _ in 0..rows {
            self.next += 1;
            self.server.ask(&format!("INSERT INTO orders VALUES ({}, 'row')", self.next));
        }
    }

    /// Several rows, over a good second.
    pub fn write_long(&mut self) {
        let (a, b) = (self.next + 1, self.next + 2);
        self.next += 2;
        self.server.ask(&format!(
            "INSERT INTO orders VALUES ({a}, 'long'); SELECT pg_sleep(1.2); INSERT INTO orders VALUES ({b}, 'long')"
        ));
    }

    /// Closes a segment of the log, and waits until it is archived.
    pub fn switch(&self) {
        let segment = self.server.ask("SELECT pg_walfile_name(pg_switch_wal())");
        for _ in 0..300 {
            let last = self.server.ask("SELECT last_archived_wal FROM pg_stat_archiver");
            if last.len() >= 24 && last[..24] >= segment[..24] {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("{}", std::fs::read_to_string(self.server.socket.join("log")).unwrap());
    }

    /// The truth, by the server's own word: each row's commit time, in the order of the log.
    pub fn journal(&self) -> Vec<(Timestamp, u32)> {
        let rows = self.server.ask("SELECT pg_xact_commit_timestamp(xmin), id FROM orders ORDER BY 1, 2");
        let row = |line: &str| {
            let (time, id) = line.split_once('|').unwrap();
            (time.parse().unwrap(), id.parse().unwrap())
        };
        rows.lines().map(row).collect()
    }
}

/// A repository on disk, and the server that archives into it.
pub fn pgbackrest(cipher: Option<&str>) -> (Source, PathBuf) {
    let text = |folder: &Folder| {
        let path = |name: &str| folder.path.join(name).display().to_string();
        let cipher = cipher.map(|pass| format!("repo1-cipher-type=aes-256-cbc\nrepo1-cipher-pass={pass}\n"));
        format!(
            "[global]\nrepo1-path={}\nlock-path={}\nlog-level-file=off\nlog-level-console=off\ncompress-type=zst\nstart-fast=y\n{}\
             [main]\npg1-path={}\npg1-socket-path={}\npg1-user=postgres\n",
            path("repository"),
            path("lock"),
            cipher.unwrap_or_default(),
            path("data"),
            path("source")
        )
    };
    let source = Source::start(|folder| {
        let config = folder.add("config").join("pgbackrest.conf");
        std::fs::write(&config, text(folder)).unwrap();
        format!("pgbackrest --config={} --stanza=main archive-push %p", config.display())
    });
    let config = source.folder.path.join("config/pgbackrest.conf");
    run(backrest(&source, &config).arg("stanza-create"));
    (source, config)
}

pub fn backrest(source: &Source, config: &Path) -> Command {
    let mut command = source.folder.command("pgbackrest");
    command.arg(format!("--config={}", config.display())).arg("--stanza=main");
    command
}

/// Files under a folder of a repository, by their paths in it. Links are convenience.
pub fn files(folder: &Path, repository: &Path) -> Vec<(String, Vec<u8>)> {
    let (mut waiting, mut found) = (vec![folder.to_owned()], Vec::new());
    while let Some(next) = waiting.pop() {
        for entry in std::fs::read_dir(&next).unwrap().flatten() {
            let path = entry.path();
            if path.is_symlink() {
                continue;
            }
            if path.is_dir() {
                waiting.push(path);
                continue;
            }
            let name = path.strip_prefix(repository).unwrap().display().to_string();
            found.push((name, std::fs::read(&path).unwrap()));
        }
    }
    found
}
