//! What a SQL Server is made with.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a SQL Server that Farshore makes is set up with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SqlServer {
    /// That you accept Microsoft's terms of use of SQL Server. Without that, none is started.
    #[x_kube(validation = Rule::new("self").message(
        "acceptEula must be true: read Microsoft's terms of use of SQL Server, which every container of it asks for"
    ))]
    pub accept_eula: bool,
    /// Edition that you have a licence for. `Developer` is free and not for production; `Express` holds databases of up
    /// to 10 GB.
    pub edition: SqlServerEdition,
    /// Collation of the server, like `Latin1_General_CI_AS`; databases bring their own. Default: the image's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    #[x_kube(validation = Rule::new("self.matches('^[A-Za-z0-9_]+$')").message(
        "must be a collation's name, like Latin1_General_CI_AS"
    ))]
    pub collation: Option<String>,
}

/// Editions of SQL Server, as `MSSQL_PID` has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SqlServerEdition {
    /// For development and tests, free.
    Developer,
    /// Free, small.
    Express,
    /// For web hosting; up to 2022.
    Web,
    /// With a licence.
    Standard,
    /// With a licence.
    Enterprise,
    /// With a licence by cores.
    EnterpriseCore,
    /// For 180 days.
    Evaluation,
}

impl SqlServerEdition {
    /// Its name, as `MSSQL_PID` has it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Developer => "Developer",
            Self::Express => "Express",
            Self::Web => "Web",
            Self::Standard => "Standard",
            Self::Enterprise => "Enterprise",
            Self::EnterpriseCore => "EnterpriseCore",
            Self::Evaluation => "Evaluation",
        }
    }
}
