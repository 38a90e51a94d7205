//! The rooms and their arrows: which may use which. The table is the whole truth.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test fails by a panic

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// A room and the rooms that it may use.
const ARROWS: [(&str, &[&str]); 13] = [
    ("main", &["*"]),
    ("cli", &["*"]),
    ("api", &[]),
    ("task", &["api"]),
    ("rules", &["api"]),
    ("controller", &["api", "rules", "task"]),
    ("store", &[]),
    ("replicate", &["store"]),
    ("backup", &["store", "replicate"]),
    ("mongo", &[]),
    ("standby", &["mongo"]),
    ("restore", &["store", "backup", "mongo"]),
    ("worker", &["api", "task", "store", "replicate", "backup", "restore", "standby"]),
];

/// Rooms that know no Kubernetes.
const WITHOUT_KUBERNETES: [&str; 6] = ["store", "replicate", "backup", "mongo", "restore", "standby"];

/// A file that needs more lines than this, its tests aside, holds more than one thing.
const LINES: usize = 450;

fn sources() -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
    assert!(files.len() > 20, "the sources were found");
    files
}

fn collect(folder: &Path, files: &mut Vec<(PathBuf, String)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            files.push((path, text));
        }
    }
}

/// First folder below `src`, or the file's name.
fn room(path: &Path) -> String {
    let below = path.strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).unwrap();
    let first = below.components().next().unwrap().as_os_str().to_string_lossy().into_owned();
    first.trim_end_matches(".rs").to_owned()
}

/// Rooms named in `crate::room` paths and in `use crate::{room, …}` groups.
fn used(text: &str) -> Vec<String> {
    let code: String =
        text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let mut rooms = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let rest = &code[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(group) => rooms.extend(first_names(group)),
            None => rooms.push(name(rest)),
        }
    }
    rooms
}

fn name(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// Names at the first level of a `{…}` group whose opening brace is behind us.
fn first_names(group: &str) -> Vec<String> {
    let (mut depth, mut names, mut begins) = (0, Vec::new(), true);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => begins = true,
            c if begins && depth == 0 && !c.is_whitespace() => {
                names.push(name(&group[at..]));
                begins = false;
            }
            _ => {}
        }
    }
    names
}

#[test]
fn rooms_use_only_what_they_may() {
    let arrows: BTreeMap<_, _> = ARROWS.into_iter().collect();
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let room = room(&path);
        if room == "lib" {
            continue;
        }
        let Some(allowed) = arrows.get(room.as_str()) else {
            wrong.push(format!(
                "{}: room `{room}` is not in the table of tests/architecture.rs",
                path.display()
            ));
            continue;
        };
        for used in used(&text) {
            let is_room = arrows.contains_key(used.as_str());
            if is_room && used != room && !allowed.contains(&"*") && !allowed.contains(&used.as_str()) {
                wrong.push(format!("{}: `{room}` may not use `{used}`", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_engine_knows_no_kubernetes() {
    for (path, text) in sources() {
        if WITHOUT_KUBERNETES.contains(&room(&path).as_str()) {
            for word in ["kube::", "k8s_openapi"] {
                assert!(!text.contains(word), "{} uses {word}", path.display());
            }
        }
    }
}

#[test]
fn no_file_outgrows_its_purpose() {
    let long: Vec<_> = sources()
        .into_iter()
        .map(|(path, text)| (path, text.split("#[cfg(test)]\nmod tests").next().unwrap().lines().count()))
        .filter(|(_, lines)| *lines > LINES)
        .map(|(path, lines)| format!("{}: {lines} lines; split it by what it holds", path.display()))
        .collect();
    assert!(long.is_empty(), "{}", long.join("\n"));
}

#[test]
fn arrows_are_found_however_they_are_written() {
    let text =
        "use crate::{\n    api::{A, B},\n    task,\n};\nfn f() { crate::store::x(); }\n// crate::worker\n";
    assert_eq!(used(text), ["api", "task", "store"]);
}
