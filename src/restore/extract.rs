//! The bases of a plan, unpacked and left as their tool wrote them, for those who go on by themselves.

use std::path::{Path, PathBuf};

use super::{Error, Origin, Plan, Result, mysql, postgres};
use crate::backup::catalog::{BaseKind, Format};

/// Where tablespaces are put, beside the bases.
const SPACES: &str = "tablespaces";

/// Unpacks the bases of a plan into an empty folder, each into a folder of its own, and answers these: `full`, then
/// `increment-1` and so on. What was unpacked before a failure goes.
///
/// # Errors
/// [`Error::Unusable`] for a folder that holds something, and for bases that are no folders once they are unpacked.
pub async fn extract(plan: &Plan, origin: &Origin, format: &Format, into: &Path) -> Result<Vec<PathBuf>> {
    claim(into)?;
    let mut folders = Vec::new();
    for base in &plan.bases {
        folders.push(into.join(match base.kind {
            BaseKind::Full => "full".to_owned(),
            BaseKind::Incremental => format!("increment-{}", folders.len()),
        }));
    }
    let unpacked = match format {
        Format::MariaDBOperator | Format::WalGMySQL => mysql::extract(plan, origin, &folders).await,
        Format::Barman | Format::WalGPostgres => {
            let data = folders.first().map_or(into, PathBuf::as_path);
            postgres::extract(plan, origin, (data, &into.join(SPACES))).await
        }
        other => Err(Error::Unusable(format!(
            "bases of {} are not unpacked here: their own tool, or a DatabaseInstance, restores them",
            other.name()
        ))),
    };
    if unpacked.is_err() {
        for made in folders.iter().map(PathBuf::as_path).chain([into.join(SPACES).as_path()]) {
            std::fs::remove_dir_all(made).ok();
        }
    }
    unpacked.map(|()| folders)
}

/// Makes the folder, unless it is there and empty.
fn claim(into: &Path) -> Result<()> {
    std::fs::create_dir_all(into).map_err(Error::file(into))?;
    let mut entries = std::fs::read_dir(into).map_err(Error::file(into))?;
    match entries.next() {
        None => Ok(()),
        Some(_) => Err(Error::Unusable(format!(
            "{} is not empty: name an empty folder, or one that is still to be made",
            into.display()
        ))),
    }
}
