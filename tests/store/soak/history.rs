//! What was written to a bucket and when the store said so: what a copy of it may hold at a moment. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;

/// What lies under a key: nothing, or what write number so-and-so left there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Absent,
    Holds(u64),
}

/// One write of a key.
#[derive(Clone, Copy, Debug)]
struct Write {
    state: State,
    begun: Timestamp,
    /// When the store had said that it was done; `None`: it has not said so yet.
    acknowledged: Option<Timestamp>,
}

/// All writes, key by key in their order: no key has two at a time.
#[derive(Debug, Default)]
pub struct History {
    keys: BTreeMap<String, Vec<Write>>,
}

impl History {
    /// A write goes on its way.
    pub fn begin(&mut self, key: &str, state: State, now: Timestamp) {
        let write = Write { state, begun: now, acknowledged: None };
        self.keys.entry(key.to_owned()).or_default().push(write);
    }

    /// The store said that the last write of a key is done.
    pub fn acknowledge(&mut self, key: &str, now: Timestamp) {
        if let Some(last) = self.keys.get_mut(key).and_then(|writes| writes.last_mut()) {
            last.acknowledged = Some(now);
        }
    }

    /// The last write of a key was never made: the store was killed before.
    pub fn undo(&mut self, key: &str) {
        self.keys.get_mut(key).and_then(Vec::pop);
    }

    /// What the bucket holds under a key, once its last write is acknowledged.
    pub fn now(&self, key: &str) -> State {
        self.keys.get(key).and_then(|writes| writes.last()).map_or(State::Absent, |last| last.state)
    }

    pub fn keys(&self) -> Vec<String> {
        self.keys.keys().cloned().collect()
    }

    /// Why a copy that holds `state` under `key` is not what it claims to be: all that was acknowledged before
    /// `until`, or later.
    pub fn objection(&self, key: &str, state: State, until: Timestamp) -> Option<String> {
        let writes = self.keys.get(key).map_or(&[][..], Vec::as_slice);
        let due = writes.iter().rposition(|write| write.acknowledged.is_some_and(|at| at < until));
        let fine = match due {
            Some(due) => writes[due..].iter().any(|write| write.state == state),
            None => state == State::Absent || writes.iter().any(|write| write.state == state),
        };
        let ending = writes[writes.len().saturating_sub(6)..].iter().map(Write::told);
        let told = || format!("{key:?} is {state:?} by {until}: {:#?}", ending.collect::<Vec<_>>());
        (!fine).then(told)
    }
}

impl Write {
    fn told(&self) -> String {
        let end = self.acknowledged.map_or_else(|| "…".to_owned(), |at| at.to_string());
        format!("{:?} from {} to {end}", self.state, self.begun)
    }
}

#[test]
fn c05_a_copy_that_lacks_what_was_acknowledged_is_found_out() {
    let at = |second| Timestamp::from_second(second).unwrap();
    let mut history = History::default();
    for (state, second) in [(State::Holds(1), 10), (State::Holds(2), 20), (State::Absent, 30)] {
        history.begin("k", state, at(second));
        history.acknowledge("k", at(second + 1));
    }
    history.begin("k", State::Holds(3), at(40));
    let fine = |state, second| history.objection("k", state, at(second)).is_none();
    assert!(fine(State::Absent, 5) && fine(State::Holds(1), 5), "nothing is due yet");
    assert!(fine(State::Holds(1), 12) && fine(State::Holds(2), 12), "what is due, or later");
    assert!(fine(State::Absent, 12), "as after a delete that came later");
    assert!(!fine(State::Holds(1), 22), "overwritten");
    assert!(!fine(State::Holds(2), 32) && fine(State::Absent, 32), "deleted");
    assert!(fine(State::Holds(3), 32) && fine(State::Absent, 50), "on its way: with it or without");
    history.undo("k");
    assert!(history.objection("k", State::Holds(3), at(50)).is_some() && history.now("k") == State::Absent);
}
