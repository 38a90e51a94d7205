use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn read(message: &Value, via: Via) -> Result<Vec<(String, Change)>, Malformed> {
    match parse(message.to_string().as_bytes(), via)? {
        Message::Changes(changes) => Ok(changes),
        Message::Unconfirmed { topic, .. } => panic!("{topic} is unconfirmed"),
    }
}

/// The one change of a message.
fn change(message: &Value, via: Via) -> Change {
    let mut changes = read(message, via).unwrap();
    assert_eq!(changes.len(), 1, "{changes:?}");
    let (bucket, change) = changes.remove(0);
    assert_eq!(bucket, "shop");
    change
}

fn record(source: &str, name: &str, key: &str) -> Value {
    json!({
        "eventVersion": "2.1", "eventSource": source, "eventName": name,
        "eventTime": "2026-11-21T10:42:43.014Z",
        "s3": {
            "s3SchemaVersion": "1.0", "configurationId": "all",
            "bucket": {"name": "shop", "arn": "arn:aws:s3:::shop"},
            "object": {"key": key, "sequencer": "18EA096C7CA5572A"},
        },
    })
}

fn message(record: &Value) -> Value {
    json!({"Records": [record]})
}

/// A key as HTML forms write it.
fn form(key: &str) -> String {
    url::form_urlencoded::byte_serialize(key.as_bytes()).collect()
}

fn eventbridge(kind: &str, extra: &Value) -> Value {
    let mut detail = json!({
        "bucket": {"name": "shop"},
        "object": {"key": "a b+c%2Fd", "version-id": "", "sequencer": "617f08299329d189"},
    });
    detail.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    json!({"version": "0", "detail-type": kind, "source": "aws.s3", "time": "2021-11-12T00:00:00Z", "detail": detail})
}

const KEY: &str = "a b+c%2Fd/ü\"x🦀";

#[test]
fn a_key_is_decoded_as_its_store_wrote_it() {
    let versity = {
        let mut record = record("aws:s3", "s3:ObjectCreated:Put", KEY);
        record["s3"]["configurationId"] = "webhook-global".into();
        record
    };
    for (what, record, via) in [
        ("aws", record("aws:s3", "ObjectCreated:Put", &form(KEY)), Via::Pushed),
        ("minio, pushed", record("minio:s3", "s3:ObjectCreated:Put", &form(KEY)), Via::Pushed),
        ("minio, listened to", record("minio:s3", "s3:ObjectCreated:Put", KEY), Via::Listening),
        ("rustfs, pushed", record("rustfs:s3", "s3:ObjectCreated:Put", &form(KEY)), Via::Pushed),
        ("rustfs, listened to", record("rustfs:s3", "s3:ObjectCreated:Put", &form(KEY)), Via::Listening),
        ("ceph", record("ceph:s3", "ObjectCreated:Put", KEY), Via::Pushed),
        ("versity", versity, Via::Pushed),
    ] {
        assert_eq!(change(&message(&record), via).key, KEY, "{what}");
    }
    let bridged = eventbridge("Object Created", &json!({"reason": "PutObject"}));
    assert_eq!(change(&bridged, Via::Pushed).key, "a b+c%2Fd");
}

#[test]
fn c10_what_a_lifecycle_deleted_is_told_from_what_someone_deleted() {
    use Kind::{Attributes, Expired, Removed, Written};
    let v = "3/L4kqtJlcpXroDTDmJ+rmSpXd3dIbrHY";
    for (name, version, agent, kind) in [
        ("s3:ObjectCreated:Put", "", "mc", Some(Written)),
        ("ObjectCreated:CompleteMultipartUpload", "", "", Some(Written)),
        ("s3:ObjectCreated:PutTagging", "", "", Some(Attributes)),
        ("s3:ObjectCreated:PutLegalHold", "", "", Some(Attributes)),
        ("ObjectTagging:Delete", "", "", Some(Attributes)),
        ("ObjectAcl:Put", "", "", Some(Attributes)),
        ("ObjectRestore:Completed", "", "", Some(Written)),
        ("ObjectRestore:Post", "", "", None),
        ("s3:ObjectRemoved:Delete", "", "mc", Some(Removed)),
        ("s3:ObjectRemoved:DeleteObjects", "", "", Some(Removed)),
        ("ObjectRemoved:DeleteMarkerCreated", v, "", Some(Removed)),
        // MinIO says only by the agent's name that it did it.
        ("s3:ObjectRemoved:Delete", "", "Internal: [ILM-Expiry]", Some(Expired)),
        ("s3:ObjectRemoved:DeleteMarkerCreated", v, "Internal: [ILM-Expiry]", Some(Expired)),
        ("s3:ObjectRemoved:DeleteAllVersions", "", "Internal: [ILM-Expiry]", Some(Expired)),
        ("s3:LifecycleDelMarkerExpiration:Delete", v, "Internal: [ILM-Expiry]", None),
        // AWS.
        ("LifecycleExpiration:Delete", "", "", Some(Expired)),
        ("LifecycleExpiration:Delete", "null", "", Some(Expired)),
        ("LifecycleExpiration:DeleteMarkerCreated", v, "", Some(Expired)),
        ("LifecycleExpiration:Delete", v, "", None),
        ("LifecycleTransition", "", "", None),
        // Ceph.
        ("s3:ObjectLifecycle:Expiration:Current", "", "", Some(Expired)),
        ("ObjectLifecycle:Expiration:Noncurrent", v, "", None),
        ("ObjectLifecycle:Expiration:DeleteMarker", v, "", None),
        ("ObjectLifecycle:Expiration:AbortMultipartUpload", "", "", None),
        ("ObjectLifecycle:Transition:Current", "", "", None),
        ("ObjectSynced:Create", "", "", Some(Written)),
        ("ObjectSynced:DeletionMarkerCreated", "", "", Some(Removed)),
        // Others that change nothing.
        ("s3:ObjectAccessed:Get", "", "", None),
        ("s3:Replication:OperationCompletedReplication", "", "", None),
        ("s3:BucketCreated:*", "", "", None),
    ] {
        let mut record = record("minio:s3", name, "k");
        record["s3"]["object"]["versionId"] = version.into();
        record["source"] = json!({"host": "10.0.0.1", "userAgent": agent});
        let read = read(&message(&record), Via::Pushed).unwrap();
        assert_eq!(read.first().map(|(_, c)| c.kind), kind, "{name} {version} {agent}");
        let told = (!version.is_empty()).then(|| version.to_owned());
        assert!(read.iter().all(|(_, c)| c.version == told), "{read:?}");
    }
}

