//! Nobody but the copying writes to the target, until it is activated.

use std::{path::Path, sync::Arc};

use farshore::standby::{
    Endpoint, Level, Session, Side,
    fence::Fence,
    servers,
    state::{self, Claimed, State},
};
use futures::TryStreamExt;
use mongodb::{
    Client,
    bson::{Document, doc},
    error::ErrorKind,
};
use tempfile::TempDir;

use crate::secantus::Secantus;

const PASSWORD: &str = "it's $secret";

/// A server that asks for passwords, and the account of Farshore on it.
pub struct Guarded {
    pub server: Secantus,
    pub endpoint: Endpoint,
    folder: TempDir,
}

/// Accounts of a server: database, name, roles.
pub type Accounts<'a> = &'a [(&'a str, &'a str, &'a [&'a str])];

impl Guarded {
    /// `fenced`: with the commands of a fence.
    pub async fn start(fenced: bool, accounts: Accounts<'_>) -> Self {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/fenced.py");
        let program = fenced.then_some(program.as_path());
        let mut server = Secantus::of(program, &["--sync-on-commit"]).await;
        for (database, name, roles) in [&[("admin", "farshore", &["root"][..])][..], accounts].concat() {
            let roles: Vec<&str> = roles.to_vec();
            let create = doc! {"createUser": name, "pwd": PASSWORD, "roles": roles};
            server.client.database(database).run_command(create).await.unwrap();
        }
        server.restart_with(&["--sync-on-commit", "--auth"]).await;
        let folder = tempfile::tempdir().unwrap();
        for (file, text) in [("username", "farshore"), ("password", PASSWORD)] {
            std::fs::write(folder.path().join(file), text).unwrap();
        }
        let endpoint = Endpoint { uri: server.uri(), credentials: Some(folder.path().to_owned()) };
        Self { server, endpoint, folder }
    }

    /// Arguments by which another server follows this one.
    pub fn follow(&self, target: &Self) -> Vec<String> {
        let folder = |of: &Self| of.folder.path().display().to_string();
        let flags =
            ["--master-credentials", &folder(self), "--target-credentials", &folder(target), "--json"];
        [&[self.server.uri(), target.server.uri()][..], &flags.map(ToOwned::to_owned)].concat()
    }

    pub async fn client(&self) -> Client {
        servers::connect(&self.endpoint, Side::Target).await.unwrap()
    }

    /// Somebody else, who logs in now.
    async fn login(&self, database: &str, name: &str) -> Client {
        let password = PASSWORD.replace('\'', "%27").replace(' ', "%20").replace('$', "%24");
        let address = format!("127.0.0.1:{}", self.server.port);
        let uri = format!("mongodb://{name}:{password}@{address}/{database}?directConnection=true");
        Client::with_uri_str(uri).await.unwrap()
    }

    /// A run that holds it.
    pub async fn held(&self, run: &str) -> Arc<State> {
        let session = Session {
            master: self.endpoint.clone(),
            target: self.endpoint.clone(),
            owner: "shop/orders".to_owned(),
            run: run.to_owned(),
            resync: None,
        };
        match state::claim(&self.client().await, &session).await.unwrap() {
            Claimed::Held { state, .. } => state,
            sealed @ Claimed::Sealed(_) => panic!("{sealed:?}"),
        }
    }
}

/// What a tenant tries that may write and make accounts, and the code that each is refused with.
async fn tried(tenant: &Client, suffix: &str) -> Vec<Option<i32>> {
    let shop = tenant.database("shop");
    let commands = [
        ("shop", doc! {"insert": "orders", "documents": [{"_id": format!("new {suffix}")}]}),
        ("shop", doc! {"create": format!("made {suffix}")}),
        ("shop", doc! {"createUser": format!("friend {suffix}"), "pwd": "x", "roles": ["read"]}),
        ("shop", doc! {"grantRolesToUser": "clerk", "roles": ["dbOwner"]}),
        ("shop", doc! {"dropDatabase": 1}),
    ];
    let mut codes = Vec::new();
    for (_, command) in commands {
        codes.push(match shop.run_command(command).await {
            Ok(_) => None,
            Err(error) => match *error.kind {
                ErrorKind::Command(ref refused) => Some(refused.code),
                _ => panic!("{error}"),
            },
        });
    }
    codes
}

const CLERK: (&str, &str, &[&str]) = ("shop", "clerk", &["readWrite", "userAdmin", "dbAdmin"]);

#[tokio::test]
async fn d04_a_tenant_can_not_write_or_change_accounts_until_the_target_is_activated() {
    let master = Guarded::start(true, &[CLERK]).await;
    let target = Guarded::start(true, &[]).await;
    let state = target.held("run-1").await;
    let fence = Fence::new(Arc::clone(&state), target.endpoint.clone(), Some(master.client().await));
    let raised = fence.raise().await.unwrap();
    assert_eq!((raised.fence.level, &raised.fence.missing), (Level::WriteBlock, &vec![]));

    // The copying itself writes.
    let insert = doc! {"insert": "orders", "documents": [{"_id": 1}]};
    state.target().write("shop", insert, "inserting").await.unwrap();
    let clerk = target.login("shop", "clerk").await;
    assert_eq!(tried(&clerk, "before").await, [Some(13); 5]);
    let orders = clerk.database("shop").collection::<Document>("orders");
    let seen: Vec<Document> = orders.find(doc! {}).await.unwrap().try_collect().await.unwrap();
    assert_eq!(seen, [doc! {"_id": 1}], "what is there may be read");

    assert_eq!(fence.lower().await.unwrap(), Vec::<String>::new());
    assert_eq!(fence.lower().await.unwrap(), Vec::<String>::new(), "once more");
    let clerk = target.login("shop", "clerk").await;
    assert_eq!(tried(&clerk, "after").await, [None; 5]);
}

