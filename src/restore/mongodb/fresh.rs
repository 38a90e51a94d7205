//! A replica set of one member that is made here: filled, asked, handed over, and shut down.
//!
//! The server is a child in the user's own image, which only this machine reaches. Its set is initiated under the
//! address at which the instance will be found: the pod's hosts file says that this name is the pod itself, at the
//! restore and ever after, and a server compares addresses when it looks for itself in a configuration (`isSelf` in
//! its source). So nothing is renamed at the end, and no server waits for a Service or a DNS to be up.
//!
//! Accounts are not asked for while it is filled: nobody else is there. The key that members of a set know each
//! other by is made here too, and used once accounts are.

mod checks;
mod server;

use std::path::PathBuf;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use mongodb::bson::{Document, doc};

use self::server::Server;
use super::super::{
    Error, Origin, Plan, Reached, Result, Step, child,
    error::AtStep,
    mysql::{Admin, DATA},
    room,
};

/// Name of the replica set.
const SET: &str = "rs0";
/// Port of the new instance.
pub const PORT: u16 = 27_017;
/// The key of the replica set's members, in the volume.
pub const KEY: &str = "mongod.key";
/// A file has at most 1024 characters: these bytes are 512.
const KEY_BYTES: usize = 384;
/// Arguments of the server that are given here, or would keep us out.
const OURS: [&str; 19] = [
    "dbpath",
    "replSet",
    "bind_ip",
    "bind_ip_all",
    "port",
    "auth",
    "noauth",
    "keyFile",
    "clusterAuthMode",
    "transitionToAuth",
    "unixSocketPrefix",
    "nounixsocket",
    "config",
    "f",
    "fork",
    "shutdown",
    "configsvr",
    "shardsvr",
    "repair",
];

/// How an instance is made.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The volume. The data directory is `db` in it; everything else in it goes.
    pub volume: PathBuf,
    /// A folder for sockets and other small files, of this attempt alone.
    pub work: PathBuf,
    /// Where `mongod` is, if not in the `PATH`.
    pub programs: Option<PathBuf>,
    /// Arguments for the server, besides ours.
    pub arguments: Vec<String>,
    /// Under which name the instance will be found; it means this very machine here. Without: nobody looks for it.
    pub host: Option<String>,
    /// Where it listens.
    pub port: u16,
    /// The account that the new instance is handed over with.
    pub admin: Option<Admin>,
    /// Commands that are asked of the restored instance.
    pub checks: Vec<String>,
    /// The server validates all its collections, too; its answer comes last.
    pub check_tables: bool,
}

/// Restores what the plan says. The volume is emptied first: whatever an earlier attempt left is not used.
///
/// # Errors
/// With the step at which it failed. What runs by then is ended.
pub async fn restore(plan: &Plan, origin: &Origin, settings: &Settings) -> Result<Reached, AtStep> {
    let at = |step: Step| move |error: Error| error.at(step);
    origin.reporter.enter(Step::Begin);
    let mut server = begin(plan, settings).await.map_err(at(Step::Begin))?;
    let filled = super::restore(plan, origin, &super::Settings { uri: server.uri() }).await;
    let reached = match filled {
        Ok(reached) => reached,
        // A server that has died knows more than whoever lost it.
        Err(failed) => return Err(server.ended().await.unwrap_or(failed.error).at(failed.step)),
    };
    let answers = finish(server, settings).await.map_err(at(Step::Finish))?;
    Ok(Reached { answers, ..reached })
}

/// Everything that can be refused is, before the volume is touched.
async fn begin(plan: &Plan, settings: &Settings) -> Result<Server> {
    super::base(plan)?;
    refuse_ours(&settings.arguments)?;
    let program = child::tool_in(settings.programs.as_deref(), &["mongod"])?;
    room::empty(&settings.volume)?;
    for folder in [settings.volume.join(DATA), settings.work.clone()] {
        std::fs::create_dir_all(&folder).map_err(Error::file(&folder))?;
    }
    room::private(&settings.volume.join(KEY), &key()?)?;
    let mut server = Server::start(&program, settings).await?;
    server.initiate(&configuration(settings)).await?;
    Ok(server)
}

/// Asks, hands over to the administrator, shuts down.
async fn finish(mut server: Server, settings: &Settings) -> Result<Vec<String>> {
    let mut answers = Vec::new();
    for check in &settings.checks {
        answers.push(checks::ask(server.client(), check).await?);
    }
    if settings.check_tables {
        answers.push(checks::validate(server.client()).await?);
    }
    if let Some(admin) = &settings.admin {
        server.run("making the administrator's account", account(admin)).await?;
    }
    server.stop().await?;
    Ok(answers)
}

/// Characters of base64, as a key file takes them.
fn key() -> Result<String> {
    let mut bits = [0; KEY_BYTES];
    let random = rustls::crypto::aws_lc_rs::default_provider().secure_random;
    random.fill(&mut bits).map_err(|_| Error::Broken("the system gives no random numbers".to_owned()))?;
    Ok(BASE64_STANDARD.encode(bits))
}

