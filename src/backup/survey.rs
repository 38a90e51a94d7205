//! One look at source, target and manifest: two catalogs, and what differs.

use std::collections::HashSet;

use jiff::{SignedDuration, Timestamp};

use super::{
    Result,
    catalog::{Adapter, Answers, Catalog, Format, Object, Role, Unknown},
    join::{Join, Root},
    reader::{Depth, Reader},
    records::{self, Manifest},
};
use crate::store::{ETag, Side};

/// Keys of a kind that are remembered one by one.
const MAX_NAMED: usize = 1000;
/// What the manifest names and nobody has is not forgotten sooner: somebody may be copying it now.
const FORGET_AFTER: SignedDuration = SignedDuration::from_hours(24);

/// What a look found.
pub(super) struct Survey {
    /// `None`: nobody looked.
    pub source: Option<SourceView>,
    pub target: Catalog,
    /// (logical key, source's tag) of every log that the target holds.
    pub held_logs: HashSet<(String, ETag)>,
    /// Keys at the target that our copies may not take: another's objects.
    pub foreign: Unknown,
    pub foreign_keys: HashSet<String>,
    /// Keys that a copy holds with another content than the source has now, or something else lies at.
    pub taken: HashSet<String>,
    /// Contents at the source that differ from what was copied under the same name; all logs, and the
    /// first of the rest.
    pub changed: Vec<Object>,
    /// Keys of objects that are not what the manifest says.
    pub damaged: Vec<String>,
    /// Keys that the manifest names and nobody has any more.
    pub leftover: Vec<String>,
    /// Kept generations of files that are rewritten in place: where, and since when.
    pub generations: Vec<Object>,
    /// Tags under which files rewritten in place were last copied.
    pub rewritten: Vec<(String, String)>,
    pub stored_bytes: u64,
    pub written_bytes: u64,
}

/// What the source showed.
pub(super) struct SourceView {
    pub catalog: Catalog,
    pub rewritten: Vec<Object>,
    /// Can be asked again when more is known.
    pub adapter: Box<dyn Adapter>,
}

/// Who looks.
pub(super) struct Surveyor<'a> {
    pub format: &'a Format,
    pub target: &'a Root,
    /// The target, where reading does not count against the copy's ceilings.
    pub target_reader: &'a Root,
    pub manifest: &'a Manifest,
    pub now: Timestamp,
}

impl Surveyor<'_> {
    /// Looks at everything. Memory is O(bases + logs).
    ///
    /// # Errors
    /// A listing that failed, at either side: there is no half a look.
    pub(super) async fn look(&self, source: Option<&Root>, answers: &mut Answers) -> Result<Survey> {
        let mut fold = Fold::new(self.format, source.is_some())?;
        fold.forget_before = self.now.checked_sub(FORGET_AFTER).unwrap_or(Timestamp::MIN);
        let mut join = Join::open(source, self.target, self.manifest, "").await?;
        while let Some(row) = join.next().await? {
            for (etag, learned) in row.record.iter().flat_map(|record| &record.learned) {
                for (what, answer) in learned {
                    answers.recall(&row.key, etag, *what, answer.clone());
                }
            }
            fold.take(row);
        }
        let Fold { mut survey, source_adapter, mut target_adapter, source_rewritten, .. } = fold;
        let near = self.target_reader;
        let reader = Reader {
            store: near.store.clone(),
            prefix: near.prefix.clone(),
            side: Side::Target,
            depth: Depth::ALL,
        };
        survey.target = reader.scan(target_adapter.as_mut(), answers).await?;
        if let (Some(root), Some(mut adapter)) = (source, source_adapter) {
            let catalog = scan_source(root, adapter.as_mut(), answers).await?;
            survey.source = Some(SourceView { catalog, rewritten: source_rewritten, adapter });
        }
        // A log that changed is news only until its new content is kept as well.
        let held = &survey.held_logs;
        survey.changed.retain(|object| !held.contains(&(object.key.clone(), object.etag.clone())));
        Ok(survey)
    }
}

/// The source's catalog, from heads and small files, and whatever is known already.
pub(super) async fn scan_source(
    root: &Root,
    adapter: &mut dyn Adapter,
    answers: &mut Answers,
) -> Result<Catalog> {
    answers.forget_withheld();
    let reader = Reader {
        store: root.store.clone(),
        prefix: root.prefix.clone(),
        side: Side::Source,
        depth: Depth::HEADS,
    };
    let catalog = reader.scan(adapter, answers).await;
    answers.forget_withheld();
    catalog
}

