//! Drives the reconciles of one kind: one at a time for an object, again when it said, with back-off.

use std::{
    convert::Infallible,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{StreamExt, future::BoxFuture};
use kube::{
    Resource, ResourceExt,
    runtime::{
        applier,
        controller::{Action, Config},
        reflector::{ObjectRef, Store},
    },
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::{Context, Error, context::uid_of, watch::Watched};

/// Reconciles of one kind at a time: each may wait for a probe, and the API server has other users.
const CONCURRENCY: u16 = 32;
/// Above what any reconcile should take: probes end after 5 s, requests after 15 s.
const LONGEST: Duration = Duration::from_mins(1);

/// A kind's reconcile.
pub type Reconcile<K> = fn(Arc<K>, Arc<Context>) -> BoxFuture<'static, Result<Action, Error>>;

/// Runs until `stop`, then finishes what is under way.
pub async fn drive<K: Watched + Resource<DynamicType = ()>>(
    store: Store<K>,
    queue: mpsc::Receiver<ObjectRef<K>>,
    (context, stop): (Arc<Context>, CancellationToken),
    reconcile: Reconcile<K>,
) {
    let requests = ReceiverStream::new(queue).map(Ok::<_, Infallible>).take_until(stop.cancelled_owned());
    let measured = move |object: Arc<K>, context: Arc<Context>| Box::pin(measure(object, context, reconcile));
    let again = |object: Arc<K>, _: &Error, context: Arc<Context>| {
        Action::requeue(context.backoff.failed(&uid_of(object.as_ref())))
    };
    let config = Config::default().concurrency(CONCURRENCY);
    applier(measured, again, context, store, requests, config).for_each(|_| std::future::ready(())).await;
}

async fn measure<K: Watched>(
    object: Arc<K>,
    context: Arc<Context>,
    reconcile: Reconcile<K>,
) -> Result<Action, Error> {
    let kind = K::kind(&()).into_owned();
    let span =
        tracing::info_span!("reconcile", kind, namespace = object.namespace(), name = object.name_any());
    let start = Instant::now();
    let uid = uid_of(object.as_ref());
    let work = reconcile(object, Arc::clone(&context)).instrument(span.clone());
    let result = tokio::time::timeout(LONGEST, work).await.unwrap_or(Err(Error::TooSlow(LONGEST)));
    match &result {
        Ok(_) => context.backoff.reset(&uid),
        Err(error) => span.in_scope(
            || tracing::warn!(%error, reason = error.reason(), "reconcile failed; it is tried again"),
        ),
    }
    context.reconciles.observe(
        &kind,
        result.as_ref().map_or_else(Error::reason, |_| "Success"),
        start.elapsed(),
    );
    result
}
