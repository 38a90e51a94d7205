//! What an answer, or none, makes of a region.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;

use crate::{
    api::{
        Outage, PastOutage, Region, RegionStatus,
        condition::{READY, RECONCILING, STALLED, Verdict, find},
    },
    controller::{
        breaker::{Breaker, Pauses},
        events::Announcement,
        probe::{Answer, NoAnswer},
        status::{Said, conditions},
    },
};

/// Beyond this, stores refuse what is signed.
const CLOCKS_APART: SignedDuration = SignedDuration::from_mins(15);

/// An outage whose next probe is overdue for longer than any pause is followed by nobody.
const UNFOLLOWED: SignedDuration = SignedDuration::from_mins(5);

/// What was found.
pub struct Found {
    /// False: no service here concerns it.
    pub needed: bool,
    pub breaker: Breaker,
    /// `None`: it was not time to ask.
    pub answer: Option<Result<Answer, NoAnswer>>,
    /// From 0 to 1.
    pub jitter: f64,
}

/// What follows.
pub struct Decision {
    /// `None`: nothing new is known.
    pub status: Option<RegionStatus>,
    pub breaker: Breaker,
    pub announcements: Vec<Announcement>,
    pub next_look: Duration,
}

/// Decides on a region.
#[must_use]
pub fn decide(region: &Region, found: Found, now: Timestamp, pauses: &Pauses) -> Decision {
    let Found { needed, breaker, answer, jitter } = found;
    let Some(answer) = answer else {
        let next_look = until(now, breaker.next_probe);
        return Decision { status: None, breaker, announcements: Vec::new(), next_look };
    };
    let breaker = breaker.after(answer.is_ok(), now, pauses, jitter);
    let next_look = until(now, breaker.next_probe);
    let status = match &answer {
        Ok(answer) => Some(answering(region, (*answer, needed), now)),
        // One lost probe is no news; the next one is soon.
        Err(_) if !breaker.is_open(pauses) => None,
        Err(failure) => Some(silent(region, failure, &breaker, now)),
    };
    let announcements = status.as_ref().map(|new| changes(region, new)).unwrap_or_default();
    Decision { status, breaker, announcements, next_look }
}

/// True for a region that needs no word of a controller which does not need it: it has a status. That is
/// whoever's who needs it, and may see the network otherwise than we do; only an outage that nobody follows
/// any more is asked about again.
#[must_use]
pub fn is_settled(region: &Region, now: Timestamp) -> bool {
    let current = |status: &&RegionStatus| status.observed_generation == region.metadata.generation;
    let Some(status) = region.status.as_ref().filter(current) else { return false };
    status.outage.as_ref().is_none_or(|outage| now < outage.next_probe.0 + UNFOLLOWED)
}

fn until(now: Timestamp, at: Option<Timestamp>) -> Duration {
    let wait = at.map_or(SignedDuration::ZERO, |at| now.duration_until(at));
    // A little later than due, so that the look does find it due.
    Duration::try_from(wait).unwrap_or_default() + Duration::from_millis(50)
}

fn answering(region: &Region, (answer, needed): (Answer, bool), now: Timestamp) -> RegionStatus {
    let old = region.status.clone().unwrap_or_default();
    let name = region.name_any();
    let offset = answer.offset.unwrap_or(SignedDuration::ZERO);
    let apart = offset.abs() > CLOCKS_APART;
    let said: Vec<Said> = if apart {
        // To the nearest minute: another text each time would be written each time.
        let message = format!(
            "the clock of region {name}'s store ({}) is {} min {} ours, and stores refuse requests beyond 15 min; set the clocks",
            region.spec.object_store.endpoint,
            (offset.abs().as_secs() + 30) / 60,
            if offset.is_negative() { "behind" } else { "ahead of" }
        );
        vec![
            (READY, Verdict::False, "ClockSkew".to_owned(), message.clone()),
            (STALLED, Verdict::True, "ClockSkew".to_owned(), message),
        ]
    } else {
        let once = if needed { "" } else { " now; it is asked again once an instance or a service needs it" };
        let message = format!("{} answers{once}", region.spec.object_store.endpoint);
        vec![(READY, Verdict::True, "Answers".to_owned(), message)]
    };
    let healed =
        old.outage.as_ref().map(|outage| PastOutage { since: outage.since.clone(), until: Time(now) });
    RegionStatus {
        observed_generation: region.metadata.generation,
        conditions: conditions(&old.conditions, region.metadata.generation, now, said),
        clock_offset: clock_offset(old.clock_offset, answer),
        outage: None,
        last_outage: healed.or(old.last_outage),
    }
}

