//! Tells the program which commit it was built from.

use std::{path::Path, process::Command};

fn main() {
    println!("cargo:rerun-if-env-changed=FARSHORE_COMMIT");
    // A path that is missing would have everything built anew each time; in a worktree it lies elsewhere.
    println!("cargo:rerun-if-changed=build.rs");
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]).filter(|path| Path::new(path).exists())
    {
        println!("cargo:rerun-if-changed={log}");
    }
    let commit = std::env::var("FARSHORE_COMMIT")
        .ok()
        .or_else(|| git(&["rev-parse", "--short=12", "HEAD"]))
        .unwrap_or_else(|| "unknown".to_owned());
    println!("cargo:rustc-env=FARSHORE_COMMIT={commit}");
}

/// `None` outside of a repository, as in an unpacked archive.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
