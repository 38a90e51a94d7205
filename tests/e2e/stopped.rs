//! A pod whose processes stand still: it is there, its ports are open, and nobody answers. The local cluster's pods are
//! processes of this machine.

use std::{fs, process::Command};

use crate::cluster::get;

/// Goes on when it is dropped.
pub struct Stopped(Vec<String>);

impl Stopped {
    pub fn pod(namespace: &str, name: &str) -> Self {
        let pod = get("pod", namespace, name).expect("the pod");
        let its = processes(pod["metadata"]["uid"].as_str().expect("a UID"));
        assert!(
            !its.is_empty(),
            "no process of {namespace}/{name} is seen: is the cluster of dev/cluster up here?"
        );
        signal("-STOP", &its);
        Self(its)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        signal("-CONT", &self.0);
    }
}

/// The kubelet puts what runs in a pod into a cgroup of the pod's.
fn processes(uid: &str) -> Vec<String> {
    let all = fs::read_dir("/proc").expect("/proc").flatten();
    let names = all.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names
        .filter(|name| name.bytes().all(|letter| letter.is_ascii_digit()))
        // A process may end while it is looked at.
        .filter(|pid| fs::read_to_string(format!("/proc/{pid}/cgroup")).is_ok_and(|of| of.contains(uid)))
        .collect()
}

fn signal(which: &str, processes: &[String]) {
    // One that has ended meanwhile needs no signal.
    drop(Command::new("kill").arg(which).args(processes).output().expect("kill runs"));
}
