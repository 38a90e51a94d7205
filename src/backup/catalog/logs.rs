//! Binlogs of one or several servers, for every tool that keeps them as files.

use std::collections::HashMap;

use super::{
    Answer, Answers, Mark, Object, Segment, Want, Warning, What, before,
    binlog::{End, Head, Tail},
    decode,
};

/// The stream that all binlogs of a set form.
pub(super) const STREAM: &str = "binlog";

/// Binlogs seen in a listing.
#[derive(Default)]
pub(super) struct Binlogs {
    files: Vec<File>,
}

struct File {
    branch: String,
    number: u64,
    name: String,
    object: Object,
}

/// Splits `mysql-bin.000012.gz` into its name without packing, and its number.
pub(super) fn parse_name(file: &str) -> Option<(&str, u64)> {
    let (name, _) = decode::split(file);
    let (stem, digits) = name.rsplit_once('.')?;
    let numeric = digits.len() >= 6 && digits.bytes().all(|b| b.is_ascii_digit());
    (numeric && !stem.is_empty()).then_some(())?;
    Some((name, digits.parse().ok()?))
}

impl Binlogs {
    /// Takes a binlog; `branch` tells servers apart.
    pub(super) fn see(&mut self, branch: &str, name: &str, number: u64, object: &Object) {
        self.files.push(File {
            branch: branch.to_owned(),
            number,
            name: name.to_owned(),
            object: object.clone(),
        });
    }

    /// What must be looked at: every head and every tail, so that each file is known to be whole.
    pub(super) fn wants(&self, answers: &Answers) -> Vec<Want> {
        let missing = |file: &File, what| answers.get(&file.object, what).is_none();
        let mut wants = Vec::new();
        for file in &self.files {
            // Tails first: who reads a file to its end knows its head.
            for what in [What::BinlogTail, What::BinlogHead] {
                if missing(file, what) {
                    wants.push(Want { object: file.object.clone(), what });
                }
            }
        }
        wants
    }

    /// The files as segments. What can't be read is left out and named.
    pub(super) fn segments(
        &self,
        answers: &Answers,
        opaque: &mut Vec<Object>,
        warnings: &mut Vec<Warning>,
    ) -> Vec<Segment> {
        let mut read: Vec<(&File, &Head, Option<&Tail>)> = Vec::with_capacity(self.files.len());
        for file in &self.files {
            let tail = match answers.get(&file.object, What::BinlogTail) {
                Some(Answer::Tail(tail)) => Some(tail),
                Some(Answer::Unreadable(cause)) => {
                    warnings.push(unreadable(file, cause));
                    opaque.push(file.object.clone());
                    continue;
                }
                _ => None,
            };
            match answers.get(&file.object, What::BinlogHead) {
                Some(Answer::Head(head)) => read.push((file, head, tail)),
                Some(Answer::Unreadable(cause)) => {
                    warnings.push(unreadable(file, cause));
                    opaque.push(file.object.clone());
                }
                _ => {}
            }
        }
        let successors: HashMap<(&str, u64), &Head> =
            read.iter().map(|(file, head, _)| ((file.branch.as_str(), file.number), *head)).collect();
        read.iter()
            .map(|(file, head, tail)| {
                let next = successors.get(&(file.branch.as_str(), file.number + 1)).copied();
                segment(file, head, *tail, next.filter(|next| next.created >= head.created))
            })
            .collect()
    }
}

fn unreadable(file: &File, cause: &str) -> Warning {
    let key = file.object.location();
    Warning::new(
        "CorruptLog",
        format!("log {key} is left out: {cause}; restore the file at the source if you can"),
    )
}

fn segment(file: &File, head: &Head, tail: Option<&Tail>, next: Option<&Head>) -> Segment {
    let mark = |gtids: Option<_>| gtids.map_or(Mark::Unknown, Mark::Gtids);
    // A server that crashed did not close its file: the next one tells how far it reached.
    let (to, end, open, stopped) = match (tail, next) {
        (Some(tail), _) if tail.end != End::Open => {
            (before(tail.closed), mark(tail.state.clone()), false, tail.end == End::Stop)
        }
        (Some(tail), next) => {
            let reached = tail.last_commit.map_or(head.created, before);
            (reached, mark(tail.state.clone()), next.is_none(), next.is_some())
        }
        // Nobody looked to its end: believed only as far as the next file vouches for it.
        (None, Some(next)) => (before(next.created), mark(next.previous.clone()), false, false),
        (None, None) => (before(head.created), Mark::Unknown, true, false),
    };
    Segment {
        stream: STREAM.to_owned(),
        branch: file.branch.clone(),
        number: file.number,
        name: file.name.clone(),
        object: file.object.clone(),
        from: head.created,
        to,
        start: mark(head.previous.clone()),
        end,
        open,
        stopped,
        indivisible: false,
    }
}
