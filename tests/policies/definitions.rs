//! Definitions are applied over what is stored (`P01`).

use farshore::api::{BackupSyncService, DatabaseInstance, Region};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use crate::cluster::{Room, kubectl};

/// Everything that a user may write.
fn objects(room: &Room) -> (Value, Value, Value) {
    let region = json!({"metadata": {"name": room.namespace}, "spec": {
        "displayName": "North", "objectStore": {"endpoint": "http://127.0.0.1:1", "addressing": "Path"},
    }});
    let secret = |name: &str| json!({"secretRef": {"name": name}});
    let instance = json!({"metadata": {"name": "orders"}, "spec": {
        "engine": "MySQL", "version": "10.11", "region": "north", "declaredState": "Running",
        "billing": {"mode": "Postpaid", "standing": "Normal"},
        "endpoint": {"uri": "mysql://orders:3306", "credentials": secret("orders")},
        "backups": {"format": "MariaDBOperator", "bucket": "backups", "prefix": "orders/",
                    "credentials": secret("source")},
    }});
    let service = json!({"metadata": {"name": "copy"}, "spec": {
        "instanceRef": {"name": "orders"},
        "target": {"region": "east", "bucket": "dr-backups", "prefix": "orders/", "credentials": secret("target")},
        "interval": "15m", "retention": "14d", "rpo": "6h", "deletionPolicy": "Retain", "purgeDelay": "1h",
        "suspend": true, "rateLimits": {"bytesPerSecond": "50Mi", "requestsPerSecond": 200},
        "worker": {
            "resources": {"limits": {"memory": "256Mi"}}, "nodeSelector": {"a": "b"},
            "tolerations": [{"key": "dedicated", "operator": "Exists"}], "priorityClassName": "low",
            "podLabels": {"team": "storage"}, "imagePullSecrets": [{"name": "registry"}],
        },
    }});
    (region, instance, service)
}

async fn create<K>(api: &Api<K>, object: Value) -> K
where
    K: kube::Resource + Clone + std::fmt::Debug + serde::Serialize + serde::de::DeserializeOwned,
{
    api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap()
}

/// The same object is still there, may be read, and may be written.
async fn is_still<K>(api: &Api<K>, stored: &K)
where
    K: kube::Resource + Clone + std::fmt::Debug + serde::Serialize + serde::de::DeserializeOwned,
{
    let name = stored.name_any();
    let now = api.get(&name).await.unwrap();
    assert_eq!(json!(now)["spec"], json!(stored)["spec"]);
    assert_eq!((now.uid(), now.meta().generation), (stored.uid(), stored.meta().generation));
    let touch = Patch::Merge(json!({"metadata": {"labels": {"touched": "yes"}}}));
    let touched = api.patch(&name, &PatchParams::default(), &touch).await.unwrap();
    assert_eq!(json!(touched)["spec"], json!(stored)["spec"]);
}

#[tokio::test]
async fn p01_definitions_applied_again_keep_what_is_stored() {
    let room = Room::new("policy-again").await;
    let (region, instance, service) = objects(&room);
    let regions: Api<Region> = Api::all(room.client.clone());
    let instances: Api<DatabaseInstance> = Api::namespaced(room.client.clone(), &room.namespace);
    let services: Api<BackupSyncService> = Api::namespaced(room.client.clone(), &room.namespace);
    let region = create(&regions, region).await;
    let instance = create(&instances, instance).await;
    let service = create(&services, service).await;

    let crds = concat!(env!("CARGO_MANIFEST_DIR"), "/crds");
    // Under one name: what another manager owns as well could never be taken out of a definition again.
    for _ in 0..2 {
        let manager = "--field-manager=farshore-tests";
        kubectl(&["apply", "--server-side", "--force-conflicts", manager, "-f", crds], "");
        is_still(&regions, &region).await;
        is_still(&instances, &instance).await;
        is_still(&services, &service).await;
    }
    regions.delete(&room.namespace, &DeleteParams::default()).await.unwrap();
}
