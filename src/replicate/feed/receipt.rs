//! What a queue gets back for a hint.

use std::sync::{
    Arc, Weak,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::mpsc;

/// To be handed in once a hint is dealt with: a queue forgets its message then. One that is dropped
/// instead lets the queue tell the same again after a while. Feeds that are no queues give empty ones.
#[derive(Debug, Default)]
#[must_use = "a queue tells again what nobody dealt with"]
pub struct Receipt(Vec<Arc<Slip>>);

/// One message of a queue, which may hold several hints.
#[derive(Debug)]
struct Slip {
    open: AtomicUsize,
    handle: String,
    done: mpsc::UnboundedSender<String>,
}

/// A message that someone holds a receipt of.
#[derive(Debug)]
pub(super) struct Held(Weak<Slip>);

impl Held {
    /// The message's handle, until all its receipts are handed in or dropped.
    pub(super) fn handle(&self) -> Option<String> {
        self.0.upgrade().map(|slip| slip.handle.clone())
    }
}

impl Receipt {
    /// Receipts for the hints of one message. When all are handed in, `done` gets its handle; there are
    /// never more handles under way than messages that the queue has given out.
    pub(super) fn of_message(
        handle: String,
        hints: usize,
        done: mpsc::UnboundedSender<String>,
    ) -> (Held, impl Iterator<Item = Self>) {
        let slip = Arc::new(Slip { open: AtomicUsize::new(hints), handle, done });
        (Held(Arc::downgrade(&slip)), std::iter::repeat_n(slip, hints).map(|slip| Self(vec![slip])))
    }

    /// Takes another one in: both hints are dealt with at once.
    pub fn join(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// The hint is dealt with.
    pub fn hand_in(self) {
        for slip in self.0 {
            if slip.open.fetch_sub(1, Ordering::AcqRel) == 1 {
                // A feed that is gone forgets nothing: its queue tells again.
                slip.done.send(slip.handle.clone()).ok();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_done_when_all_its_hints_are() {
        let (done, mut handles) = mpsc::unbounded_channel();
        let (held, receipts) = Receipt::of_message("first".into(), 3, done.clone());
        let mut first: Vec<_> = receipts.collect();
        let mut second = Receipt::of_message("second".into(), 1, done).1.next().unwrap();
        first.remove(0).hand_in();
        assert_eq!(held.handle().as_deref(), Some("first"));
        drop(first.remove(0));
        second.join(first.remove(0));
        second.hand_in();
        assert_eq!(handles.try_recv().unwrap(), "second");
        assert!(handles.try_recv().is_err(), "a dropped hint keeps its message in the queue");
        assert_eq!(held.handle(), None, "and nobody holds it");
        Receipt::default().hand_in();
    }
}
