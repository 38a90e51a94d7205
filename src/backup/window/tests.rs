//! Windows and retention against naive models, over random histories.

use std::{collections::BTreeMap, time::Duration};

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::{Keep, horizon, keep, timeline};
use crate::{
    backup::{
        catalog::{
            Base, BaseKind, Catalog, Continuity, Keys, Mark, Object, Position, Scope, Segment, Span,
            gtid::Gtids,
        },
        window::{Basis, Window},
    },
    store::ETag,
};

/// What happens in a made-up history.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A binlog is closed after so many seconds, with or without a commit.
    Log(i64, bool),
    /// The same, but it never gets uploaded.
    Lost(i64),
    Full,
    /// On top of the base before it.
    Increment,
    /// A base that is not whole.
    Broken,
    /// Nothing happens for long; the log stays open.
    Silence(i64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (1..60i64, any::<bool>()).prop_map(|(seconds, commit)| Step::Log(seconds, commit)),
        1 => (1..60i64).prop_map(Step::Lost),
        2 => Just(Step::Full),
        1 => Just(Step::Increment),
        1 => Just(Step::Broken),
        1 => (1..500i64).prop_map(Step::Silence),
    ];
    prop::collection::vec(step, 1..40)
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn state(sequence: u64) -> Gtids {
    Gtids::MariaDb(if sequence == 0 { BTreeMap::new() } else { BTreeMap::from([((0, 1), sequence)]) })
}

fn object(key: String) -> Object {
    Object { etag: ETag(key.clone()), key, stored_as: None, stored_etag: None, size: 1, modified: at(0) }
}

/// A catalog, as an adapter would have read it, and the end of its time.
fn play(steps: &[Step]) -> (Catalog, i64) {
    let mut catalog = Catalog::new(Basis::Proved, Continuity::Binlog);
    // A log ends a second before the one in which it was closed: time begins with a second to spare.
    let (mut now, mut sequence, mut number, mut opened, mut opened_at) = (10, 0, 1, 0, 0);
    let mut parent: Option<String> = None;
    for step in steps {
        match *step {
            Step::Silence(seconds) => now += seconds,
            Step::Log(seconds, _) | Step::Lost(seconds) => {
                sequence += u64::from(!matches!(step, Step::Log(_, false)));
                now += seconds;
                let name = format!("mysql-bin.{number:06}");
                if !matches!(step, Step::Lost(_)) {
                    catalog.segments.push(Segment {
                        stream: "binlog".into(),
                        branch: "server-1".into(),
                        number,
                        object: object(name.clone()),
                        name,
                        from: at(opened),
                        to: at(now - 1),
                        start: Mark::Gtids(state(opened_at)),
                        end: Mark::Gtids(state(sequence)),
                        open: false,
                        stopped: false,
                        indivisible: false,
                    });
                }
                (number, opened, opened_at) = (number + 1, now, sequence);
            }
            Step::Full | Step::Increment | Step::Broken => {
                now += 1;
                let id = format!("base-{now:06}");
                let incremental = matches!(step, Step::Increment) && parent.is_some();
                catalog.bases.push(Base {
                    id: id.clone(),
                    scope: Scope::default(),
                    kind: if incremental { BaseKind::Incremental } else { BaseKind::Full },
                    parent: parent.clone().filter(|_| incremental),
                    orphan: false,
                    keys: Keys { payload: vec![Span::One(id.clone())], ..Keys::default() },
                    bytes: 1,
                    objects: 1,
                    start: at(now),
                    consistent_at: at(now),
                    position: Position::Binlog {
                        file: Some(format!("mysql-bin.{number:06}")),
                        gtids: (sequence > 0).then(|| state(sequence)),
                    },
                    streams: vec!["binlog".into()],
                    fuzzy: false,
                    complete: !matches!(step, Step::Broken),
                    permanent: false,
                });
                parent = Some(id);
            }
        }
    }
    catalog.sort();
    (catalog, now)
}

