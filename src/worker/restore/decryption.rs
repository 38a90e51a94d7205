//! The key of encrypted backups: named in the resource, mounted as a file.

use std::path::{Path, PathBuf};

use crate::{
    restore::{self, Plan, postgres},
    store::ObjectStore,
    task::{RestoreTask, Task},
};

/// Names of a passphrase in its Secret: ours, and pgBackRest's.
const NAMES: [&str; 2] = ["passphrase", "repo1-cipher-pass"];

/// What opens encrypted backups.
pub(super) struct Key {
    /// Where the passphrase is; `None` where nobody named a Secret.
    pub file: Option<PathBuf>,
    /// Where one is named, or would be.
    pub place: String,
}

/// The field that names the Secret, and whose it is.
pub(super) fn place(task: &Task, work: &RestoreTask) -> String {
    let owner = &task.owner;
    let field =
        if owner.kind == "RecoveryDrill" { "spec.decryption" } else { "spec.bootstrap.recovery.decryption" };
    let field = format!("{field} of {} {}/{}", owner.kind, owner.namespace, owner.name);
    match &work.decryption {
        Some(secret) => format!("Secret {secret} ({field})"),
        None => field,
    }
}

impl Key {
    /// Looks for the passphrase where the Secret is mounted.
    ///
    /// # Errors
    /// [`restore::Error::Locked`] for a Secret without it.
    pub fn find(task: &Task, work: &RestoreTask, directory: &Path) -> Result<Self, restore::Error> {
        let place = place(task, work);
        if work.decryption.is_none() {
            return Ok(Self { file: None, place });
        }
        let files = NAMES.map(|name| directory.join(name));
        let is_there = |file: &PathBuf| std::fs::read(file).is_ok_and(|text| !text.trim_ascii().is_empty());
        let file = files.into_iter().find(is_there).ok_or_else(|| {
            restore::Error::Locked(format!(
                "{place} has no key {} (or {}); add it, then ask for another attempt",
                NAMES[0], NAMES[1]
            ))
        })?;
        Ok(Self { file: Some(file), place })
    }
}

/// Whether what a plan reads can be opened with what was named.
///
/// # Errors
/// [`restore::Error::Locked`] for encrypted backups without a key, and for a key where none helps.
pub(super) async fn check(
    (store, prefix): (&dyn ObjectStore, &str),
    (work, place): (&RestoreTask, &str),
    plan: &Plan,
) -> Result<(), restore::Error> {
    let can_be_opened = plan.bases.last().is_some_and(postgres::is_label);
    if work.decryption.is_some() && !can_be_opened {
        return Err(restore::Error::Locked(format!(
            "{place} is given, but of encrypted backups only repositories of pgBackRest can be restored so far, and these are none; leave it out"
        )));
    }
    if work.decryption.is_none() && postgres::is_locked(store, prefix, plan).await? {
        return Err(postgres::no_key(plan, place));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(kind: &str, decryption: Option<&str>) -> (Task, RestoreTask) {
        let store = serde_json::json!({
            "region": "east", "endpoint": "https://s3", "signingRegion": "east", "addressing": "Path",
            "bucket": "copies", "prefix": "orders/",
        });
        let work = serde_json::json!({
            "target": store, "attempt": 1, "engine": "PostgreSQL", "hold": true, "serverId": 7,
            "decryption": decryption,
        });
        let task = serde_json::json!({
            "version": crate::task::TASK_VERSION,
            "owner": {"kind": kind, "namespace": "shop", "name": "orders", "uid": "u", "generation": 1},
            "work": {"restore": work},
        });
        (serde_json::from_value(task).unwrap(), serde_json::from_value(work).unwrap())
    }

    #[test]
    fn b14_a_secret_without_a_passphrase_is_named_with_its_field() {
        let folder = tempfile::tempdir().unwrap();
        for (kind, field) in [
            ("DatabaseInstance", "spec.bootstrap.recovery.decryption of DatabaseInstance shop/orders"),
            ("RecoveryDrill", "spec.decryption of RecoveryDrill shop/orders"),
        ] {
            let (task, work) = task(kind, Some("orders-key"));
            let error = Key::find(&task, &work, folder.path()).err().unwrap();
            assert!(error.is_permanent());
            let told = error.to_string();
            for word in ["Secret orders-key", field, "no key passphrase", "repo1-cipher-pass"] {
                assert!(told.contains(word), "{told}");
            }
        }
        let (task, work) = task("DatabaseInstance", None);
        let key = Key::find(&task, &work, folder.path()).unwrap();
        assert_eq!(key.file, None);
        assert!(key.place.starts_with("spec.bootstrap.recovery.decryption"), "{}", key.place);
    }

    #[test]
    fn b14_the_passphrase_goes_by_our_name_or_by_pgbackrests() {
        let folder = tempfile::tempdir().unwrap();
        let (task, work) = task("DatabaseInstance", Some("orders-key"));
        for name in ["repo1-cipher-pass", "passphrase"] {
            std::fs::write(folder.path().join(name), "correct horse\n").unwrap();
            let key = Key::find(&task, &work, folder.path()).unwrap();
            assert_eq!(key.file, Some(folder.path().join(name)));
        }
        std::fs::write(folder.path().join("passphrase"), "\n").unwrap();
        let key = Key::find(&task, &work, folder.path()).unwrap();
        assert_eq!(key.file, Some(folder.path().join("repo1-cipher-pass")), "an empty one is none");
    }
}