/// The offset in words; a change of a second or less is none.
fn clock_offset(old: Option<String>, answer: Answer) -> Option<String> {
    let Some(offset) = answer.offset else { return old };
    let seconds = offset.as_secs();
    let known =
        old.as_deref().and_then(|text| text.strip_suffix('s')).and_then(|text| text.parse::<i64>().ok());
    if known.is_some_and(|known| known.abs_diff(seconds) <= 1) { old } else { Some(format!("{seconds}s")) }
}

fn silent(region: &Region, failure: &NoAnswer, breaker: &Breaker, now: Timestamp) -> RegionStatus {
    let old = region.status.clone().unwrap_or_default();
    let name = region.name_any();
    let reason = failure.reason.to_owned();
    // An outage heals itself; a wrong certificate does not.
    let (type_, step) = match failure.reason {
        "StoreUnreachable" => (RECONCILING, "look at the store and at the network between"),
        _ => (STALLED, "correct it"),
    };
    let message =
        format!("region {name}: {}; {step}, no worker is started for it until it answers", failure.message);
    let mut said = vec![(READY, Verdict::False, reason.clone(), message.clone())];
    said.push((type_, Verdict::True, reason, message));
    RegionStatus {
        observed_generation: region.metadata.generation,
        conditions: conditions(&old.conditions, region.metadata.generation, now, said),
        clock_offset: old.clock_offset,
        outage: Some(Outage {
            since: Time(breaker.since.unwrap_or(now)),
            next_probe: Time(breaker.next_probe.unwrap_or(now)),
            failures: breaker.failures,
        }),
        last_outage: old.last_outage,
    }
}

