//! Which tool's layout a bucket has, told by names.
//!
//! [`Seen`] is pure: keys go in, and what each layout makes of them comes out. A layout is suggested only
//! where it alone explains every key that any layout explains; a guess would promise wrong moments.

use std::sync::Arc;

use super::{
    Error, Result,
    catalog::{Adapter, Format, Role, sqlserver::Names},
    records::{Service, is_record, read_service},
    sync::Place,
};
use crate::store::{ListRequest, ObjectStore, Side};

/// Keys that are looked at in one folder, before the next one.
const KEYS: u32 = 100;
/// Folders that are looked at.
const FOLDERS: usize = 24;

/// What was seen of a bucket.
pub struct Seen {
    layouts: Vec<Layout>,
    /// Keys that were looked at.
    pub keys: u64,
    /// Of these, those that belong to some layout.
    explained: u64,
    example: Option<String>,
}

struct Layout {
    format: Format,
    adapter: Box<dyn Adapter>,
    keys: u64,
    example: Option<String>,
}

/// What can be said of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// One layout explains all that any layout explains; with the words for it.
    One(Format, String),
    /// None does, or several do; with the words for it.
    Unclear(String),
}

impl Seen {
    /// Nothing yet.
    ///
    /// # Errors
    /// [`Error::BadPattern`] where a candidate is told by patterns that are none.
    pub fn new(candidates: &[Format]) -> Result<Self> {
        let layout = |format: &Format| {
            let adapter = format.adapter()?;
            Ok(Layout { format: format.clone(), adapter, keys: 0, example: None })
        };
        let layouts = candidates.iter().map(layout).collect::<Result<_>>()?;
        Ok(Self { layouts, keys: 0, explained: 0, example: None })
    }

    /// Takes a key, relative to the prefix.
    pub fn take(&mut self, key: &str) {
        if is_record(key) {
            return;
        }
        self.keys += 1;
        let mut explained = false;
        for layout in &mut self.layouts {
            if layout.adapter.role(key) != Role::Unknown {
                explained = true;
                layout.keys += 1;
                layout.example.get_or_insert_with(|| key.to_owned());
            }
        }
        if explained {
            self.explained += 1;
        } else {
            self.example.get_or_insert_with(|| key.to_owned());
        }
    }

    /// Keys that belong to a layout.
    #[must_use]
    pub fn of(&self, format: &Format) -> u64 {
        self.layouts.iter().find(|layout| layout.format == *format).map_or(0, |layout| layout.keys)
    }

    /// What the keys say.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let mut best = self.layouts.iter().filter(|layout| layout.keys > 0 && layout.keys == self.explained);
        match (best.next(), best.next()) {
            (Some(only), None) => Verdict::One(only.format.clone(), only.told()),
            _ => Verdict::Unclear(self.told()),
        }
    }

    fn told(&self) -> String {
        let found: Vec<String> =
            self.layouts.iter().filter(|layout| layout.keys > 0).map(Layout::told).collect();
        match (&found[..], &self.example) {
            ([], None) => "it holds no objects".to_owned(),
            ([], Some(key)) => {
                format!(
                    "none of the {} objects that were looked at belongs to a known format, as {key}",
                    self.keys
                )
            }
            _ => format!("it holds {}", found.join(", and ")),
        }
    }
}

impl Layout {
    /// `12 objects like server-1/mysql-bin.000001: MariaDBOperator`
    fn told(&self) -> String {
        let (keys, key) = (self.keys, self.example.as_deref().unwrap_or_default());
        let objects = if keys == 1 { "object" } else { "objects" };
        format!("{keys} {objects} like {key}: {}", self.format.name())
    }
}

/// Formats that can be told by names, of one engine (as the API spells it) or of all.
#[must_use]
pub fn candidates(engine: Option<&str>) -> Vec<Format> {
    let all = [
        ("MySQL", Format::MariaDBOperator),
        ("MySQL", Format::WalGMySQL),
        ("MySQL", Format::PerconaXtraDB),
        ("MongoDB", Format::WalGMongoDB),
        ("MongoDB", Format::PerconaMongoDB),
        ("PostgreSQL", Format::Barman),
        ("PostgreSQL", Format::WalGPostgres),
        ("PostgreSQL", Format::PgBackRest),
        ("SQLServer", Format::WalGSQLServer),
        ("SQLServer", Format::SqlServer(Names::default())),
    ];
    let fits = |of: &str| engine.is_none_or(|engine| engine == of);
    all.into_iter().filter(|(of, _)| fits(of)).map(|(_, format)| format).collect()
}

