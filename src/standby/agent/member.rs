//! The member beside which an agent runs.

use std::{path::Path, time::Duration};

use async_trait::async_trait;
use mongodb::{
    Client,
    bson::{Document, doc},
    error::{Error as ServerError, ErrorKind},
    options::{ClientOptions, Credential},
};

use super::{Local, Login, Refusal};

/// A member that starts is asked again.
const PATIENCE: Duration = Duration::from_secs(2);
/// Number of the error that a server gives for an account that is not there.
const AUTHENTICATION_FAILED: i32 = 18;

/// A member on this machine.
pub struct Member {
    nobody: Client,
    account: Client,
    username: String,
    password: String,
}

impl Member {
    /// The member that listens at this port, and the account in a folder with `username` and `password`.
    ///
    /// # Errors
    /// In words: a file that can't be read.
    pub async fn new(port: u16, credentials: &Path) -> Result<Self, String> {
        let read = |name: &str| {
            let path = credentials.join(name);
            let text =
                std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
            Ok::<_, String>(text.trim_end_matches(['\r', '\n']).to_owned())
        };
        let (username, password) = (read("username")?, read("password")?);
        let uri = format!("mongodb://127.0.0.1:{port}/?directConnection=true");
        let mut options = ClientOptions::parse(uri).await.map_err(|error| error.to_string())?;
        options.server_selection_timeout = Some(PATIENCE);
        options.connect_timeout = Some(PATIENCE);
        options.app_name = Some("farshore".to_owned());
        // Nobody's privileges end with the connection on which the first account was made.
        options.max_pool_size = Some(1);
        let nobody = Client::with_options(options.clone()).map_err(|error| error.to_string())?;
        options.credential =
            Some(Credential::builder().username(username.clone()).password(password.clone()).build());
        let account = Client::with_options(options).map_err(|error| error.to_string())?;
        Ok(Self { nobody, account, username, password })
    }

    /// Name of the account.
    #[must_use]
    pub fn username(&self) -> &str {
        &self.username
    }
}

#[async_trait]
impl Local for Member {
    async fn run(&self, with: Login, command: Document) -> Result<Document, Refusal> {
        let client = match with {
            Login::Nobody => &self.nobody,
            Login::Account => &self.account,
        };
        client.database("admin").run_command(command).await.map_err(|error| refusal(&error))
    }

    async fn create_account(&self) -> Result<(), Refusal> {
        let command = doc! {
            "createUser": &self.username,
            "pwd": &self.password,
            "roles": [{"role": "root", "db": "admin"}],
            "writeConcern": {"w": "majority", "wtimeout": 10_000},
        };
        self.nobody.database("admin").run_command(command).await.map(drop).map_err(|error| refusal(&error))
    }
}

fn refusal(error: &ServerError) -> Refusal {
    let (code, message) = match &*error.kind {
        ErrorKind::Command(command) => (Some(command.code), command.message.clone()),
        ErrorKind::Authentication { message, .. } => (Some(AUTHENTICATION_FAILED), message.clone()),
        _ => (None, error.to_string()),
    };
    Refusal { code, message }
}
