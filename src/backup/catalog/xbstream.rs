//! What a base of mariadb-backup or xtrabackup says about itself: sidecars, or the same files inside
//! the stream.

use std::io::{self, Read};

use serde::{Deserialize, Serialize};

use super::binlog::Unreadable;

const MAGIC: &[u8; 8] = b"XBSTCK01";
const MAX_PATH: u32 = 4096;
/// The files looked for hold a few hundred bytes.
const MAX_FILE: u64 = 64 * 1024;

/// Where a base begins and ends. Texts are the tool's; times are in the zone of its machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackupInfo {
    pub incremental: Option<bool>,
    pub from_lsn: Option<u64>,
    pub to_lsn: Option<u64>,
    /// `YYYY-MM-DD hh:mm:ss`.
    pub start_time: Option<String>,
    pub end_time: Option<String>,
    pub binlog_file: Option<String>,
    pub gtid: Option<String>,
}

impl BackupInfo {
    /// Takes what an `xtrabackup_info` or an `xtrabackup_checkpoints` file says.
    pub fn read_properties(&mut self, text: &str) {
        // A set of several servers' GTIDs goes on in the next line.
        for line in text.replace(",\n", ",").lines() {
            let Some((name, value)) = line.split_once(" = ") else { continue };
            let (name, value) = (name.trim(), value.trim());
            match name {
                "backup_type" => self.incremental = Some(value == "incremental"),
                "incremental" => self.incremental = Some(value == "Y"),
                "from_lsn" | "innodb_from_lsn" => self.from_lsn = value.parse().ok(),
                "to_lsn" | "innodb_to_lsn" => self.to_lsn = value.parse().ok(),
                "start_time" => self.start_time = Some(value.to_owned()),
                "end_time" => self.end_time = Some(value.to_owned()),
                "binlog_pos" => self.read_position(value),
                _ => {}
            }
        }
    }

    /// `filename 'mysql-bin.000008', position '385', GTID of the last change '0-101-13'`
    fn read_position(&mut self, value: &str) {
        let mut quoted = value.split('\'').skip(1).step_by(2);
        self.binlog_file = quoted.next().map(str::to_owned);
        self.gtid = quoted.nth(1).map(str::to_owned);
    }

    /// Takes what an `xtrabackup_binlog_info` file says: name, position, GTIDs, split by tabs.
    fn read_binlog_info(&mut self, text: &str) {
        let mut columns = text.trim_end().splitn(3, ['\t', ' ']);
        self.binlog_file = columns.next().map(str::to_owned);
        self.gtid = columns.nth(1).map(|gtid| gtid.replace('\n', ""));
    }
}

/// Reads a whole xbstream for the small files that say what it is. Costs the reading of the stream.
pub fn read_info(mut input: impl Read) -> Result<BackupInfo, Unreadable> {
    let mut info = BackupInfo::default();
    let mut offset = 0;
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    while let Some(chunk) = next_chunk(&mut input, &mut offset)? {
        let name = chunk.path.rsplit('/').next().unwrap_or_default();
        let wanted = matches!(
            name.split_once("backup_"),
            Some(("xtra" | "mariadb_", "info" | "binlog_info" | "checkpoints"))
        );
        if !wanted || chunk.length > MAX_FILE {
            let skipped = io::copy(&mut (&mut input).take(chunk.length), &mut io::sink())?;
            if skipped < chunk.length {
                return Err(Unreadable::Damaged(offset));
            }
            continue;
        }
        let mut body = vec![0; usize::try_from(chunk.length).unwrap_or_default()];
        input.read_exact(&mut body)?;
        match files.iter_mut().find(|(path, _)| *path == chunk.path) {
            Some((_, all)) if all.len() as u64 <= MAX_FILE => all.extend(body),
            Some(_) => return Err(Unreadable::Damaged(offset)),
            None => files.push((chunk.path, body)),
        }
    }
    // The binlog's own file last: it says most exactly where the log goes on.
    files.sort_by_key(|(path, _)| path.ends_with("binlog_info"));
    for (path, body) in files {
        let text = String::from_utf8_lossy(&body);
        if path.ends_with("binlog_info") { info.read_binlog_info(&text) } else { info.read_properties(&text) }
    }
    Ok(info)
}

struct Chunk {
    path: String,
    /// Bytes of payload that follow.
    length: u64,
}

fn next_chunk(input: &mut impl Read, offset: &mut u64) -> Result<Option<Chunk>, Unreadable> {
    let mut head = [0; 14];
    match input.read(&mut head[..1])? {
        0 => return Ok(None),
        _ => input.read_exact(&mut head[1..])?,
    }
    if head[..8] != *MAGIC {
        return Err(if *offset == 0 { Unreadable::NotABackup } else { Unreadable::Damaged(*offset) });
    }
    let path_length = u32::from_le_bytes([head[10], head[11], head[12], head[13]]);
    if path_length > MAX_PATH {
        return Err(Unreadable::Damaged(*offset));
    }
    let mut path = vec![0; path_length as usize];
    input.read_exact(&mut path)?;
    *offset += 14 + u64::from(path_length);
    let path = String::from_utf8_lossy(&path).into_owned();
    // 'E' closes a file and has no payload.
    if head[9] == b'E' {
        return Ok(Some(Chunk { path, length: 0 }));
    }
    // Length, offset in the file, checksum; a sparse map comes first where the type says so.
    let mut sparse = 0;
    if head[9] == b'S' {
        let mut count = [0; 4];
        input.read_exact(&mut count)?;
        sparse = u64::from(u32::from_le_bytes(count));
    }
    let mut sizes = [0; 20];
    input.read_exact(&mut sizes)?;
    io::copy(&mut input.take(8 * sparse), &mut io::sink())?;
    let mut length = [0; 8];
    length.copy_from_slice(&sizes[..8]);
    let length = u64::from_le_bytes(length);
    *offset += 20 + length;
    Ok(Some(Chunk { path, length }))
}
