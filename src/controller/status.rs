//! Status: written only when it differs, by us only what is ours.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{
    Api, Resource, ResourceExt,
    api::{Patch, PatchParams},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{Error, FIELD_MANAGER, context::unless_gone};
use crate::api::condition::{self, Verdict};

/// One condition to be.
pub type Said = (&'static str, Verdict, String, String);

/// The conditions that shall be, and no others; transition times move only with the value.
#[must_use]
pub fn conditions(
    old: &[Condition],
    generation: Option<i64>,
    now: Timestamp,
    said: Vec<Said>,
) -> Vec<Condition> {
    let mut next = Vec::with_capacity(said.len());
    for (type_, verdict, reason, message) in said {
        let mut one: Vec<_> = condition::find(old, type_).cloned().into_iter().collect();
        condition::set(&mut one, generation, now, (type_, verdict, &reason, message));
        next.append(&mut one);
    }
    next
}

/// A condition as it is.
#[must_use]
pub fn keep(old: &[Condition], type_: &'static str) -> Option<Said> {
    let kept = condition::find(old, type_)?;
    let verdict = match kept.status.as_str() {
        "True" => Verdict::True,
        "False" => Verdict::False,
        _ => Verdict::Unknown,
    };
    Some((type_, verdict, kept.reason.clone(), kept.message.clone()))
}

/// Writes a status when it differs from the one that is there; `observed` is the worker's and left alone.
///
/// # Errors
/// What the API server says, but that the object is gone.
pub async fn publish<K, S>(api: &Api<K>, object: &K, old: Option<&S>, new: &S) -> Result<bool, Error>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
    S: Serialize,
{
    let new = ours(serde_json::to_value(new)?);
    let old = old.map(|old| serde_json::to_value(old).map(ours)).transpose()?;
    if old.as_ref() == Some(&new) {
        return Ok(false);
    }
    let body = json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        // The UID keeps a status from landing on a namesake that was created in the meantime.
        "metadata": {"name": object.name_any(), "uid": object.uid()},
        "status": new,
    });
    let params = PatchParams::apply(FIELD_MANAGER).force();
    let written = api.patch_status(&object.name_any(), &params, &Patch::Apply(&body)).await;
    Ok(unless_gone(written)?.is_some())
}

fn ours(mut status: Value) -> Value {
    if let Some(fields) = status.as_object_mut() {
        fields.remove("observed");
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p01_transition_times_move_with_the_value_only() {
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        let said = |verdict, reason: &str| vec![("Ready", verdict, reason.to_owned(), String::new())];
        let first = conditions(&[], Some(1), at(1), said(Verdict::False, "A"));
        let same = conditions(&first, Some(2), at(2), said(Verdict::False, "B"));
        assert_eq!((same[0].last_transition_time.0, same[0].reason.as_str()), (at(1), "B"));
        assert_eq!(same[0].observed_generation, Some(2));
        let other = conditions(&same, Some(2), at(3), said(Verdict::True, "C"));
        assert_eq!(other[0].last_transition_time.0, at(3));
        assert!(conditions(&other, Some(2), at(4), Vec::new()).is_empty());
    }
}
