//! Tells the program which commit it was built from.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-env-changed=FARSHORE_COMMIT");
    println!("cargo:rerun-if-changed=.git/HEAD");
    println!("cargo:rerun-if-changed=.git/logs/HEAD");
    let commit =
        std::env::var("FARSHORE_COMMIT").ok().or_else(described).unwrap_or_else(|| "unknown".to_owned());
    println!("cargo:rustc-env=FARSHORE_COMMIT={commit}");
}

/// `None` outside of a repository, as in an unpacked archive.
fn described() -> Option<String> {
    let output = Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
