//! The tools' own way to replay, file by file through a pipe, beside ours: the same base, the same binlogs.

use std::{
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use crate::{
    mysql_source::{Backups, Kind, Source, succeeds},
    server::Database,
};

/// Unpacks a base and makes it whole, with the tools alone.
fn prepared(xbstream: &[u8], data: &Path) {
    std::fs::create_dir(data).unwrap();
    let mut unpack =
        Command::new("mbstream").args(["-x", "-C"]).arg(data).stdin(Stdio::piped()).spawn().unwrap();
    unpack.stdin.take().unwrap().write_all(xbstream).unwrap();
    assert!(unpack.wait().unwrap().success());
    let target = format!("--target-dir={}", data.display());
    succeeds(Command::new("mariadb-backup").args(["--no-defaults", "--prepare", &target]));
}

#[tokio::test(flavor = "multi_thread")]
async fn b08_a_replay_file_by_file_loses_a_row_with_exit_status_0_and_ours_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let mut source = Source::start((Kind::MariaDb, Backups::Files), folder.path());
    source.write(3);
    source.back_up().await;
    let base = source.base.clone();
    source.write(1);
    source.rotate().await;
    source.write(1);
    // What is committed in the second of a rotation is promised with the next log only.
    std::thread::sleep(std::time::Duration::from_millis(2100));
    source.rotate().await;
    let logs: Vec<_> = source.logs().iter().map(|log| source.data.join(log)).collect();
    let set = source.gone();

    let theirs = tempfile::tempdir().unwrap();
    let data = theirs.path().join("data");
    prepared(&base, &data);
    let place = ["xtrabackup_binlog_info", "mariadb_backup_binlog_info"].map(|file| data.join(file));
    let place = std::fs::read_to_string(place.iter().find(|file| file.exists()).unwrap()).unwrap();
    let gtid = place.split_whitespace().nth(2).unwrap();
    let server = Database::mariadb(theirs.path(), &data, &["--skip-log-bin", "--server-id=303"]);
    for log in &logs[..logs.len() - 1] {
        let pipe = format!(
            "mariadb-binlog --no-defaults --start-position={gtid} {} | mariadb --no-defaults --user=root --socket={}",
            log.display(),
            server.socket.display()
        );
        succeeds(Command::new("sh").args(["-c", &pipe]));
    }
    let rows = server.ask("SELECT id FROM shop.orders ORDER BY id");
    assert_eq!(rows.lines().collect::<Vec<_>>(), ["1", "2", "3", "4"], "row 5 is lost, and nothing says so");
    drop(server);

    let (rows, _, _) = set.restored(None).await;
    assert_eq!(rows, [1, 2, 3, 4, 5]);
}
