//! Whether the master's oplog still holds what comes next.

use mongodb::Client;

use crate::{
    mongo::Place,
    standby::{
        Error, Result, Side,
        error::NEW_COPY,
        servers::{facts, lacking, preflight::lost},
    },
};

/// Changes after a place are lost.
pub(super) fn error(place: Place, why: &str) -> Error {
    Error::Gap(format!(
        "the master's oplog doesn't reach back to {}.{}, where the target is ({why}): {NEW_COPY}, and make the oplog larger with replSetResizeOplog",
        place.seconds, place.increment
    ))
}

/// Makes sure that an entry at the place, or before it, is still there. To be asked *after* the first read: what was
/// read then is not lost.
///
/// # Errors
/// [`Error::Gap`]; [`Error::Refused`] where the account may not read the oplog; [`Error::Server`].
pub(super) async fn check(client: &Client, place: Place) -> Result<()> {
    let oldest = facts::oldest(client).await;
    let oldest = oldest.map_err(|error| lacking(error, Side::Master, r#"{role: "read", db: "local"}"#))?;
    match oldest {
        Some(oldest) if oldest <= place => Ok(()),
        Some(oldest) => Err(error(place, &format!("it begins at {}.{}", oldest.seconds, oldest.increment))),
        None => Err(error(place, "it is empty")),
    }
}

/// Makes sure that the master is not behind what was read of it.
///
/// # Errors
/// [`Error::Refused`] with `MasterDiverged`; [`Error::Server`].
pub(super) async fn went_back(client: &Client, place: Place) -> Result<()> {
    let newest = facts::newest_of(client).await?;
    if newest < place { Err(lost(place, newest)) } else { Ok(()) }
}