#[test]
fn c10_eventbridge_tells_a_lifecycle_s_deletion_by_its_reason() {
    let marked = json!({"reason": "Lifecycle Expiration", "deletion-type": "Delete Marker Created"});
    let gone = json!({"reason": "Lifecycle Expiration", "deletion-type": "Permanently Deleted"});
    let deleted = json!({"reason": "DeleteObject", "deletion-type": "Permanently Deleted"});
    for (name, extra, kind) in [
        ("Object Created", json!({"reason": "CopyObject"}), Kind::Written),
        ("Object Deleted", deleted, Kind::Removed),
        ("Object Deleted", marked, Kind::Expired),
        ("Object Deleted", gone.clone(), Kind::Expired),
        ("Object Tags Added", json!({}), Kind::Attributes),
        ("Object ACL Updated", json!({}), Kind::Attributes),
        ("Object Restore Completed", json!({}), Kind::Written),
    ] {
        assert_eq!(change(&eventbridge(name, &extra), Via::Pushed).kind, kind, "{name} {extra}");
    }
    let mut old_version = eventbridge("Object Deleted", &gone);
    old_version["detail"]["object"]["version-id"] = "v7".into();
    assert_eq!(read(&old_version, Via::Pushed), Ok(vec![]));
    assert_eq!(read(&eventbridge("Object Storage Class Changed", &json!({})), Via::Pushed), Ok(vec![]));
}

#[test]
fn all_that_a_record_says_is_read() {
    // As MinIO sends it.
    let text = br#"{"EventName":"s3:ObjectCreated:Put","Key":"shop/a b","Records":[{"eventVersion":"2.0",
        "eventSource":"minio:s3","awsRegion":"","eventTime":"2026-11-21T10:42:43.014Z",
        "eventName":"s3:ObjectCreated:Put","userIdentity":{"principalId":"farshore"},
        "requestParameters":{"sourceIPAddress":"127.0.0.1"},"responseElements":{"x-amz-id-2":"58"},
        "s3":{"s3SchemaVersion":"1.0","configurationId":"Config","bucket":{"name":"shop",
        "ownerIdentity":{"principalId":"farshore"},"arn":"arn:aws:s3:::shop"},"object":{"key":"a+b","size":1,
        "eTag":"9dd4e461268c8034f5c8564e155c67a6","contentType":"text/plain","userMetadata":{"x":"y"},
        "versionId":"3f6","sequencer":"18EA096C7CA5572A"}},"source":{"host":"127.0.0.1","port":"",
        "userAgent":"Boto3"}}]}"#;
    let Ok(Message::Changes(changes)) = parse(text, Via::Pushed) else { panic!("can't be read") };
    let expected = Change {
        key: "a b".into(),
        kind: Kind::Written,
        at: Some("2026-11-21T10:42:43.014Z".parse().unwrap()),
        version: Some("3f6".into()),
        sequencer: Some(Sequencer("18EA096C7CA5572A".into())),
    };
    assert_eq!(changes, [("shop".to_owned(), expected)]);
}

#[test]
fn what_is_missing_and_can_be_missed_is_none() {
    let mut record = record("aws:s3", "ObjectCreated:Put", "k");
    record["eventTime"] = "yesterday".into();
    record["s3"]["object"] = json!({"key": "k", "versionId": null, "sequencer": "no number"});
    let change = change(&message(&record), Via::Pushed);
    assert_eq!((change.at, change.version, change.sequencer), (None, None, None));
}

