//! What the restore of SQL Server is told.

use crate::{
    api::Addressing,
    restore::{mysql, sqlserver},
    task::{RestoreTask, SQL_SERVER_DIR},
    worker::{Start, stores},
};

/// The same as for other engines, and where the server finds the copy itself.
pub(super) fn settings(start: &Start, work: &RestoreTask, common: &mysql::Settings) -> sqlserver::Settings {
    let target = &work.target;
    let accepted = work.sql_server.as_ref().filter(|terms| terms.accept_eula);
    sqlserver::Settings {
        terms: accepted.map(|terms| sqlserver::Terms {
            edition: terms.edition.word().to_owned(),
            collation: terms.collation.clone(),
        }),
        volume: common.volume.clone(),
        home: SQL_SERVER_DIR.into(),
        work: common.work.clone(),
        programs: None,
        arguments: common.arguments.clone(),
        admin: common.admin.clone(),
        checks: common.checks.clone(),
        check_tables: common.check_tables,
        copy: stores::place(target),
        signing_region: target.signing_region.clone(),
        virtual_hosted: target.addressing == Addressing::Virtual,
        ca_bundle: target.ca_bundle.clone(),
        credentials: start.mounts.target.clone(),
    }
}
