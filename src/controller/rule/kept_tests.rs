//! What a rule keeps on request, and what its status says of that.

use super::{migrating::migrating, *};
use crate::api::AttributeName;

#[test]
fn c02_what_was_asked_to_be_kept_is_in_both_tasks_and_another_wish_is_another_task() {
    let wish = "attributes: {storageClass: Keep, accessControl: {accounts: [{source: a, target: b}]}}";
    let photos = reporting(rule("", wish), "", PLANNED);
    let decision = decided(&photos, &observed(vec![serving(&photos)]), accepted());
    let text = &decision.beside.as_ref().unwrap().config_map.data.as_ref().unwrap()["task.json"];
    let task = crate::task::Task::from_text(text, &crate::task::hash(text)).unwrap();
    let crate::task::Work::Migrate(work) = task.work else { panic!("{text}") };
    assert_eq!(work.attributes, photos.spec.attributes);
    let live = decided(&photos, &observed(Vec::new()), accepted()).start.unwrap();
    let text = &live.config_map.data.as_ref().unwrap()["task.json"];
    let task = crate::task::Task::from_text(text, &crate::task::hash(text)).unwrap();
    let crate::task::Work::Replicate(work) = task.work else { panic!("{text}") };
    assert_eq!(work.attributes, photos.spec.attributes);
    let edited = decided(&rule("", wish), &observed(vec![serving(&rule("", ""))]), accepted());
    assert!(edited.end.len() == 1 && edited.start.is_some());
}

#[test]
fn c02_the_status_says_what_copies_lack_and_why_and_what_is_skipped() {
    let wish = "attributes: {creationTime: {keep: AsReplica}, accessControl: {}}";
    let lacking = format!(
        "{MIGRATED_AT}
    skipped: [{{reason: Archived, count: 3, example: a/b}}]
    incomplete: [{{attribute: Tags, why: the target takes no tags, count: 2, example: a/c}}]"
    );
    let planned = reporting(rule("", wish), "", PLANNED);
    let mut pods =
        migrating(&planned, "{completedIndexes: '0-99', conditions: [{type: Complete, status: 'True'}]}");
    let pod = |index: u32| {
        let words = r#"{"range":0,"objects":1,"bytes":1,"copied":1,"lists":2,"failed":0,"incomplete":[{"attribute":"Tags","why":"w","count":4,"example":"p"}]}"#;
        PodView::new(&read(&format!(
            "metadata: {{name: p, annotations: {{batch.kubernetes.io/job-completion-index: '{index}'}}}}
status: {{phase: Succeeded, containerStatuses: [{{name: worker, image: x, imageID: '', ready: false, restartCount: 0, state: {{terminated: {{exitCode: 0, message: '{words}'}}}}}}]}}
"
        )))
    };
    pods.pods = vec![pod(0), pod(1)];
    let found = Observed { migrations: vec![pods], ..observed(vec![serving(&planned)]) };
    let lacks = |decision: &Decision| {
        let all = decision.status.as_ref().unwrap().incomplete.clone();
        all.into_iter().map(|lacks| (lacks.attribute, lacks.count)).collect::<Vec<_>>()
    };
    let (tags, owner) = (AttributeName::Tags, (AttributeName::Owner, None));
    let ended = decided(&planned, &found, accepted());
    assert_eq!(lacks(&ended), [(tags, Some(8)), owner]);
    // The live worker has its own, and the pods are gone.
    let photos = reporting(after(planned, &ended), &lacking, "");
    let decision = decided(&photos, &observed(vec![serving(&photos)]), accepted());
    assert_eq!(lacks(&decision), [(tags, Some(10)), owner]);
    let skipped = &decision.status.as_ref().unwrap().skipped[0];
    assert_eq!(
        (skipped.reason.as_str(), skipped.count, skipped.example.as_deref()),
        ("Archived", 3, Some("a/b"))
    );
    assert_eq!(told(&decision, IN_SYNC).0, "True", "what can't be held keeps nothing from being in sync");
    // All objects were looked at since: what the pods said is old.
    let looked = format!("{lacking}\n    attributes: {{at: \"2026-11-21T07:30:00Z\", asked: x}}");
    let photos = reporting(after(photos, &decision), &looked, "");
    let decision = decided(&photos, &observed(vec![serving(&photos)]), accepted());
    assert_eq!(lacks(&decision), [(tags, Some(2)), owner]);
}