/// Looks at the first keys of each folder of a prefix, as far as two levels deep. Costs a few listings of
/// a hundred keys.
///
/// # Errors
/// [`Error::Store`].
pub async fn look(store: &dyn ObjectStore, prefix: &str, candidates: &[Format]) -> Result<Seen> {
    let mut seen = Seen::new(candidates)?;
    let mut after: Option<String> = None;
    for _ in 0..FOLDERS {
        let request = ListRequest {
            prefix: prefix.to_owned(),
            start_after: after.take(),
            max_keys: Some(KEYS),
            ..ListRequest::default()
        };
        let page = store.list(&request).await;
        let page = page.map_err(|source| Error::Store { side: Side::Source, source })?;
        let keys = || page.objects.iter().map(|object| object.key.as_str());
        keys().for_each(|key| seen.take(key.strip_prefix(prefix).unwrap_or(key)));
        match keys().next_back() {
            Some(last) if page.next.is_some() => after = Some(past_folder(last, prefix)),
            _ => break,
        }
    }
    Ok(seen)
}

/// The place after all keys of the folder that a key lies in, two levels deep at most.
fn past_folder(key: &str, prefix: &str) -> String {
    let rest = key.strip_prefix(prefix).unwrap_or(key);
    let folder = rest.match_indices('/').nth(1).or_else(|| rest.match_indices('/').next());
    match folder {
        // `0` is the character after `/`.
        Some((at, _)) => format!("{prefix}{}0", &rest[..at]),
        None => key.to_owned(),
    }
}

/// The format of a source that names none: the one that its copy was begun with, else the one that names
/// tell; with the words for it.
///
/// # Errors
/// [`Error::UnknownFormat`] where names tell none, or several; [`Error::Store`].
pub async fn resolve(
    (source, from): (&dyn ObjectStore, &Place),
    (target, to): (&dyn ObjectStore, &Place),
    engine: &str,
) -> Result<(Format, String)> {
    match read_service(target, to).await? {
        Some(service) if service.source == *from => Ok(begun(service)),
        _ => told(&look(source, &from.prefix, &candidates(Some(engine))).await?, from),
    }
}

/// The format of a prefix of any engine, a copy of ours among them.
///
/// # Errors
/// See [`resolve`].
pub async fn resolve_any(store: &dyn ObjectStore, place: &Place) -> Result<(Format, String)> {
    match read_service(store, place).await? {
        Some(service) => Ok(begun(service)),
        None => told(&look(store, &place.prefix, &candidates(None)).await?, place),
    }
}

fn begun(service: Service) -> (Format, String) {
    let told = format!("the copy was begun as {}", service.format.name());
    (service.format, told)
}

fn told(seen: &Seen, place: &Place) -> Result<(Format, String)> {
    let cause = match seen.verdict() {
        Verdict::One(Format::SqlServer(_), told) => format!("{told}, which needs an offset from UTC"),
        Verdict::One(format, told) => return Ok((format, told)),
        Verdict::Unclear(told) => told,
    };
    Err(Error::UnknownFormat { bucket: place.bucket.clone(), prefix: place.prefix.clone(), cause })
}

/// Makes sure that a named format is not plainly another's: nothing that was seen belongs to it, and
/// something to another one.
///
/// # Errors
/// [`Error::WrongFormat`]; [`Error::Store`].
pub async fn refuse_wrong(store: &Arc<dyn ObjectStore>, place: &Place, format: &Format) -> Result<()> {
    if matches!(format, Format::Files { .. }) {
        return Ok(());
    }
    let mut all = candidates(None);
    if !all.contains(format) {
        all.push(format.clone());
    }
    let seen = look(&**store, &place.prefix, &all).await?;
    if seen.of(format) > 0 || seen.explained == 0 {
        return Ok(());
    }
    let cause = format!("the format is {}, but {}?", format.name(), seen.told());
    Err(Error::WrongFormat { bucket: place.bucket.clone(), prefix: place.prefix.clone(), cause })
}
