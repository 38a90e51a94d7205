//! Tests that want a process to themselves.

/// True in a process that runs nothing but the test of this name. Elsewhere starts one, passes on what
/// it prints, and fails if it fails.
pub fn alone(test: &str) -> bool {
    if std::env::var_os("FARSHORE_TEST_ALONE").is_some() {
        return true;
    }
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env("FARSHORE_TEST_ALONE", "1")
        .output()
        .unwrap();
    let (said, failed) = (String::from_utf8_lossy(&child.stdout), String::from_utf8_lossy(&child.stderr));
    assert!(child.status.success(), "{said}{failed}");
    println!("{said}");
    false
}

/// Peak resident memory of this process, in KiB.
pub fn peak_rss() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
