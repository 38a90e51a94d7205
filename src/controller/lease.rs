//! Who leads: one Lease, made at run time, around a pure [`decide`].

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};
use tokio_util::sync::CancellationToken;

use super::Error;

const LEASE_SECONDS: i32 = 15;
const LEASE_TIME: Duration = Duration::from_secs(15);
const RENEW_DEADLINE: Duration = Duration::from_secs(10);
const RETRY: Duration = Duration::from_secs(2);

/// What to do about a Lease.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Nobody has it: write this.
    Take(LeaseSpec),
    /// It is ours: write this.
    Renew(LeaseSpec),
    /// It is another's.
    Wait,
}

/// A Lease as it was seen, and since when it has looked like that: clocks of two machines are never compared.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    spec: Option<LeaseSpec>,
    since: Option<Timestamp>,
}

impl Seen {
    /// Takes a look.
    pub fn look(&mut self, spec: Option<&LeaseSpec>, now: Timestamp) {
        if self.since.is_none() || self.spec.as_ref() != spec {
            self.spec = spec.cloned();
            self.since = Some(now);
        }
    }
}

/// Decides on a Lease: ours is renewed; a free one, and one that its holder has not renewed while we
/// looked on for its whole length, is taken.
#[must_use]
pub fn decide(seen: &Seen, me: &str, now: Timestamp) -> Step {
    let spec = seen.spec.clone().unwrap_or_default();
    let holder = spec.holder_identity.as_deref().unwrap_or_default();
    let renewed = |acquired: Option<MicroTime>, transitions: i32| LeaseSpec {
        holder_identity: Some(me.to_owned()),
        lease_duration_seconds: Some(LEASE_SECONDS),
        acquire_time: acquired.or(Some(MicroTime(now))),
        renew_time: Some(MicroTime(now)),
        lease_transitions: Some(transitions),
        ..LeaseSpec::default()
    };
    let transitions = spec.lease_transitions.unwrap_or(0);
    if holder == me {
        return Step::Renew(renewed(spec.acquire_time, transitions));
    }
    let length = u64::try_from(spec.lease_duration_seconds.unwrap_or(LEASE_SECONDS))
        .map_or(LEASE_TIME, Duration::from_secs);
    let expired = seen.since.is_some_and(|since| since + length <= now);
    if holder.is_empty() || expired {
        return Step::Take(renewed(None, transitions + 1));
    }
    Step::Wait
}

/// Holds, or waits for, one Lease.
pub struct Elector {
    api: Api<Lease>,
    name: String,
    me: String,
    seen: Seen,
}

impl Elector {
    /// An elector of `me` for the Lease of that name.
    #[must_use]
    pub fn new(client: Client, namespace: &str, name: &str, me: &str) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            name: name.to_owned(),
            me: me.to_owned(),
            seen: Seen::default(),
        }
    }

    /// Waits until we lead. Errors of the API server are waited out.
    pub async fn acquire(&mut self) {
        loop {
            match self.step().await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => tracing::warn!(lease = %self.name, %error, "lease can't be read or written"),
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Keeps the Lease until `stop`, then gives it back.
    ///
    /// # Errors
    /// [`Error::LeadershipLost`] when another took it, or when it could not be renewed in time.
    pub async fn keep(mut self, stop: CancellationToken) -> Result<(), Error> {
        let mut renewed = tokio::time::Instant::now();
        loop {
            tokio::select! {
                () = stop.cancelled() => return self.release().await,
                () = tokio::time::sleep(RETRY) => {}
            }
            match tokio::time::timeout_at(renewed + RENEW_DEADLINE, self.step()).await {
                Ok(Ok(true)) => renewed = tokio::time::Instant::now(),
                Ok(Ok(false)) | Err(_) => return Err(Error::LeadershipLost { lease: self.name }),
                Ok(Err(error)) => tracing::warn!(lease = %self.name, %error, "lease could not be renewed"),
            }
            if renewed.elapsed() >= RENEW_DEADLINE {
                return Err(Error::LeadershipLost { lease: self.name });
            }
        }
    }

    /// One look and what follows from it; true while we lead.
    async fn step(&mut self) -> kube::Result<bool> {
        let lease = self.api.get_opt(&self.name).await?;
        let now = Timestamp::now();
        self.seen.look(lease.as_ref().and_then(|lease| lease.spec.as_ref()), now);
        let spec = match decide(&self.seen, &self.me, now) {
            Step::Wait => return Ok(false),
            Step::Take(spec) | Step::Renew(spec) => spec,
        };
        self.write(lease, spec).await
    }

    async fn write(&mut self, lease: Option<Lease>, spec: LeaseSpec) -> kube::Result<bool> {
        let params = PostParams::default();
        // The resource version of what was read goes along: of two that take it, one is refused.
        let written = if let Some(mut lease) = lease {
            lease.spec = Some(spec.clone());
            self.api.replace(&self.name, &params, &lease).await
        } else {
            let metadata = ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() };
            self.api.create(&params, &Lease { metadata, spec: Some(spec.clone()) }).await
        };
        match written {
            Ok(_) => {
                self.seen.look(Some(&spec), Timestamp::now());
                Ok(true)
            }
            Err(kube::Error::Api(status)) if status.is_conflict() || status.is_already_exists() => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn release(self) -> Result<(), Error> {
        let Ok(Some(mut lease)) = self.api.get_opt(&self.name).await else { return Ok(()) };
        let ours =
            lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref()) == Some(self.me.as_str());
        if let Some(spec) = lease.spec.as_mut().filter(|_| ours) {
            spec.holder_identity = None;
            spec.lease_duration_seconds = Some(1);
            if let Err(error) = self.api.replace(&self.name, &PostParams::default(), &lease).await {
                tracing::warn!(%error, "lease could not be given back; the next leader waits until it ends");
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn held_by(holder: &str, renewed: i64) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            lease_duration_seconds: Some(15),
            renew_time: Some(MicroTime(at(renewed))),
            lease_transitions: Some(3),
            ..LeaseSpec::default()
        }
    }

    #[test]
    fn a_lease_goes_to_who_asks_first_and_passes_on_when_it_is_not_renewed() {
        let mut seen = Seen::default();
        seen.look(None, at(0));
        assert!(matches!(decide(&seen, "me", at(0)), Step::Take(_)), "nobody has it");
        seen.look(Some(&held_by("other", 0)), at(100));
        assert_eq!(decide(&seen, "me", at(100)), Step::Wait);
        assert_eq!(decide(&seen, "me", at(114)), Step::Wait, "not longer than its length");
        let Step::Take(spec) = decide(&seen, "me", at(115)) else { panic!("expired") };
        assert_eq!((spec.holder_identity.as_deref(), spec.lease_transitions), (Some("me"), Some(4)));
        seen.look(Some(&held_by("other", 7)), at(114));
        assert_eq!(decide(&seen, "me", at(128)), Step::Wait, "renewed in the meantime");
        seen.look(Some(&held_by("me", 8)), at(130));
        assert!(matches!(decide(&seen, "me", at(500)), Step::Renew(_)));
        seen.look(Some(&held_by("", 8)), at(130));
        assert!(matches!(decide(&seen, "me", at(130)), Step::Take(_)), "given back");
    }

    #[test]
    fn another_machines_clock_is_never_believed() {
        let mut seen = Seen::default();
        seen.look(Some(&held_by("other", -1_000_000)), at(0));
        assert_eq!(decide(&seen, "me", at(1)), Step::Wait);
    }
}