struct Fold {
    survey: Survey,
    source_adapter: Option<Box<dyn Adapter>>,
    target_adapter: Box<dyn Adapter>,
    source_rewritten: Vec<Object>,
    forget_before: Timestamp,
}

impl Fold {
    fn new(format: &Format, source: bool) -> Result<Self> {
        let target_adapter = format.adapter()?;
        let survey = Survey {
            source: None,
            target: Catalog::empty(),
            held_logs: HashSet::new(),
            foreign: Unknown::default(),
            foreign_keys: HashSet::new(),
            taken: HashSet::new(),
            changed: Vec::new(),
            damaged: Vec::new(),
            leftover: Vec::new(),
            generations: Vec::new(),
            rewritten: Vec::new(),
            stored_bytes: 0,
            written_bytes: 0,
        };
        let source_adapter = source.then(|| format.adapter()).transpose()?;
        let forget_before = Timestamp::MIN;
        Ok(Self { survey, source_adapter, target_adapter, source_rewritten: Vec::new(), forget_before })
    }

    fn take(&mut self, row: super::join::Row) {
        let survey = &mut self.survey;
        survey.written_bytes += row.record.as_ref().map_or(0, |record| record.written);
        let logical = row.stored().and_then(|s| s.source_key.clone()).unwrap_or_else(|| row.key.clone());
        let role = self.target_adapter.role(&logical);
        if let Some(object) = &row.source {
            if let Some(adapter) = &mut self.source_adapter {
                adapter.see(object);
            }
            if role == Role::Rewritten {
                self.source_rewritten.push(object.clone());
            }
        }
        if row.foreign() {
            let size = row.target.as_ref().map_or(0, |object| object.size);
            survey.foreign.add(&row.key, size);
            if row.source.is_some() && survey.foreign_keys.len() < MAX_NAMED {
                survey.foreign_keys.insert(row.key.clone());
            }
            if role == Role::Log {
                survey.taken.insert(row.key);
            }
            return;
        }
        let Some(stored) = row.stored() else {
            // Perhaps learned of a log that was pruned, and that the source has let go by now.
            let learned = row.record.as_ref().is_some_and(|record| !record.learned.is_empty());
            if learned {
                self.forget(&row);
            }
            return;
        };
        let object = stored.object(&row.key);
        if role == Role::Rewritten {
            Self::take_rewritten(survey, &row, object);
            return;
        }
        if row.held() {
            survey.stored_bytes += object.size;
            if role == Role::Log {
                survey.held_logs.insert((object.key.clone(), object.etag.clone()));
                survey.taken.insert(row.key.clone());
            }
            let news = role == Role::Log || survey.changed.len() < MAX_NAMED;
            if row.source.is_some() && !row.unchanged() && news {
                survey.changed.extend(row.source.clone());
            }
            self.target_adapter.see(&object);
            return;
        }
        if row.target.is_some() && survey.damaged.len() < MAX_NAMED {
            survey.damaged.push(row.key.clone());
        }
        self.target_adapter.lost(&object.key);
        self.forget(&row);
    }

    /// Notes a key that nobody has any more.
    fn forget(&mut self, row: &super::join::Row) {
        let old = row.record.as_ref().is_some_and(|record| record.older_than(self.forget_before));
        let nobody = row.target.is_none() && row.source.is_none() && self.source_adapter.is_some();
        if old && nobody && self.survey.leftover.len() < MAX_NAMED {
            self.survey.leftover.push(row.key.clone());
        }
    }

    /// What is there of a hint counts, whatever it says.
    fn take_rewritten(survey: &mut Survey, row: &super::join::Row, object: Object) {
        let Some(target) = &row.target else { return };
        survey.stored_bytes += target.size;
        if object.stored_as.is_some() {
            survey.generations.push(object);
        } else if row.held() {
            survey.rewritten.push((row.key.clone(), object.etag.0.clone()));
        }
        // Otherwise it was being written when somebody died: it is written again.
    }
}

/// Facts learned since they were last written down.
pub(super) fn learned_facts(answers: &mut Answers) -> Vec<(String, records::Fact)> {
    let fresh = answers.take_fresh();
    let mut facts = Vec::with_capacity(fresh.len());
    for (key, etag) in fresh {
        let known: Vec<_> = answers.lasting(&key, &etag);
        if !known.is_empty() {
            facts.push((key, records::Fact::Learned { etag: etag.0, answers: known }));
        }
    }
    facts
}