fn refuse_ours(arguments: &[String]) -> Result<()> {
    for argument in arguments.iter().filter(|argument| argument.starts_with('-')) {
        let (name, value) = argument.split_once('=').unwrap_or((argument, ""));
        let plain = name.trim_start_matches('-');
        // Nobody but us is there, and we speak plainly.
        let encrypted = matches!(plain, "tlsMode" | "sslMode") && !matches!(value, "allowTLS" | "preferTLS");
        if encrypted || OURS.contains(&plain) {
            let why = if encrypted {
                "the restore speaks to the server without encryption, so that only --tlsMode=allowTLS and --tlsMode=preferTLS can be given"
            } else {
                "Farshore gives it itself, or needs it to be otherwise; leave it out"
            };
            return Err(Error::Unusable(format!("{name} in the instance's arguments: {why}")));
        }
    }
    Ok(())
}

/// What a server is started with while it is filled.
fn arguments(settings: &Settings) -> Vec<String> {
    let path = |path: PathBuf| path.display().to_string();
    let ours = [
        ("--dbpath", path(settings.volume.join(DATA))),
        ("--replSet", SET.to_owned()),
        ("--bind_ip", "127.0.0.1".to_owned()),
        ("--port", settings.port.to_string()),
        ("--unixSocketPrefix", path(settings.work.clone())),
        // What was old enough to go at the source is restored as well, and goes once the instance is in use.
        ("--setParameter", "ttlMonitorEnabled=false".to_owned()),
    ];
    let ours = ours.into_iter().flat_map(|(name, value)| [name.to_owned(), value]);
    ours.chain(settings.arguments.iter().cloned()).collect()
}

/// Of a set with one member. An address of numbers would be refused.
fn configuration(settings: &Settings) -> Document {
    let host = settings.host.as_deref().unwrap_or("localhost");
    doc! {"_id": SET, "members": [{"_id": 0, "host": format!("{host}:{}", settings.port)}]}
}

/// An account that may do everything.
fn account(admin: &Admin) -> Document {
    doc! {"createUser": &admin.name, "pwd": &admin.password, "roles": [{"role": "root", "db": "admin"}]}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings {
            volume: "/var/lib/farshore".into(),
            work: "/tmp/restore".into(),
            programs: None,
            arguments: vec!["--wiredTigerCacheSizeGB=2".to_owned()],
            host: Some("orders-2.shop.svc".to_owned()),
            port: PORT,
            admin: None,
            checks: Vec::new(),
            check_tables: false,
        }
    }

    #[test]
    fn b08_a_server_that_is_filled_is_reached_by_nobody_else_and_deletes_nothing_by_itself() {
        assert_eq!(
            arguments(&settings()).join(" "),
            "--dbpath /var/lib/farshore/db --replSet rs0 --bind_ip 127.0.0.1 --port 27017 --unixSocketPrefix /tmp/restore --setParameter ttlMonitorEnabled=false --wiredTigerCacheSizeGB=2"
        );
    }

    #[test]
    fn b08_the_set_has_the_address_under_which_the_instance_will_be_found() {
        let found = doc! {"_id": "rs0", "members": [{"_id": 0, "host": "orders-2.shop.svc:27017"}]};
        assert_eq!(configuration(&settings()), found);
        let drill = doc! {"_id": "rs0", "members": [{"_id": 0, "host": "localhost:27017"}]};
        assert_eq!(configuration(&Settings { host: None, ..settings() }), drill);
    }

    #[test]
    fn b08_what_would_keep_the_restore_out_is_refused_with_its_name() {
        for fine in ["--oplogSize=990", "--tlsMode=preferTLS", "--ipv6", "rs0", "--setParameter"] {
            assert!(refuse_ours(&[fine.to_owned()]).is_ok(), "{fine}");
        }
        for ours in ["--auth", "--replSet=mine", "--bind_ip", "-f", "--config=/etc/mongod.conf", "--tlsMode"]
        {
            let error = refuse_ours(&["--ipv6".to_owned(), ours.to_owned()]).unwrap_err();
            let name = ours.split('=').next().unwrap();
            assert!(error.is_permanent() && error.to_string().contains(name), "{error}");
        }
    }

    #[test]
    fn b08_the_administrator_may_do_everything_and_the_key_is_one_that_a_server_takes() {
        let admin = Admin { name: "root".to_owned(), password: "it's \"quoted\" \\ $x".to_owned() };
        let command = account(&admin);
        assert_eq!(command.get_str("pwd").unwrap(), admin.password);
        assert_eq!(command.keys().next().map(String::as_str), Some("createUser"), "commands come first");
        let (one, other) = (key().unwrap(), key().unwrap());
        assert_ne!(one, other);
        assert!((6..=1024).contains(&one.len()));
        assert!(one.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'+' | b'/')), "{one}");
    }
}
