//! What a feed needs in the cluster: pure.
//!
//! The Service bears the rule's name and no UID: a store's configuration outlives a rule that is written anew.

use k8s_openapi::{
    api::{
        core::v1::{Service, ServicePort, ServiceSpec},
        networking::v1::{NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPort, NetworkPolicySpec},
    },
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};
use kube::ResourceExt;

use super::task::ROLE;
use crate::{
    api::{BucketReplicationRule, Feed, FeedInUse, FeedStatus},
    controller::{
        names,
        work::{
            children::{metadata, selector},
            receiver::{Receiver, Wanted},
            trouble::Trouble,
        },
    },
    task::{RECEIVER_PORT, WORKER_PORT},
};

/// Name of the Service and of the `NetworkPolicy`.
fn name(rule: &BucketReplicationRule) -> String {
    names::cut("farshore-", &rule.name_any(), &names::hash_of(&[&rule.name_any(), "receiver"]))
}

/// Where the source store sends its messages.
#[must_use]
pub fn endpoint(rule: &BucketReplicationRule) -> Option<String> {
    let namespace = rule.namespace().unwrap_or_default();
    (rule.spec.feed == Feed::Webhook)
        .then(|| format!("http://{}.{namespace}.svc:{RECEIVER_PORT}/", name(rule)))
}

/// The way to the worker's receiver: there is one while the rule asks for it, working or suspended.
#[must_use]
pub fn receiver(rule: &BucketReplicationRule) -> Wanted {
    if rule.spec.feed == Feed::Webhook {
        return Wanted::Open(Box::new(way(rule)));
    }
    closed(rule)
}

/// No way in, if there was one.
#[must_use]
pub fn closed(rule: &BucketReplicationRule) -> Wanted {
    let told = rule.status.as_ref().and_then(|status| status.feed.as_ref()?.endpoint.as_ref());
    told.map_or(Wanted::AsIs, |_| Wanted::Closed(name(rule)))
}

fn way(rule: &BucketReplicationRule) -> Receiver {
    let port = |number: u16| Some(IntOrString::Int(number.into()));
    let metadata = || metadata(rule, name(rule), ROLE);
    let pods = selector(rule, ROLE);
    let let_in = |number| NetworkPolicyPort {
        port: port(number),
        protocol: Some("TCP".to_owned()),
        ..NetworkPolicyPort::default()
    };
    Receiver {
        service: Service {
            metadata: metadata(),
            // Its type is left to the user: `LoadBalancer` for a store outside of the cluster.
            spec: Some(ServiceSpec {
                selector: Some(pods.clone()),
                ports: Some(vec![ServicePort {
                    name: Some("webhook".to_owned()),
                    port: RECEIVER_PORT.into(),
                    protocol: Some("TCP".to_owned()),
                    target_port: port(RECEIVER_PORT),
                    ..ServicePort::default()
                }]),
                ..ServiceSpec::default()
            }),
            ..Service::default()
        },
        network_policy: NetworkPolicy {
            metadata: metadata(),
            spec: Some(NetworkPolicySpec {
                pod_selector: Some(LabelSelector { match_labels: Some(pods), ..LabelSelector::default() }),
                policy_types: Some(vec!["Ingress".to_owned()]),
                // Where a store's messages come from is not known here; the token tells who may send some. The
                // other port is the kubelet's, whose probes not every network lets in unasked.
                ingress: Some(vec![NetworkPolicyIngressRule {
                    ports: Some(vec![let_in(RECEIVER_PORT), let_in(WORKER_PORT)]),
                    ..NetworkPolicyIngressRule::default()
                }]),
                ..NetworkPolicySpec::default()
            }),
        },
    }
}

/// How changes are heard of: as the worker has found, with the address that the store must be given, which is known
/// before.
#[must_use]
pub fn in_use(
    rule: &BucketReplicationRule,
    found: Option<&FeedStatus>,
    old: Option<&FeedInUse>,
) -> Option<FeedInUse> {
    let endpoint = endpoint(rule);
    let found = found.map(|FeedStatus { kind, why }| (kind, why));
    let (kind, why) = found.or_else(|| old.map(|old| (&old.kind, &old.why))).map_or_else(
        || endpoint.is_some().then(|| ("Webhook".to_owned(), "it was asked for".to_owned())),
        |(kind, why)| Some((kind.clone(), why.clone())),
    )?;
    Some(FeedInUse { kind, why, endpoint })
}

/// The Secret that the feed needs, if it does.
#[must_use]
pub fn secret(rule: &BucketReplicationRule) -> Option<&str> {
    let spec = &rule.spec;
    match spec.feed {
        Feed::Webhook => spec.webhook.as_ref().map(|webhook| webhook.token_secret_ref.name.as_str()),
        Feed::Sqs => spec.sqs.as_ref().map(|queue| {
            let own = queue.credentials.as_ref();
            own.unwrap_or(&spec.source.credentials).secret_ref.name.as_str()
        }),
        Feed::Auto | Feed::Listen | Feed::Poll => None,
    }
}

/// With the name of the feed's Secret, where that may be at fault.
#[must_use]
pub fn named(rule: &BucketReplicationRule, trouble: Trouble) -> Trouble {
    let secret = secret(rule)
        .filter(|_| matches!(trouble.reason.as_str(), "TokenMissing" | "QueueRefused" | "QueueUnreachable"));
    let Some(secret) = secret else { return trouble };
    let what = if rule.spec.feed == Feed::Webhook { "token is" } else { "keys are" };
    Trouble { message: format!("{}; its {what} in Secret {secret}", trouble.message), ..trouble }
}

#[cfg(test)]
#[path = "feed_tests.rs"]
mod tests;
