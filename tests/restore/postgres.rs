//! PostgreSQL: a writer with its journal, real tools that back it up, and every moment restored.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use farshore::{
    backup::catalog::Format,
    restore::{
        self, Error, Origin, Plan, Reporter,
        mysql::Admin,
        postgres::{self, Settings},
        wal::Address,
    },
    store::{ObjectStore, PutOptions, s3::S3Store},
};
use jiff::{SignedDuration, Timestamp};

use crate::{
    real,
    source::{Folder, Server, Source, backrest, files, pgbackrest, programs, run},
};

pub const PREFIX: &str = "orders/";

pub fn key(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run tests/run"))
}

/// Restores a moment into a folder of its own, and answers the rows.
pub async fn restored(
    store: &Arc<dyn ObjectStore>,
    format: &Format,
    at: Option<Timestamp>,
    passphrase: Option<&str>,
) -> Result<(Vec<u32>, Plan, restore::Reached), String> {
    let (_, mut plan) = restore::look(store, PREFIX, format, at).await.map_err(|error| error.to_string())?;
    restore::locate(store, PREFIX, &mut plan).await.unwrap();
    let folder = Folder::make();
    let credentials = folder.add("credentials");
    for (name, value) in [
        ("AWS_ACCESS_KEY_ID", "FARSHORE_TEST_ACCESS_KEY"),
        ("AWS_SECRET_ACCESS_KEY", "FARSHORE_TEST_SECRET_KEY"),
    ] {
        std::fs::write(credentials.join(name), key(value)).unwrap();
    }
    let secret = folder.path.join("passphrase");
    std::fs::write(&secret, passphrase.unwrap_or_default()).unwrap();
    let settings = Settings {
        volume: folder.add("volume"),
        work: folder.add("work"),
        arguments: Vec::new(),
        admin: Some(Admin { name: "o'hara".to_owned(), password: r"it's \ secret".to_owned() }),
        checks: vec!["SELECT count(*), max(id) FROM orders".to_owned()],
        check_tables: true,
        program: env!("CARGO_BIN_EXE_farshore").into(),
        address: Address {
            endpoint: key("FARSHORE_TEST_MINIO_A"),
            signing_region: key("FARSHORE_TEST_REGION"),
            virtual_hosted: false,
            ca_bundle: None,
            bucket: store.bucket().to_owned(),
            prefix: PREFIX.to_owned(),
            credentials,
        },
        passphrase: passphrase.map(|_| secret),
        decryption: "spec.bootstrap.recovery.decryption".to_owned(),
    };
    std::fs::write(settings.volume.join("left by another attempt"), "x").unwrap();
    let origin =
        Origin { store: Arc::clone(store), prefix: PREFIX.to_owned(), reporter: Reporter::new(plan.bytes) };
    let reached =
        postgres::restore(&plan, &origin, &settings).await.map_err(|error| format!("{at:?}: {error}"))?;
    assert!(!settings.volume.join("left by another attempt").exists());
    let data = settings.volume.join(farshore::restore::mysql::DATA);
    for left in ["recovery.signal", "postgresql.auto.conf"] {
        let text = std::fs::read_to_string(data.join(left)).unwrap_or_default();
        assert!(!text.contains("restore_command"), "{left}: {text}");
    }
    // With the settings that it is handed over with, and by password alone.
    let open = folder.path.join("access");
    std::fs::write(&open, "local all all scram-sha-256\n").unwrap();
    let access = format!("hba_file={}", open.display());
    let socket = folder.add("new");
    let mut command = folder.command(programs().join("postgres"));
    command.arg("-D").arg(&data).args(["-c", "listen_addresses=", "-c", &access, "-c"]);
    command.arg(format!("unix_socket_directories={}", socket.display()));
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let server = Server { child, socket };
    let mut rows = String::new();
    for _ in 0..200 {
        let mut client = Command::new("psql");
        client.args([
            "-X",
            "-q",
            "-A",
            "-t",
            "-U",
            "o'hara",
            "-d",
            "postgres",
            "-c",
            "SELECT id FROM orders ORDER BY id",
        ]);
        let output =
            client.arg("-h").arg(&server.socket).env("PGPASSWORD", r"it's \ secret").output().unwrap();
        if output.status.success() {
            rows = String::from_utf8(output.stdout).unwrap();
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok((rows.lines().map(|row| row.parse().unwrap()).collect(), plan, reached))
}

/// Ten moments: the first, the last, the latest, exact commits, and some between.
async fn every_moment(store: &Arc<dyn ObjectStore>, format: &Format, journal: &[(Timestamp, u32)]) {
    let found = farshore::backup::inspect::inspect(Arc::clone(store), PREFIX, format, None).await.unwrap();
    assert_eq!(
        (found.windows.len(), &found.warnings[..]),
        (1, &[][..]),
        "{:?} {:?}",
        found.windows,
        found.gaps
    );
    let (first, last) = (found.windows[0].from, found.windows[0].to);
    assert_eq!(last, journal.last().unwrap().0, "the last commit");
    let micro = SignedDuration::from_micros(1);
    let inside: Vec<Timestamp> = journal.iter().map(|(at, _)| *at).filter(|at| *at > first).collect();
    let (one, other) = (inside[inside.len() / 3], inside[inside.len() / 2]);
    let span = last.duration_since(first).as_millis();
    let mut random = fastrand::Rng::with_seed(7);
    let mut asked =
        vec![None, Some(first), Some(last), Some(last - micro), Some(one), Some(one - micro), Some(other)];
    asked.extend((0..3).map(|_| {
        let offset = i64::try_from(random.u128(0..=u128::try_from(span).unwrap())).unwrap();
        Some(first + SignedDuration::from_millis(offset))
    }));
    for at in asked {
        let (rows, plan, reached) = restored(store, format, at, None).await.unwrap();
        let moment = at.unwrap_or(last);
        let expected: Vec<u32> = journal.iter().filter(|(at, _)| *at <= moment).map(|(_, id)| *id).collect();
        let sorted = {
            let mut sorted = expected.clone();
            sorted.sort_unstable();
            sorted
        };
        assert_eq!(rows, sorted, "{moment}, from {:?}", plan.bases.last());
        assert_eq!(reached.time_point, moment);
        assert!(reached.last_commit.is_none_or(|time| time <= moment), "{reached:?}");
        let answer =
            format!("{}|{}", rows.len(), rows.iter().max().map(ToString::to_string).unwrap_or_default());
        assert_eq!(reached.answers, [answer, "OK".to_owned()]);
    }
    for outside in [first - Duration::from_secs(1), last + Duration::from_secs(1)] {
        let refused = restore::look(store, PREFIX, format, Some(outside)).await.unwrap_err();
        assert!(matches!(refused, Error::Refused(_)), "{refused}");
        assert!(refused.to_string().contains(&last.to_string()), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn b08_postgresql_of_barman_holds_exactly_the_rows_of_its_moment() {
    let url = key("FARSHORE_TEST_MINIO_A");
    // The server's own user may not reach the tool: what is archived lies in a folder until the tool takes it.
    let mut source = Source::start(|folder| format!("cp %p {}/%f", folder.add("outbox").display()));
    let store = Arc::new(real::minio_a().await);
    let barman = |program: &str| {
        let folder = PathBuf::from(key("FARSHORE_TEST_BARMAN"));
        let mut command = Command::new(folder.join("python"));
        command.arg(folder.join(program)).args(["--endpoint-url", &url, "--gzip"]).current_dir("/");
        command.env("AWS_ACCESS_KEY_ID", key("FARSHORE_TEST_ACCESS_KEY"));
        command.env("AWS_SECRET_ACCESS_KEY", key("FARSHORE_TEST_SECRET_KEY"));
        let place = format!("s3://{}/orders", store.bucket());
        (command, place)
    };
    let push = |source: &Source| {
        let found = std::fs::read_dir(source.folder.path.join("outbox")).unwrap().flatten();
        let mut files: Vec<PathBuf> = found.map(|entry| entry.path()).collect();
        files.sort();
        for file in files {
            let (mut command, place) = barman("barman-cloud-wal-archive");
            run(command.arg(place).arg("main").arg(&file));
            std::fs::remove_file(&file).unwrap();
        }
    };
    source.write(3);
    let back_up = |source: &Source| {
        let (mut command, place) = barman("barman-cloud-backup");
        command.args(["--immediate-checkpoint", "-U", "postgres", "-h"]).arg(&source.server.socket);
        run(command.arg(place).arg("main"));
    };
    back_up(&source);
    for round in 0..4 {
        source.write(5);
        source.switch();
        source.write(2);
        if round == 1 {
            source.write_long();
            back_up(&source);
        }
        std::thread::sleep(Duration::from_millis(700));
    }
    source.switch();
    // Segments without any commit move nothing.
    source.server.ask("SELECT pg_logical_emit_message(false, 'idle', 'idle')");
    source.switch();
    push(&source);
    let journal = source.journal();
    drop(source);
    every_moment(&(store as Arc<dyn ObjectStore>), &Format::Barman, &journal).await;
}

/// What a copy of a repository's folder would hold.
async fn copy(folder: &Path, under: &Path, store: &S3Store) {
    for (name, bytes) in files(folder, under) {
        store.put(&format!("{PREFIX}{name}"), Bytes::from(bytes), &PutOptions::default()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn b08_b18_postgresql_of_pgbackrest_holds_exactly_the_rows_of_its_moment() {
    let (mut source, config) = pgbackrest(None);
    let store = Arc::new(real::minio_a().await);
    source.write(3);
    run(backrest(&source, &config).args(["--type=full", "backup"]));
    for round in 0..4 {
        source.write(5);
        source.switch();
        source.write(2);
        if round == 1 {
            source.write_long();
            run(backrest(&source, &config).args(["--type=diff", "backup"]));
        }
        if round == 2 {
            run(backrest(&source, &config).args(["--type=incr", "backup"]));
        }
        std::thread::sleep(Duration::from_millis(700));
    }
    source.switch();
    let journal = source.journal();
    let repository = source.folder.path.join("repository");
    // As a copy does: logs first.
    for folder in ["archive", "backup"] {
        copy(&repository.join(folder), &repository, &store).await;
    }
    // The source forgets all but its newest backup; a copy of its index says so, too.
    source.write(1);
    run(backrest(&source, &config).args(["--type=full", "--repo1-retention-full=1", "backup"]));
    for name in ["backup.info", "backup.info.copy"] {
        let file = repository.join("backup/main").join(name);
        let bytes = Bytes::from(std::fs::read(&file).unwrap());
        assert!(!String::from_utf8_lossy(&bytes).contains("_20"), "the first backups are forgotten");
        let key = format!("{PREFIX}backup/main/{name}");
        store.put(&key, bytes, &PutOptions::default()).await.unwrap();
    }
    drop(source);
    every_moment(&(store as Arc<dyn ObjectStore>), &Format::PgBackRest, &journal).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b14_an_encrypted_repository_is_restored_with_its_passphrase_and_only_so() {
    let (mut source, config) = pgbackrest(Some("correct horse"));
    let stored: Arc<S3Store> = Arc::new(real::minio_a().await);
    source.write(3);
    run(backrest(&source, &config).args(["--type=full", "backup"]));
    source.write(2);
    source.switch();
    let journal = source.journal();
    let repository = source.folder.path.join("repository");
    // As a copy does: logs first.
    for folder in ["archive", "backup"] {
        copy(&repository.join(folder), &repository, &stored).await;
    }
    let store: Arc<dyn ObjectStore> = stored.clone();
    let field = "spec.bootstrap.recovery.decryption";
    let without = restored(&store, &Format::PgBackRest, None, None).await.unwrap_err();
    assert!(without.contains(field) && without.contains("repo1-cipher-pass"), "{without}");
    let wrong = restored(&store, &Format::PgBackRest, None, Some("wrong horse")).await.unwrap_err();
    assert!(wrong.contains(field) && wrong.contains("does not open"), "{wrong}");
    let (rows, plan, _) = restored(&store, &Format::PgBackRest, None, Some("correct horse")).await.unwrap();
    assert_eq!(rows.len(), journal.len(), "{plan:?}");
    // The source forgets the backup; a copy of its index, of which nobody without the key sees that, says so, too.
    run(backrest(&source, &config).args(["--type=full", "--repo1-retention-full=1", "backup"]));
    for name in ["backup.info", "backup.info.copy"] {
        let bytes = Bytes::from(std::fs::read(repository.join("backup/main").join(name)).unwrap());
        stored.put(&format!("{PREFIX}backup/main/{name}"), bytes, &PutOptions::default()).await.unwrap();
    }
    drop(source);
    let (rows, plan, _) = restored(&store, &Format::PgBackRest, None, Some("correct horse")).await.unwrap();
    assert_eq!((rows.len(), plan.bases.len()), (journal.len(), 1), "{plan:?}");
}