#[test]
fn envelopes_are_opened() {
    let inner = message(&record("aws:s3", "ObjectCreated:Put", "a%2Bb"));
    let topic = "arn:aws:sns:eu-west-1:1:changes";
    let address = "https://sns/?Action=ConfirmSubscription";
    let sns = |kind: &str, message: &str| json!({"Type": kind, "TopicArn": topic, "Message": message, "SubscribeURL": address});
    assert_eq!(change(&sns("Notification", &inner.to_string()), Via::Pushed).key, "a+b");
    let bridged = eventbridge("Object Created", &json!({}));
    assert_eq!(change(&sns("Notification", &bridged.to_string()), Via::Pushed).key, "a b+c%2Fd");
    let asked = parse(sns("SubscriptionConfirmation", "please").to_string().as_bytes(), Via::Pushed);
    assert_eq!(asked, Ok(Message::Unconfirmed { topic: topic.to_owned(), address: address.to_owned() }));
    assert!(matches!(read(&sns("Notification", "hello"), Via::Pushed), Err(Malformed::Json(_))));
}

#[test]
fn signs_of_life_and_tests_hold_no_change() {
    for message in [
        json!({"Records": null}),
        json!({"Records": []}),
        json!({"Service": "Amazon S3", "Event": "s3:TestEvent", "Time": "2014-10-13T15:57:02.089Z", "Bucket": "shop"}),
        // VersityGW's.
        json!({"Service": "S3", "Event": "s3:TestEvent", "Bucket": "Test-Bucket"}),
    ] {
        assert_eq!(read(&message, Via::Pushed), Ok(vec![]), "{message}");
    }
}

#[test]
fn what_can_t_be_read_is_said() {
    let with = |change: &dyn Fn(&mut Value)| {
        let mut record = record("aws:s3", "ObjectCreated:Put", "k");
        change(&mut record);
        message(&record)
    };
    for (message, words) in [
        (json!({}), "neither records"),
        (json!({"Event": "s3:OtherEvent"}), "neither records"),
        (json!({"Records": "none"}), "not JSON of the expected form"),
        (json!([1, 2]), "not JSON of the expected form"),
        (json!({"Records": [1]}), "not JSON of the expected form"),
        (json!({"Records": [{}]}), "record 0: no eventName"),
        (with(&|r| r["s3"] = json!({})), "record 0: no s3.bucket.name"),
        (with(&|r| r["s3"]["bucket"]["name"] = "".into()), "record 0: no s3.bucket.name"),
        (with(&|r| r["s3"]["object"] = json!({})), "record 0: no s3.object.key"),
        (with(&|r| r["s3"]["object"]["key"] = "".into()), "record 0: a key that is empty"),
        (with(&|r| r["s3"]["object"]["key"] = "%FF".into()), "record 0: a key that is not UTF-8"),
        (with(&|r| r["s3"]["object"]["key"] = "k".repeat(1025).into()), "of more than 1,024 bytes"),
    ] {
        let error = read(&message, Via::Pushed).unwrap_err().to_string();
        assert!(error.contains(words), "{message}: {error}");
    }
    assert!(matches!(parse(b"\xff", Via::Pushed), Err(Malformed::Json(_))));
}

#[test]
fn sequencers_of_different_lengths_are_compared_as_aws_says() {
    let number = |s: &str| sequencer(Some(s.to_owned())).unwrap();
    assert!(number("0055AED6DCD90281E5").is_before(&number("0055AED6DCD90281E6")));
    assert!(number("0055aed6dcd90281e5").is_before(&number("0055AED6DCD90281E6")));
    assert!(number("0055AE").is_before(&number("0055AE01")));
    assert!(!number("0055AE").is_before(&number("0055AE00")));
}

fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".*".prop_map(Value::from),
    ];
    let name = prop_oneof![
        Just("Records"),
        Just("Message"),
        Just("Type"),
        Just("detail"),
        Just("detail-type"),
        Just("s3"),
        Just("object"),
        Just("bucket"),
        Just("key"),
        Just("name"),
        Just("eventName"),
        Just("source"),
    ];
    leaf.prop_recursive(6, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map(name.clone().prop_map(str::to_owned), inner, 0..6)
                .prop_map(|map| map.into_iter().collect()),
        ]
    })
}

proptest! {
    #[test]
    fn no_message_breaks_the_parser(bytes in prop::collection::vec(any::<u8>(), 0..512), json in anything()) {
        for via in [Via::Listening, Via::Pushed] {
            parse(&bytes, via).ok();
            parse(json.to_string().as_bytes(), via).ok();
        }
    }

    #[test]
    fn every_key_comes_back_as_it_is(key in "\\PC{1,100}") {
        for (source, written) in [("aws:s3", form(&key)), ("minio:s3", form(&key)), ("ceph:s3", key.clone())] {
            prop_assert_eq!(&change(&message(&record(source, "ObjectCreated:Put", &written)), Via::Pushed).key, &key);
        }
        prop_assert_eq!(&change(&message(&record("minio:s3", "s3:ObjectCreated:Put", &key)), Via::Listening).key, &key);
    }
}