/// The naive model: a moment can be restored if some whole chain of bases holds it, or some base before
/// it and every log number from the base's on to a log that reaches it.
fn restorable(catalog: &Catalog, moment: Timestamp) -> bool {
    catalog.bases.iter().any(|base| {
        let mut ancestor = Some(base);
        while let Some(one) = ancestor {
            if !one.complete {
                return false;
            }
            ancestor = match &one.parent {
                Some(id) => match catalog.base(id) {
                    Some(parent) => Some(parent),
                    None => return false,
                },
                None => None,
            };
        }
        if base.consistent_at == moment {
            return true;
        }
        if base.consistent_at > moment {
            return false;
        }
        let Position::Binlog { file: Some(file), .. } = &base.position else { return false };
        let mut number: u64 = file.rsplit_once('.').unwrap().1.parse().unwrap();
        // The log being written then may be missing, if it held nothing: the one before it tells.
        let held = catalog.segments.iter().rfind(|log| log.number < number).map(|log| &log.end);
        let stood = match &base.position {
            Position::Binlog { gtids: Some(gtids), .. } => Some(Mark::Gtids(gtids.clone())),
            _ => None,
        };
        let mut applied = held.filter(|end| Some(*end) == stood.as_ref());
        loop {
            let Some(log) = catalog.segments.iter().find(|log| log.number == number) else {
                // Numbers whose logs held nothing may be missing.
                let Some(next) = catalog.segments.iter().find(|log| log.number > number) else {
                    return false;
                };
                if applied.is_none() || applied != Some(&next.start) || empty(&next.start) {
                    return false;
                }
                number = next.number;
                continue;
            };
            if log.to >= moment {
                return true;
            }
            applied = Some(&log.end);
            number += 1;
        }
    })
}

fn empty(mark: &Mark) -> bool {
    matches!(mark, Mark::Gtids(gtids) if gtids.is_empty())
}

fn moments(catalog: &Catalog, from: i64, to: i64) -> Vec<bool> {
    (from..=to).map(|second| restorable(catalog, at(second))).collect()
}

fn only(catalog: &Catalog, keep: &Keep) -> Catalog {
    let mut kept = catalog.clone();
    let mut bases = keep.bases.iter();
    kept.bases.retain(|_| *bases.next().unwrap());
    let mut segments = keep.segments.iter();
    kept.segments.retain(|_| *segments.next().unwrap());
    kept
}

fn second(time: Timestamp) -> i64 {
    time.as_second() - 1_800_000_000
}

