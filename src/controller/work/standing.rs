//! What is said of a resource that no worker serves: the rules keep it out, or it is another's.

use kube::ResourceExt;

use crate::{
    api::{
        Served,
        condition::{self, ACCEPTED, READY, RECONCILING, STALLED, Verdict},
    },
    controller::status::Said,
    rules::Objection,
};

/// Conditions of a resource that the rules keep out.
#[must_use]
pub fn out(objection: &Objection) -> Vec<Said> {
    let Objection { waiting, reason, message } = objection;
    let say = |type_, verdict| (type_, verdict, (*reason).to_owned(), message.clone());
    // Waiting heals by itself; what is refused needs a person.
    let kstatus = if *waiting { RECONCILING } else { STALLED };
    vec![say(READY, Verdict::False), say(ACCEPTED, Verdict::False), say(kstatus, Verdict::True)]
}

/// Conditions of a resource whose target region no controller serves.
#[must_use]
pub fn other_region(region: &str) -> Vec<Said> {
    let message = format!(
        "no controller here serves region {region}; run one with --regions {region}, or choose another spec.target.region"
    );
    let say = |type_| (type_, Verdict::False, "OtherRegion".to_owned(), message.clone());
    [READY, ACCEPTED].map(say).to_vec()
}

/// True when some controller has said something about the resource that is not just that it is another's.
#[must_use]
pub fn is_spoken_for<K: Served>(object: &K) -> bool {
    let accepted = condition::find(object.conditions(), ACCEPTED);
    accepted.is_some_and(|accepted| accepted.reason != "OtherRegion")
}

/// True for a resource that the rules let in.
#[must_use]
pub fn is_accepted<K: Served>(object: &K) -> bool {
    condition::is_true(object.conditions(), ACCEPTED)
}

/// `service orders`.
#[must_use]
pub fn about<K: Served>(object: &K) -> String {
    format!("{} {}", K::NOUN, object.name_any())
}
