//! Asks MariaDB or MySQL where its log stands, so that an idle database is no breach of the RPO (`B09`).

use std::{fmt, path::Path, time::Duration};

use async_trait::async_trait;
use mysql_async::{Conn, Opts, OptsBuilder, prelude::Queryable};

use crate::backup::sync::LogPosition;

/// Longest that the whole question may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// A server's log, asked as a user that may see its position.
pub struct ServerLog {
    options: Opts,
    address: String,
}

impl fmt::Debug for ServerLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerLog").field("address", &self.address).finish_non_exhaustive()
    }
}

impl ServerLog {
    /// The server at `mysql://host[:port]`, with `username` and `password` from files of `directory`.
    ///
    /// `None` without these files: then the server can't be asked.
    #[must_use]
    pub fn open(uri: &str, directory: &Path) -> Option<Self> {
        let user = read(directory, "username")?;
        let password = read(directory, "password")?;
        let address = uri.strip_prefix("mysql://")?.trim_end_matches('/').to_owned();
        let (host, port) = match address.rsplit_once(':') {
            Some((host, port)) => (host.to_owned(), port.parse().ok()?),
            None => (address.clone(), 3306),
        };
        let options = OptsBuilder::default()
            .ip_or_hostname(host)
            .tcp_port(port)
            .user(Some(user))
            .pass(Some(password))
            .prefer_socket(false);
        Some(Self { options: options.into(), address })
    }

    async fn ask(&self) -> Result<String, mysql_async::Error> {
        let mut connection = Conn::new(self.options.clone()).await?;
        // MariaDB knows one variable, MySQL the other.
        let position: Option<String> = match connection.query_first("SELECT @@GLOBAL.gtid_binlog_pos").await {
            Ok(position) => position,
            Err(mysql_async::Error::Server(_)) => {
                connection.query_first("SELECT @@GLOBAL.gtid_executed").await?
            }
            Err(error) => return Err(error),
        };
        connection.disconnect().await?;
        Ok(position.unwrap_or_default())
    }
}

fn read(directory: &Path, name: &str) -> Option<String> {
    std::fs::read_to_string(directory.join(name)).ok().map(|text| text.trim_end_matches('\n').to_owned())
}

#[async_trait]
impl LogPosition for ServerLog {
    async fn current(&self) -> Result<String, String> {
        match tokio::time::timeout(PATIENCE, self.ask()).await {
            Ok(Ok(position)) => Ok(position),
            // The server's own words name the user, never the password.
            Ok(Err(error)) => Err(format!("mysql://{}: {error}", self.address)),
            Err(_) => Err(format!("mysql://{} did not answer within {PATIENCE:?}", self.address)),
        }
    }
}
