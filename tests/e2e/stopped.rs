//! A pod whose processes stand still: it is there, its ports are open, and nobody answers. Or one that reaches all but
//! the API server. The local cluster's pods are processes of this machine.

use std::{fs, process::Command};

use crate::cluster::get;

/// Goes on when it is dropped.
pub struct Stopped(Vec<String>);

impl Stopped {
    pub fn pod(namespace: &str, name: &str) -> Self {
        let its = of_pod(namespace, name);
        signal("-STOP", &its);
        Self(its)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        signal("-CONT", &self.0);
    }
}

/// A pod that doesn't reach the API server; it does again when this is dropped.
pub struct CutOff {
    process: String,
    address: String,
}

impl CutOff {
    pub fn pod(namespace: &str, name: &str) -> Self {
        let server = get("service", "default", "kubernetes").expect("the API server's Service");
        let address = server["spec"]["clusterIP"].as_str().expect("an address").to_owned();
        let cut = Self { process: of_pod(namespace, name).remove(0), address };
        assert!(cut.route("add"), "ip route");
        cut
    }

    /// Changes the routes of the pod.
    fn route(&self, what: &str) -> bool {
        let enter = ["-t", &self.process, "-n", "ip", "route", what, "blackhole", &self.address];
        Command::new("nsenter").args(enter).status().expect("nsenter runs").success()
    }
}

impl Drop for CutOff {
    fn drop(&mut self) {
        // A pod that is gone has no routes.
        self.route("del");
    }
}

fn of_pod(namespace: &str, name: &str) -> Vec<String> {
    let pod = get("pod", namespace, name).expect("the pod");
    let its = processes(pod["metadata"]["uid"].as_str().expect("a UID"));
    assert!(
        !its.is_empty(),
        "no process of {namespace}/{name} is seen: is the cluster of dev/cluster up here?"
    );
    its
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
