use super::*;
use crate::controller::work::{
    children::{Children, children},
    plan::Start,
    task::{Written, write},
};

fn read<T: serde::de::DeserializeOwned>(yaml: &str) -> T {
    serde_yaml_ng::from_str(yaml).unwrap_or_else(|error| panic!("{error}\n{yaml}"))
}

fn service(more: &str) -> BackupSyncService {
    read(&format!(
        "apiVersion: farshore.dev/v1alpha1
kind: BackupSyncService
metadata: {{name: copy, namespace: shop, uid: uid-of-copy, generation: 4}}
spec:
  instanceRef: {{name: orders}}
  target: {{region: east, bucket: dr-backups, prefix: orders/, credentials: {{secretRef: {{name: target-keys}}}}}}
  {more}
"
    ))
}

fn instance() -> DatabaseInstance {
    read(
        "apiVersion: farshore.dev/v1alpha1
kind: DatabaseInstance
metadata: {name: orders, namespace: shop}
spec:
  engine: MySQL
  region: north
  endpoint: {uri: \"mysql://orders:3306\", credentials: {secretRef: {name: instance-keys}}}
  backups: {format: MariaDBOperator, bucket: backups, prefix: orders/, credentials: {secretRef: {name: source-keys}}}
",
    )
}

fn region(name: &str) -> Region {
    read(&format!(
        "apiVersion: farshore.dev/v1alpha1\nkind: Region\nmetadata: {{name: {name}}}\nspec: {{objectStore: {{endpoint: \"http://{name}:9000\"}}}}\n"
    ))
}

fn options() -> Options {
    Options { worker_image: "farshore:test".to_owned(), ..Options::default() }
}

fn sync_children(service: &BackupSyncService) -> Children {
    let instance = instance();
    let task = sync(service, &instance, (&region("north"), &region("east")), &options()).unwrap();
    let Work::Sync(task_of_sync) = &task.work else { panic!("it is a synchronization") };
    let work = sync_work(service, &instance, task_of_sync.mode);
    let written = write(service, &task, &work).unwrap();
    let start = Start { slot: "first".to_owned(), attempt: 0, request: None };
    children(service, (&written, &work), (&start, "20261121T040000Z-abcdef".to_owned()), &options())
}

fn pod(children: &Children) -> k8s_openapi::api::core::v1::PodSpec {
    children.job.spec.clone().unwrap().template.spec.unwrap()
}

#[test]
fn p07_a_worker_may_touch_its_own_resource_only() {
    let made = sync_children(&service(""));
    let rules = made.role.rules.unwrap();
    assert!(rules.iter().all(|rule| rule.resource_names.as_deref() == Some(&["copy".to_owned()])));
    let all: Vec<_> = rules.iter().flat_map(|rule| rule.resources.clone().unwrap()).collect();
    assert_eq!(all, ["backupsyncservices", "backupsyncservices/status"]);
    assert_eq!(made.role_binding.role_ref.name, made.role.metadata.name.unwrap());
    assert!(made.job.metadata.owner_references.unwrap()[0].uid == "uid-of-copy");
}

#[test]
fn p07_credentials_are_files_and_only_the_instances_are_optional() {
    let pod = pod(&sync_children(&service("")));
    let secrets: Vec<_> = pod.volumes.unwrap().into_iter().filter_map(|volume| volume.secret).collect();
    let found: Vec<_> =
        secrets.iter().map(|s| (s.secret_name.as_deref().unwrap(), s.optional, s.default_mode)).collect();
    assert_eq!(
        found,
        [
            ("target-keys", None, Some(0o440)),
            ("source-keys", None, Some(0o440)),
            ("instance-keys", Some(true), Some(0o440))
        ]
    );
    assert!(pod.containers[0].env.is_none(), "no credential in the environment");
}

#[test]
fn p08_what_a_new_pod_can_not_help_fails_the_job() {
    let spec = sync_children(&service("")).job.spec.unwrap();
    let rules = spec.pod_failure_policy.unwrap().rules;
    assert_eq!((rules[0].action.as_str(), rules[1].action.as_str()), ("Ignore", "FailJob"));
    assert_eq!(rules[1].on_exit_codes.as_ref().unwrap().values, [10, 11, 12, 13]);
    assert_eq!((spec.backoff_limit, spec.pod_replacement_policy.as_deref()), (Some(2), Some("Failed")));
    assert!(spec.active_deadline_seconds.is_some(), "a shift ends");
    assert!(sync_children(&service("interval: 1h")).job.spec.unwrap().active_deadline_seconds.is_none());
}

#[test]
fn p07_the_pod_is_restricted_and_small() {
    let pod = pod(&sync_children(&service("")));
    let security = pod.security_context.unwrap();
    assert_eq!(
        (security.run_as_user, security.run_as_non_root, security.fs_group),
        (Some(65532), Some(true), Some(65532))
    );
    let container = &pod.containers[0];
    let security = container.security_context.as_ref().unwrap();
    assert_eq!(
        (security.read_only_root_filesystem, security.allow_privilege_escalation),
        (Some(true), Some(false))
    );
    assert_eq!(container.resources.as_ref().unwrap().limits.as_ref().unwrap()["memory"].0, "128Mi");
    assert_eq!(pod.automount_service_account_token, Some(true));
}

#[test]
fn b11_a_purge_knows_the_target_alone_and_no_api_server() {
    let copy = service("");
    let source = crate::api::AcceptedSource {
        region: "north".to_owned(),
        endpoint: "http://north:9000".to_owned(),
        bucket: "backups".to_owned(),
        prefix: "orders/".to_owned(),
        instance_uid: "i".to_owned(),
        gone_since: None,
    };
    let written = write(&copy, &purge(&copy, &source, &region("east")), &purge_work(&copy)).unwrap();
    let start = Start { slot: "purge".to_owned(), attempt: 0, request: None };
    let run_id = "20261121T040000Z-abcdef".to_owned();
    let made = children(&copy, (&written, &purge_work(&copy)), (&start, run_id), &options());
    let pod = pod(&made);
    assert_eq!(pod.automount_service_account_token, Some(false));
    assert_eq!(pod.volumes.unwrap().len(), 2);
    assert_eq!(pod.containers[0].args.as_ref().unwrap()[..2], ["worker", "purge"]);
}

#[test]
fn p08_the_work_is_the_same_whatever_the_generation() {
    let written = |generation, more: &str| -> Written {
        let mut copy = service(more);
        copy.metadata.generation = Some(generation);
        let task = sync(&copy, &instance(), (&region("north"), &region("east")), &options()).unwrap();
        let Work::Sync(of_sync) = &task.work else { panic!("it is a synchronization") };
        let work = sync_work(&copy, &instance(), of_sync.mode);
        write(&copy, &task, &work).unwrap()
    };
    let (first, second) = (written(1, ""), written(2, "rpo: 1h"));
    assert_eq!(first.work, second.work);
    assert_ne!(first.hash, second.hash);
    assert_ne!(first.work, written(2, "retention: 3d").work);
    assert_ne!(first.work, written(2, "worker: {priorityClassName: high}").work);
}
