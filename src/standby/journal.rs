//! Windows, written down before they are applied: what a run began, the next one ends, without the master.

use futures::TryStreamExt;
use mongodb::bson::{Binary, Bson, Document, doc, spec::BinarySubtype};

use super::{
    Error, Result, Side,
    error::failed,
    target::{RECORDS, Target},
    window::Window,
};

pub(super) const COLLECTION: &str = "journal";
/// A document holds 16 MiB.
const PART: usize = 12 << 20;
/// Parts that a window can have: those of a number come before those of the next one.
const PARTS: i64 = 1 << 16;

/// The windows of `farshore.journal`.
#[derive(Clone, Debug)]
pub struct Journal {
    target: Target,
}

impl Journal {
    #[must_use]
    pub fn new(target: Target) -> Self {
        Self { target }
    }

    /// Writes a window down. Afterwards it will be applied, whatever happens.
    ///
    /// # Errors
    /// [`Error::Server`], [`Error::Superseded`]: it is not there, or only in part, which is left out by
    /// [`windows`](Self::windows).
    pub async fn write(&self, window: &Window) -> Result<()> {
        let data = window.encode()?;
        let count = data.chunks(PART).len();
        for (number, part) in data.chunks(PART).enumerate() {
            let number = i64::try_from(number).unwrap_or(i64::MAX);
            let document = doc! {
                "_id": first(window.number) + number,
                "window": window.number,
                "of": i64::try_from(count).unwrap_or(i64::MAX),
                "data": Binary { subtype: BinarySubtype::Generic, bytes: part.to_vec() },
            };
            let what = format!("writing window {} to {RECORDS}.{COLLECTION}", window.number);
            // Replaced: a part of a window that broke off may be there.
            let update = doc! {"q": {"_id": first(window.number) + number}, "u": document, "upsert": true};
            let answer =
                self.target.write(RECORDS, doc! {"update": COLLECTION, "updates": [update]}, &what).await?;
            written(&answer, &what)?;
        }
        Ok(())
    }

    /// Numbers of the windows after `applied` that are wholly there, in their order; others that come after
    /// it are removed.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub async fn windows(&self, applied: i64) -> Result<Vec<i64>> {
        let of = self.target.client().database(RECORDS).collection::<Document>(COLLECTION);
        let failed = || failed(Side::Target, format!("reading {RECORDS}.{COLLECTION}"));
        let found = of.find(doc! {"_id": {"$gte": first(applied + 1)}}).sort(doc! {"_id": 1});
        let found = found.projection(doc! {"window": 1, "of": 1}).await.map_err(failed())?;
        let found: Vec<Document> = found.try_collect().await.map_err(failed())?;
        let whole = whole(applied, &found);
        let next = whole.last().copied().unwrap_or(applied) + 1;
        if found.iter().any(|part| part.get_i64("window").is_ok_and(|window| window >= next)) {
            self.remove(doc! {"$gte": first(next)}).await?;
        }
        Ok(whole)
    }

    /// A window that [`windows`](Self::windows) named.
    ///
    /// # Errors
    /// As [`write`](Self::write); [`Error::Broken`] for one that can't be read.
    pub async fn read(&self, number: i64) -> Result<Window> {
        let of = self.target.client().database(RECORDS).collection::<Document>(COLLECTION);
        let failed = || failed(Side::Target, format!("reading window {number} of {RECORDS}.{COLLECTION}"));
        let range = doc! {"$gte": first(number), "$lt": first(number + 1)};
        let mut found = of.find(doc! {"_id": range}).sort(doc! {"_id": 1}).await.map_err(failed())?;
        let mut data = Vec::new();
        while let Some(part) = found.try_next().await.map_err(failed())? {
            if let Some(Bson::Binary(part)) = part.get("data") {
                data.extend_from_slice(&part.bytes);
            }
        }
        Window::decode(number, &data)
    }

    /// Removes the windows up to this one, which is applied, and the checkpoint is past it.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub async fn forget(&self, applied: i64) -> Result<()> {
        self.remove(doc! {"$lt": first(applied + 1)}).await
    }

    async fn remove(&self, range: Document) -> Result<()> {
        let what = format!("removing windows of {RECORDS}.{COLLECTION}");
        let delete = doc! {"delete": COLLECTION, "deletes": [{"q": {"_id": range}, "limit": 0}]};
        written(&self.target.write(RECORDS, delete, &what).await?, &what)
    }
}

fn first(window: i64) -> i64 {
    window.saturating_mul(PARTS)
}

fn written(answer: &Document, what: &str) -> Result<()> {
    match answer.get_array("writeErrors").ok().and_then(|errors| errors.first()) {
        Some(error) => Err(Error::Broken(format!("the target: {what}: {error}"))),
        None => Ok(()),
    }
}

/// Windows that follow one upon the other, each with all its parts.
fn whole(applied: i64, parts: &[Document]) -> Vec<i64> {
    let mut whole = Vec::new();
    for number in applied + 1.. {
        let of: Vec<_> = parts.iter().filter(|part| part.get_i64("window").ok() == Some(number)).collect();
        let wanted = of.first().and_then(|part| part.get_i64("of").ok());
        if wanted.is_none_or(|wanted| i64::try_from(of.len()).ok() != Some(wanted)) {
            break;
        }
        whole.push(number);
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d10_only_windows_that_are_wholly_written_down_and_follow_one_another_are_applied() {
        let part = |window: i64, of: i64| doc! {"window": window, "of": of};
        let cases = [
            (vec![], vec![]),
            (vec![part(5, 1), part(6, 2), part(6, 2), part(7, 1)], vec![5, 6, 7]),
            (vec![part(5, 1), part(6, 2), part(7, 1)], vec![5]),
            (vec![part(6, 1)], vec![]),
        ];
        for (parts, expected) in cases {
            assert_eq!(whole(4, &parts), expected, "{parts:?}");
        }
    }
}
