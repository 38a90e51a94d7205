//! Events: one a change, with the object's name and the next step.

use jiff::Timestamp;
use k8s_openapi::{
    api::{core::v1::ObjectReference, events::v1::Event},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};

use super::names;
use crate::task::shortened;

const CONTROLLER: &str = "farshore.dev/controller";
/// The API server takes at most 1024 bytes.
const LONGEST_NOTE: usize = 1000;

/// Something worth telling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    pub warning: bool,
    pub reason: String,
    pub note: String,
}

impl Announcement {
    /// Good news, or a step taken.
    #[must_use]
    pub fn normal(reason: &str, note: impl Into<String>) -> Self {
        Self { warning: false, reason: reason.to_owned(), note: note.into() }
    }

    /// Something that a person should look at.
    #[must_use]
    pub fn warning(reason: &str, note: impl Into<String>) -> Self {
        Self { warning: true, ..Self::normal(reason, note) }
    }
}

/// Writes Events. kube's own recorder appends to the object's name, which a name of 253 characters
/// does not survive, and repeats an old note for a new one.
#[derive(Clone)]
pub struct Recorder {
    client: Client,
    identity: String,
}

impl Recorder {
    /// A recorder that signs with this identity.
    #[must_use]
    pub fn new(client: Client, identity: &str) -> Self {
        Self { client, identity: identity.to_owned() }
    }

    /// Writes an Event about an object. An Event that can't be written is logged, and no reason to stop.
    pub async fn announce(&self, about: &ObjectReference, announcement: &Announcement) {
        let namespace = about.namespace.clone().unwrap_or_else(|| "default".to_owned());
        let event = event(about, announcement, &namespace, &self.identity, Timestamp::now());
        tracing::info!(
            kind = about.kind,
            namespace = about.namespace,
            name = about.name,
            reason = announcement.reason,
            "{}",
            announcement.note
        );
        let api: Api<Event> = Api::namespaced(self.client.clone(), &namespace);
        if let Err(error) = api.create(&PostParams::default(), &event).await {
            tracing::warn!(reason = announcement.reason, %error, "event could not be written");
        }
    }
}

fn event(
    about: &ObjectReference,
    told: &Announcement,
    namespace: &str,
    identity: &str,
    now: Timestamp,
) -> Event {
    let name = about.name.as_deref().unwrap_or("farshore");
    let unique = format!("{:x}", now.as_nanosecond());
    Event {
        metadata: ObjectMeta {
            name: Some(names::cut("", name, &unique)),
            namespace: Some(namespace.to_owned()),
            ..ObjectMeta::default()
        },
        action: Some("Reconcile".to_owned()),
        event_time: Some(MicroTime(now)),
        note: Some(shortened(&told.note, LONGEST_NOTE)),
        reason: Some(told.reason.clone()),
        regarding: Some(about.clone()),
        reporting_controller: Some(CONTROLLER.to_owned()),
        reporting_instance: Some(identity.chars().take(128).collect()),
        type_: Some(if told.warning { "Warning" } else { "Normal" }.to_owned()),
        ..Event::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p05_an_event_about_a_name_of_253_characters_has_a_name_and_the_next_step() {
        let about = ObjectReference { name: Some("n".repeat(253)), ..ObjectReference::default() };
        let note = format!("service {}: {}; make room", "n".repeat(253), "ä".repeat(2000));
        let told = Announcement::warning("Refused", note);
        let event = event(&about, &told, "shop", "me", Timestamp::now());
        assert!(event.metadata.name.unwrap().len() <= 63);
        let note = event.note.unwrap();
        assert!(
            note.len() <= 1024 && note.contains(&"n".repeat(253)) && note.ends_with("make room"),
            "{note}"
        );
    }
}
