//! From a task's words to stores and places.

use std::{path::Path, sync::Arc};

use crate::{
    api,
    backup::{
        self,
        catalog::{Format, sqlserver::Names},
        sync::Place,
    },
    store::{
        Side,
        credentials::Credentials,
        s3::{Addressing, S3Config, S3Store},
    },
    task::{StoreLocation, TaskFormat},
};

/// Opens a bucket with the credentials that are mounted at `directory`.
///
/// # Errors
/// What is wrong with the Secret's files or the endpoint's configuration, with the side to look at.
pub fn open(location: &StoreLocation, directory: &Path, side: Side) -> Result<Arc<S3Store>, backup::Error> {
    let of_side = |source| backup::Error::Store { side, source };
    let credentials = Credentials::files(directory).map_err(of_side)?;
    let config = S3Config {
        signing_region: location.signing_region.clone(),
        addressing: match location.addressing {
            api::Addressing::Path => Addressing::Path,
            api::Addressing::Virtual => Addressing::Virtual,
        },
        ca_bundle: location.ca_bundle.clone(),
        ..S3Config::new(&location.endpoint, &location.bucket, credentials)
    };
    Ok(Arc::new(S3Store::new(config).map_err(of_side)?))
}

/// What identifies a copy.
#[must_use]
pub fn place(location: &StoreLocation) -> Place {
    Place {
        endpoint: location.endpoint.clone(),
        bucket: location.bucket.clone(),
        prefix: location.prefix.clone(),
    }
}

/// The catalog's name for a layout; `None` where it has to be told from what is there.
#[must_use]
pub fn format(format: &TaskFormat) -> Option<Format> {
    Some(match format.clone() {
        TaskFormat::Detected => return None,
        TaskFormat::MariaDBOperator => Format::MariaDBOperator,
        TaskFormat::WalGMySQL => Format::WalGMySQL,
        TaskFormat::WalGMongoDB => Format::WalGMongoDB,
        TaskFormat::PerconaMongoDB => Format::PerconaMongoDB,
        TaskFormat::WalGSQLServer => Format::WalGSQLServer,
        TaskFormat::SqlServer { pattern, utc_offset_seconds, ignore } => {
            Format::SqlServer(Names { pattern, utc_offset_seconds, ignore })
        }
        TaskFormat::PerconaXtraDB => Format::PerconaXtraDB,
        TaskFormat::Barman => Format::Barman,
        TaskFormat::WalGPostgres => Format::WalGPostgres,
        TaskFormat::PgBackRest => Format::PgBackRest,
        TaskFormat::Files { full, incremental } => Format::Files { full, incremental },
    })
}