proptest! {
    #[test]
    fn b16_windows_are_what_a_naive_model_says(steps in steps()) {
        let (catalog, end) = play(&steps);
        let line = timeline(&catalog);
        for now in 0..=end {
            let inside = line.windows.iter().any(|window| window.contains(at(now)));
            prop_assert_eq!(inside, restorable(&catalog, at(now)), "second {} of {:?}", now, line);
        }
        prop_assert!(line.windows.windows(2).all(|pair| pair[0].to < pair[1].from));
        prop_assert_eq!(line.latest, line.windows.last().map(|window| window.to));
        // The displayed value itself restores.
        if let Some(latest) = line.latest {
            prop_assert!(line.chain_for(latest).is_some());
        }
        // Each window but the first comes after something that is missing, or after a base alone.
        for pair in line.windows.windows(2) {
            let named = line.gaps.iter().any(|gap| pair[0].contains(gap.after));
            let alone = pair.iter().any(|window| window.from == window.to);
            let touching = pair[1].from.duration_since(pair[0].to) <= SignedDuration::from_secs(2);
            let waiting = line.gaps.iter().any(|gap| gap.after >= pair[0].to);
            prop_assert!(named || alone || touching || waiting, "{:?}", line);
        }
    }

    #[test]
    fn b07_what_is_kept_restores_every_moment_of_the_retention(
        steps in steps(),
        retention in 0..400u64,
        later in 0..1000i64,
    ) {
        let (catalog, end) = play(&steps);
        let line = timeline(&catalog);
        let now = at(end + later - 200);
        let horizon = horizon(now, line.latest, Duration::from_secs(retention));
        let keep = keep(&catalog, &line, horizon);
        let Some(horizon) = horizon else {
            prop_assert!(keep.bases.iter().chain(&keep.segments).all(|kept| *kept));
            return Ok(());
        };
        let kept = only(&catalog, &keep);
        let after = timeline(&kept);
        let (from, to) = (second(horizon), second(line.latest.unwrap()));
        prop_assert_eq!(moments(&catalog, from, to), moments(&kept, from, to), "{:?}", line);
        // The newest restorable chain is whole, and nothing is invented.
        prop_assert_eq!(after.latest, line.latest);
        prop_assert!(after.windows.iter().all(|w| line.windows.iter().any(|l| l.contains(w.from) && l.contains(w.to))));
        // Everything else goes: no kept base that is older than the horizon can be spared.
        let reaching = line.chains.iter().filter(|c| c.window.from <= horizon && c.window.to >= horizon);
        let anchor = reaching.max_by_key(|c| c.window.from).map(|c| catalog.bases[c.base].id.clone());
        for (index, base) in kept.bases.iter().enumerate() {
            let needed_by_kin = kept.bases.iter().any(|other| other.parent.as_ref() == Some(&base.id));
            if base.consistent_at > horizon || needed_by_kin || Some(&base.id) == anchor.as_ref() {
                continue;
            }
            let mut without = kept.clone();
            without.bases.remove(index);
            prop_assert_ne!(moments(&kept, from, to), moments(&without, from, to), "{} can go", &base.id);
        }
        // No kept log that ended before the horizon can be spared.
        for (index, log) in kept.segments.iter().enumerate() {
            if log.to >= horizon {
                continue;
            }
            let mut without = kept.clone();
            without.segments.remove(index);
            let spared = moments(&kept, from, to) == moments(&without, from, to);
            // A log that held nothing may be missing for all that GTIDs tell, and so may the one at whose
            // very end a base stands; they are kept all the same.
            let stands = after.chains.iter().any(|chain| chain.logs.first() == Some(&index));
            prop_assert!(!spared || log.start == log.end || stands, "{} can go", &log.name);
        }
    }

    #[test]
    fn b16_deleting_one_log_splits_a_window_there(steps in steps(), pick in any::<prop::sample::Index>()) {
        let (catalog, end) = play(&steps);
        prop_assume!(!catalog.segments.is_empty());
        let mut without = catalog.clone();
        without.segments.remove(pick.index(catalog.segments.len()));
        let line = timeline(&without);
        for now in 0..=end {
            let inside = line.windows.iter().any(|window| window.contains(at(now)));
            prop_assert_eq!(inside, restorable(&without, at(now)));
            prop_assert!(!inside || restorable(&catalog, at(now)), "less can't restore more");
        }
    }

    #[test]
    fn b06_latest_never_moves_back_while_things_arrive(steps in steps(), order in any::<u64>()) {
        let (catalog, _) = play(&steps);
        let full = timeline(&catalog);
        // Logs arrive in log order; bases at any time between.
        let mut arrived = catalog.clone();
        arrived.bases.clear();
        arrived.segments.clear();
        let (mut bases, mut logs) = (catalog.bases.iter(), catalog.segments.iter());
        let (mut latest, mut coin) = (None, order);
        loop {
            coin = coin.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let base_first = coin >> 63 == 1;
            let base = if base_first { bases.next() } else { None };
            match (base, if base.is_none() { logs.next() } else { None }) {
                (Some(base), _) => arrived.bases.push(base.clone()),
                (None, Some(log)) => arrived.segments.push(log.clone()),
                (None, None) => match bases.next() {
                    Some(base) => arrived.bases.push(base.clone()),
                    None => break,
                },
            }
            arrived.sort();
            let line = timeline(&arrived);
            prop_assert!(line.latest >= latest, "{:?} after {:?}", line.latest, latest);
            latest = line.latest;
            let within = |w: &Window| full.windows.iter().any(|f| f.from <= w.from && w.to <= f.to);
            prop_assert!(line.windows.iter().all(within), "{:?} of {:?}", line.windows, full.windows);
        }
        prop_assert_eq!(timeline(&arrived), full);
    }
}