#[tokio::test]
async fn d04_a_fence_that_somebody_undid_is_mended_and_told() {
    let own = ("admin", "operator", &["clusterAdmin"][..]);
    let mut target = Guarded::start(true, &[CLERK, own]).await;
    let state = target.held("run-1").await;
    let fence = Fence::new(Arc::clone(&state), target.endpoint.clone(), None);
    for time in ["first", "second"] {
        assert_eq!(
            fence.raise().await.unwrap().mended,
            Vec::<String>::new(),
            "nothing was undone, {time} time"
        );
    }

    let admin = target.client().await;
    let grant = doc! {"grantRolesToUser": "clerk", "roles": [{"role": "readWrite", "db": "shop"}]};
    admin.database("shop").run_command(grant).await.unwrap();
    let open = doc! {"setUserWriteBlockMode": 1, "global": false};
    admin.database("admin").run_command(open).await.unwrap();
    let expire = doc! {"setParameter": 1, "ttlMonitorEnabled": true};
    admin.database("admin").run_command(expire).await.unwrap();
    let raised = fence.raise().await.unwrap();
    assert_eq!((raised.fence.level, raised.mended.len()), (Level::WriteBlock, 3), "{raised:?}");
    assert_eq!(roles(&admin, "shop", "clerk").await, ["read"]);
    assert_eq!(roles(&admin, "admin", "operator").await, ["clusterAdmin"], "whoever operates the target");

    // A member that was started again has forgotten its parameter.
    target.server.restart().await;
    let raised = fence.raise().await.unwrap();
    assert!(raised.mended.iter().any(|text| text.contains("expired")), "{raised:?}");
    fence.lower().await.unwrap();
    assert_eq!(roles(&admin, "shop", "clerk").await, ["readWrite", "userAdmin", "dbAdmin"]);
}

#[tokio::test]
async fn d04_accounts_follow_those_of_the_master() {
    let master = Guarded::start(true, &[CLERK, ("shop", "guest", &["read"])]).await;
    let target = Guarded::start(true, &[]).await;
    let state = target.held("run-1").await;
    let there = master.client().await;
    let fence = Fence::new(Arc::clone(&state), target.endpoint.clone(), Some(there.clone()));
    fence.raise().await.unwrap();

    let shop = there.database("shop");
    shop.run_command(doc! {"dropUser": "guest"}).await.unwrap();
    shop.run_command(doc! {"updateUser": "clerk", "pwd": "another"}).await.unwrap();
    let role = doc! {
        "createRole": "keeper", "roles": [],
        "privileges": [{"resource": {"db": "depot", "collection": ""}, "actions": ["find", "insert"]}],
    };
    shop.run_command(role).await.unwrap();
    shop.run_command(doc! {"createUser": "new", "pwd": PASSWORD, "roles": ["keeper"]}).await.unwrap();
    let raised = fence.raise().await.unwrap();
    assert_eq!((raised.fence.missing, raised.mended), (vec![], vec![]));

    let here = target.client().await;
    let guest = here.database("shop").run_command(doc! {"usersInfo": "guest"}).await.unwrap();
    assert!(guest.get_array("users").unwrap().is_empty(), "{guest}");
    assert_eq!(roles(&here, "shop", "new").await, ["read"]);
    let old = target.login("shop", "clerk").await;
    assert!(old.database("shop").list_collection_names().await.is_err(), "the old password is no good");
    // While the master doesn't answer, all stays as it is.
    drop(master);
    let raised = fence.raise().await.unwrap();
    assert_eq!((raised.fence.level, raised.mended), (Level::WriteBlock, vec![]));
    assert_eq!(roles(&here, "shop", "new").await, ["read"]);
    fence.lower().await.unwrap();
    assert_eq!(roles(&here, "shop", "new").await, ["keeper"]);
}

async fn roles(client: &Client, database: &str, name: &str) -> Vec<String> {
    let answer = client.database(database).run_command(doc! {"usersInfo": name}).await.unwrap();
    let user = answer.get_array("users").unwrap()[0].as_document().unwrap().clone();
    let roles = user.get_array("roles").unwrap();
    roles.iter().map(|role| role.as_document().unwrap().get_str("role").unwrap().to_owned()).collect()
}

#[tokio::test]
async fn d04_without_a_write_block_accounts_may_only_read_and_what_is_missing_is_told() {
    let target = Guarded::start(false, &[CLERK]).await;
    let fence = Fence::new(target.held("run-1").await, target.endpoint.clone(), None);
    let raised = fence.raise().await.unwrap().fence;
    assert_eq!(raised.level, Level::Roles);
    let told = raised.missing.join("\n");
    assert!(told.contains("MongoDB 6.0") && told.contains("ttlMonitorEnabled"), "{told}");
    let clerk = target.login("shop", "clerk").await;
    assert_eq!(tried(&clerk, "before").await, [Some(13); 5]);
    fence.lower().await.unwrap();
    let clerk = target.login("shop", "clerk").await;
    assert_eq!(tried(&clerk, "after").await, [None; 5]);
}

#[tokio::test]
async fn d04_a_server_that_asks_for_no_password_has_no_fence() {
    let server = Secantus::start().await;
    let endpoint = Endpoint { uri: server.uri(), credentials: None };
    let state = crate::state::held(&server, "run-1").await;
    let raised = Fence::new(state, endpoint, None).raise().await.unwrap().fence;
    assert_eq!(raised.level, Level::None);
    assert!(raised.missing[0].contains("--auth"), "{raised:?}");
}