/// One Event a change of reason; the first good answer is none.
fn changes(region: &Region, new: &RegionStatus) -> Vec<Announcement> {
    let old = region.status.as_ref().and_then(|status| find(&status.conditions, READY));
    let Some(ready) = find(&new.conditions, READY) else { return Vec::new() };
    if old.is_some_and(|old| old.reason == ready.reason) {
        return Vec::new();
    }
    if ready.status != "True" {
        return vec![Announcement::warning(&ready.reason, &ready.message)];
    }
    if old.is_none() {
        return Vec::new();
    }
    vec![Announcement::normal("StoreRecovered", format!("region {}: {}", region.name_any(), ready.message))]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region() -> Region {
        serde_yaml_ng::from_str(
            "apiVersion: farshore.dev/v1alpha1
kind: Region
metadata: {name: east, generation: 1}
spec: {objectStore: {endpoint: \"http://minio.east:9000\"}}
",
        )
        .unwrap()
    }

    fn look(region: &mut Region, breaker: Breaker, answer: Result<Answer, NoAnswer>, now: i64) -> Decision {
        let found = Found { needed: true, breaker, answer: Some(answer), jitter: 0.5 };
        let decision = decide(region, found, Timestamp::from_second(now).unwrap(), &Pauses::default());
        if let Some(status) = &decision.status {
            region.status = Some(status.clone());
        }
        decision
    }

    fn down() -> Result<Answer, NoAnswer> {
        Err(NoAnswer {
            reason: "StoreUnreachable",
            message: "http://minio.east:9000 does not answer: refused".to_owned(),
        })
    }

    fn up(seconds: i64) -> Answer {
        Answer { offset: Some(SignedDuration::from_secs(seconds)) }
    }

    fn ready(region: &Region) -> (String, String) {
        let status = region.status.as_ref().unwrap();
        let ready = find(&status.conditions, READY).unwrap();
        (ready.status.clone(), ready.reason.clone())
    }

    #[test]
    fn p08_an_outage_is_told_once_and_ends_with_the_first_answer() {
        let mut east = region();
        let first = look(&mut east, Breaker::default(), Ok(up(0)), 0);
        assert_eq!(ready(&east), ("True".to_owned(), "Answers".to_owned()));
        assert!(first.announcements.is_empty());
        let lost = look(&mut east, first.breaker, down(), 30);
        assert!(lost.status.is_none(), "one lost probe is no outage");
        let open = look(&mut east, lost.breaker, down(), 35);
        assert_eq!(ready(&east), ("False".to_owned(), "StoreUnreachable".to_owned()));
        assert_eq!(open.announcements.len(), 1);
        let again = look(&mut east, open.breaker, down(), 40);
        assert!(again.announcements.is_empty());
        let outage = east.status.as_ref().unwrap().outage.clone().unwrap();
        assert_eq!((outage.since.0.as_second(), outage.failures), (30, 3));
        let healed = look(&mut east, again.breaker, Ok(up(0)), 50);
        assert_eq!(healed.announcements[0].reason, "StoreRecovered");
        let status = east.status.as_ref().unwrap();
        assert!(status.outage.is_none());
        assert_eq!(status.last_outage.as_ref().unwrap().until.0.as_second(), 50);
    }

    #[test]
    fn p08_clocks_more_than_15_min_apart_are_named() {
        let mut east = region();
        for (seconds, reason) in [(0, "Answers"), (899, "Answers"), (-1000, "ClockSkew"), (1000, "ClockSkew")]
        {
            look(&mut east, Breaker::default(), Ok(up(seconds)), 0);
            assert_eq!(ready(&east).1, reason, "{seconds}");
        }
        assert_eq!(east.status.unwrap().clock_offset.as_deref(), Some("1000s"));
    }

    #[test]
    fn p02_p05_what_is_wrong_with_a_region_is_a_condition_and_an_event_with_the_next_step() {
        let certificate =
            NoAnswer { reason: "BadCABundle", message: "spec.objectStore.caBundle: no PEM".into() };
        for (answer, step) in [
            (down(), "look at the store"),
            (Err(certificate), "correct it"),
            (Ok(up(-1199)), "20 min behind ours, and stores refuse requests beyond 15 min; set the clocks"),
        ] {
            let mut east = region();
            let lost = Breaker { failures: 1, ..Breaker::default() };
            let told = look(&mut east, lost, answer, 0).announcements;
            let status = east.status.unwrap();
            let ready = find(&status.conditions, READY).unwrap();
            assert_eq!(ready.status, "False");
            assert_eq!(told, [Announcement::warning(&ready.reason, ready.message.clone())]);
            assert!(
                ready.message.contains("region east") && ready.message.contains(step),
                "{}",
                ready.message
            );
        }
    }

    #[test]
    fn p02_a_region_that_nobody_needs_is_asked_once_and_left_to_whoever_does_need_it() {
        let mut west = region();
        let pauses = Pauses::default().seldom();
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        let ask = |region: &mut Region, answer: Result<Answer, NoAnswer>| {
            let breaker = Breaker { failures: 1, ..Breaker::default() };
            let found = Found { needed: false, breaker, answer: Some(answer), jitter: 0.5 };
            region.status = decide(region, found, at(0), &pauses).status;
        };
        assert!(!is_settled(&west, at(0)), "it has no status");
        ask(&mut west, Ok(up(0)));
        assert_eq!(ready(&west).1, "Answers");
        assert!(is_settled(&west, at(1 << 30)), "another controller may need it, and see it down");
        west.metadata.generation = Some(2);
        assert!(!is_settled(&west, at(0)), "edited");
        ask(&mut west, down());
        let next = west.status.as_ref().unwrap().outage.as_ref().unwrap().next_probe.0.as_second();
        assert_eq!(ready(&west).1, "StoreUnreachable");
        assert!(
            is_settled(&west, at(next + 299)) && !is_settled(&west, at(next + 300)),
            "followed by nobody"
        );
    }

    #[test]
    fn a_region_that_answers_is_not_written_again() {
        let mut east = region();
        let first = look(&mut east, Breaker::default(), Ok(up(0)), 0);
        let status = east.status.clone();
        look(&mut east, first.breaker, Ok(up(1)), 30);
        assert_eq!(east.status, status);
    }
}
