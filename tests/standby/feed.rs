//! What a master does is heard, in order, as a whole, and without a gap.

use std::time::{Duration, Instant};

use farshore::{
    mongo::{Change, Define, Namespace, diff::Update},
    standby::{
        Endpoint, Error, Side,
        feed::{self, Feed, Group, Heard, Kind, Position},
        servers,
    },
};
use mongodb::{
    Client, Collection,
    bson::{Bson, Document, doc},
};

use crate::secantus::Secantus;

/// Longest time that a test waits for a change.
const PATIENCE: Duration = Duration::from_secs(20);

async fn client(server: &Secantus) -> Client {
    let endpoint = Endpoint { uri: server.uri(), credentials: None };
    servers::connect(&endpoint, Side::Master).await.unwrap()
}

fn orders(server: &Secantus) -> Collection<Document> {
    server.client.database("shop").collection("orders")
}

async fn open(server: &Secantus, from: &Position) -> Box<dyn Feed> {
    feed::open(&client(server).await, from, Kind::ChangeStream).await.unwrap()
}

/// Groups until there are as many changes.
async fn groups(feed: &mut dyn Feed, changes: usize) -> Vec<Group> {
    let (begin, mut groups) = (Instant::now(), Vec::<Group>::new());
    while groups.iter().map(|group| group.changes.len()).sum::<usize>() < changes {
        assert!(begin.elapsed() < PATIENCE, "{groups:?}");
        if let Heard::Group(group) = feed.next().await.unwrap() {
            groups.push(group);
        }
    }
    groups
}

fn changes(groups: Vec<Group>) -> Vec<Change> {
    groups.into_iter().flat_map(|group| group.changes).collect()
}

fn ids(groups: &[Group]) -> Vec<Bson> {
    let id = |change: &Change| match change {
        Change::Put { id, .. } | Change::Update { id, .. } | Change::Remove { id, .. } => id.clone(),
        Change::Define(define) => Bson::String(format!("{define:?}")),
    };
    groups.iter().flat_map(|group| group.changes.iter().map(id)).collect()
}

#[tokio::test]
async fn d01_what_happens_to_documents_is_heard_in_order() {
    let master = Secantus::start().await;
    let orders = orders(&master);
    orders.insert_one(doc! {"_id": 0}).await.unwrap();
    let here = feed::here(&client(&master).await, Kind::ChangeStream).await.unwrap();
    orders.insert_one(doc! {"_id": 1, "n": {"a": 1, "b": 2}, "list": [1, 2, 3]}).await.unwrap();
    let change = doc! {"$set": {"n.a": 5, "list.1": 9}, "$unset": {"n.b": 1}};
    orders.update_one(doc! {"_id": 1}, change).await.unwrap();
    orders.replace_one(doc! {"_id": 1}, doc! {"whole": true}).await.unwrap();
    orders.delete_one(doc! {"_id": 0}).await.unwrap();
    let mut feed = open(&master, &here).await;
    let heard = groups(&mut *feed, 4).await;
    assert!(heard.iter().all(|group| group.changes.len() == 1 && group.position.place > here.place));
    assert!(heard.windows(2).all(|pair| pair[0].position.place < pair[1].position.place));
    let mut document = Document::new();
    for change in changes(heard) {
        match change {
            Change::Put { namespace, id, document: put } => {
                assert_eq!((namespace, id), (Namespace::new("shop", "orders"), Bson::Int32(1)));
                if put.contains_key("whole") {
                    assert_eq!(document, doc! {"_id": 1, "n": {"a": 5}, "list": [1, 9, 3]}, "just before");
                }
                document = put;
            }
            Change::Update { update, .. } => {
                assert!(matches!(update, Update::Described(_)));
                update.apply(&mut document).unwrap();
            }
            Change::Remove { id, .. } => assert_eq!(id, Bson::Int32(0)),
            Change::Define(define) => panic!("{define:?}"),
        }
    }
    assert_eq!(document, doc! {"_id": 1, "whole": true});
}

#[tokio::test]
async fn d01_a_feed_goes_on_from_where_it_was() {
    let master = Secantus::start().await;
    let orders = orders(&master);
    orders.insert_one(doc! {"_id": -1}).await.unwrap();
    let mut from = feed::here(&client(&master).await, Kind::ChangeStream).await.unwrap();
    orders.insert_many((0..50).map(|id| doc! {"_id": id})).await.unwrap();
    let mut seen = Vec::new();
    while seen.len() < 50 {
        let mut feed = open(&master, &from).await;
        let heard = groups(&mut *feed, 1).await;
        from = heard[0].position.clone();
        seen.extend(ids(&heard[..1]));
    }
    assert_eq!(seen, (0..50).map(Bson::Int32).collect::<Vec<_>>());
}

#[tokio::test]
async fn d09_a_transaction_is_heard_as_a_whole_and_an_aborted_one_never() {
    let master = Secantus::start().await;
    let orders = orders(&master);
    orders.insert_one(doc! {"_id": 0}).await.unwrap();
    let here = feed::here(&client(&master).await, Kind::ChangeStream).await.unwrap();
    let mut session = master.client.start_session().await.unwrap();
    for (first, commit) in [(100, true), (1000, false), (2000, true)] {
        session.start_transaction().await.unwrap();
        for id in first..first + 300 {
            orders.insert_one(doc! {"_id": id}).session(&mut session).await.unwrap();
        }
        if commit {
            session.commit_transaction().await.unwrap();
        } else {
            session.abort_transaction().await.unwrap();
        }
    }
    let mut feed = open(&master, &here).await;
    let heard = groups(&mut *feed, 600).await;
    assert_eq!(heard.iter().map(|group| group.changes.len()).collect::<Vec<_>>(), [300, 300]);
    let expected: Vec<Bson> = (100..400).chain(2000..2300).map(Bson::Int32).collect();
    assert_eq!(ids(&heard), expected);
}

#[tokio::test]
async fn d08_a_quiet_master_is_heard_to_be_quiet_each_second() {
    let master = Secantus::start().await;
    orders(&master).insert_one(doc! {"_id": 0}).await.unwrap();
    let client = client(&master).await;
    let here = feed::here(&client, Kind::ChangeStream).await.unwrap();
    let mut feed = open(&master, &here).await;
    let mut last = here.place;
    for _ in 0..4 {
        let begin = Instant::now();
        let Heard::Idle(position) = feed.next().await.unwrap() else { panic!("nothing happened") };
        // About one, on a machine that does nothing else.
        assert!(begin.elapsed() < Duration::from_secs(3));
        assert!(position.place >= last && position.token.is_some());
        last = position.place;
    }
    // It moves with the master's clock, and a feed can be opened there.
    assert!(last > here.place);
    let Heard::Idle(idle) = feed.next().await.unwrap() else { panic!("nothing happened") };
    orders(&master).insert_one(doc! {"_id": 7}).await.unwrap();
    let mut again = open(&master, &idle).await;
    assert_eq!(ids(&groups(&mut *again, 1).await), [Bson::Int32(7)]);
    assert_eq!(ids(&groups(&mut *feed, 1).await), [Bson::Int32(7)]);
}

#[tokio::test]
async fn d01_collections_and_indexes_are_heard() {
    let master = Secantus::start().await;
    orders(&master).insert_one(doc! {"_id": 0}).await.unwrap();
    let here = feed::here(&client(&master).await, Kind::ChangeStream).await.unwrap();
    let shop = master.client.database("shop");
    let run = async |command: Document| shop.run_command(command).await.unwrap();
    run(doc! {"create": "logs", "capped": true, "size": 4096}).await;
    let index = doc! {"key": {"n": 1}, "name": "n_1", "unique": true, "sparse": true};
    run(doc! {"createIndexes": "orders", "indexes": [index]}).await;
    run(doc! {"collMod": "orders", "validator": {"n": {"$exists": true}}}).await;
    run(doc! {"dropIndexes": "orders", "index": "n_1"}).await;
    let rename = doc! {"renameCollection": "shop.logs", "to": "shop.old"};
    master.client.database("admin").run_command(rename).await.unwrap();
    run(doc! {"drop": "old"}).await;
    // Our own records, and what servers keep for themselves.
    master.client.database("farshore").collection("state").insert_one(doc! {"_id": 1}).await.unwrap();
    run(doc! {"dropDatabase": 1}).await;
    let mut feed = open(&master, &here).await;
    let mut heard = Vec::new();
    while !matches!(heard.last(), Some(Change::Define(Define::DropDatabase { .. }))) {
        heard.extend(changes(groups(&mut *feed, 1).await));
    }
    let words: Vec<String> = heard
        .iter()
        .map(|change| match change {
            Change::Define(Define::Create { namespace, options }) => {
                format!("create {namespace} {}", options.get_bool("capped").is_ok_and(|capped| capped))
            }
            Change::Define(Define::CreateIndexes { namespace, indexes }) => {
                assert!(indexes[0].get_bool("unique").unwrap() && indexes[0].get_bool("sparse").unwrap());
                format!("index {namespace} {}", indexes[0].get_str("name").unwrap())
            }
            Change::Define(Define::Command { command, .. }) => {
                format!("modify {}", command.get_str("collMod").unwrap())
            }
            Change::Define(Define::DropIndexes { namespace, index }) => {
                format!("no index {namespace} {index}")
            }
            Change::Define(Define::Rename { from, to }) => format!("{from} to {to}"),
            Change::Define(Define::Drop { namespace }) => format!("drop {namespace}"),
            Change::Define(Define::DropDatabase { database }) => format!("drop {database}"),
            other => panic!("{other:?}"),
        })
        .collect();
    let expected = [
        "create shop.logs true",
        "index shop.orders n_1",
        "modify orders",
        r#"no index shop.orders "n_1""#,
        "shop.logs to shop.old",
        "drop shop.old",
        "drop shop",
    ];
    let without_orders: Vec<&String> = words.iter().filter(|words| *words != "drop shop.orders").collect();
    assert_eq!(without_orders, expected);
}

#[tokio::test]
async fn d09_what_the_oplog_lost_is_a_gap_and_never_skipped() {
    let master = Secantus::with(&["--oplog-max-entries", "100"]).await;
    let orders = orders(&master);
    orders.insert_one(doc! {"_id": 0}).await.unwrap();
    let client = client(&master).await;
    let here = feed::here(&client, Kind::ChangeStream).await.unwrap();
    orders.insert_one(doc! {"_id": 1}).await.unwrap();
    let mut feed = open(&master, &here).await;
    let by_token = groups(&mut *feed, 1).await.remove(0).position;
    drop(feed);
    let begin = Instant::now();
    let mut id = 2;
    // The server forgets when it likes to.
    let lost = |oldest: farshore::mongo::Place| oldest > by_token.place;
    while !lost(servers::facts::window(&client, Side::Master).await.unwrap().unwrap().first) {
        assert!(begin.elapsed() < PATIENCE, "the oplog keeps everything");
        orders.insert_many((id..id + 200).map(|id| doc! {"_id": id})).await.unwrap();
        id += 200;
    }
    for from in [&here, &by_token] {
        let error = feed::open(&client, from, Kind::ChangeStream).await.map(drop).unwrap_err();
        assert!(matches!(error, Error::Gap(_)), "{error:?}");
        assert_eq!(error.reason(), "OplogGap");
        assert!(error.to_string().contains("farshore.dev/resync-requested"), "{error}");
    }
}

#[tokio::test]
async fn d09_a_master_that_went_back_is_refused() {
    let master = Secantus::start().await;
    orders(&master).insert_one(doc! {"_id": 0}).await.unwrap();
    let client = client(&master).await;
    let mut later = feed::here(&client, Kind::ChangeStream).await.unwrap();
    later.place.seconds += 1000;
    let error = feed::open(&client, &later, Kind::ChangeStream).await.map(drop).unwrap_err();
    assert_eq!(error.reason(), "MasterDiverged");
    assert!(error.is_permanent());
}

#[tokio::test]
async fn d09_a_master_that_is_gone_is_noticed_and_heard_again() {
    let mut master = Secantus::start().await;
    let orders = orders(&master);
    orders.insert_one(doc! {"_id": 0}).await.unwrap();
    let client = client(&master).await;
    let mut from = feed::here(&client, Kind::ChangeStream).await.unwrap();
    orders.insert_one(doc! {"_id": 1}).await.unwrap();
    let mut feed = open(&master, &from).await;
    let heard = groups(&mut *feed, 1).await;
    from = heard[0].position.clone();
    master.kill();
    let begin = Instant::now();
    let error = loop {
        match feed.next().await {
            Ok(Heard::Idle(_)) => {}
            Ok(Heard::Group(group)) => panic!("{group:?}"),
            Err(error) => break error,
        }
    };
    assert!(begin.elapsed() < Duration::from_secs(8), "{:?}", begin.elapsed());
    assert_eq!((error.reason(), error.is_permanent()), ("MasterUnreachable", false));
    master.restart().await;
    orders.insert_one(doc! {"_id": 2}).await.unwrap();
    let mut feed = feed::open(&client, &from, Kind::ChangeStream).await.unwrap();
    assert_eq!(ids(&groups(&mut *feed, 1).await), [Bson::Int32(2)]);
}

#[tokio::test]
async fn d06_a_server_tells_of_itself_and_what_it_does_not_know_is_not_wrong() {
    let (master, target) = tokio::join!(Secantus::start(), Secantus::start());
    orders(&master).insert_one(doc! {"_id": 0}).await.unwrap();
    let of_master = servers::facts::facts(&client(&master).await, Side::Master).await.unwrap();
    let of_target = servers::facts::facts(&client(&target).await, Side::Target).await.unwrap();
    assert!(of_master.version.starts_with("8.2") && of_master.wire >= 17, "{of_master:?}");
    assert!(of_master.set.is_some() && !of_master.router);
    assert!(of_master.oplog.is_some() && of_master.majority.is_some() && of_master.now.is_some());
    let verdict = servers::preflight::preflight(&of_master, &of_target);
    assert_eq!(verdict.refusals, []);
    let findings: Vec<&str> = verdict.findings.iter().map(|(reason, _)| *reason).collect();
    assert_eq!(findings, ["OplogShort"]);
}

#[tokio::test]
async fn d06_an_account_without_a_role_is_told_which_one() {
    let mut master = Secantus::start().await;
    orders(&master).insert_one(doc! {"_id": 0}).await.unwrap();
    let user = doc! {"createUser": "copy", "pwd": "pass", "roles": [{"role": "read", "db": "other"}]};
    master.client.database("admin").run_command(user).await.unwrap();
    let here = feed::here(&client(&master).await, Kind::ChangeStream).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("username"), "copy").unwrap();
    std::fs::write(folder.path().join("password"), "pass").unwrap();
    master.restart_with(&["--sync-on-commit", "--auth"]).await;
    let endpoint = Endpoint { uri: master.uri(), credentials: Some(folder.path().to_owned()) };
    let client = servers::connect(&endpoint, Side::Master).await.unwrap();
    let error = feed::open(&client, &here, Kind::ChangeStream).await.map(drop).unwrap_err();
    assert_eq!(error.reason(), "PrivilegeMissing");
    assert!(error.to_string().contains("readAnyDatabase"), "{error}");
    let facts = servers::facts::facts(&client, Side::Master).await.unwrap();
    assert!(facts.denied.iter().any(|(_, role)| role.contains("local")), "{:?}", facts.denied);
}

#[tokio::test]
async fn d01_the_oplog_itself_is_heard_in_order_and_goes_on_where_it_was() {
    let mut master = Secantus::start().await;
    let orders = orders(&master);
    orders.insert_one(doc! {"_id": 0}).await.unwrap();
    let client = client(&master).await;
    let here = feed::here(&client, Kind::Oplog).await.unwrap();
    orders.insert_many((1..20).map(|id| doc! {"_id": id})).await.unwrap();
    orders.delete_one(doc! {"_id": 5}).await.unwrap();
    let shop = master.client.database("shop");
    shop.run_command(doc! {"create": "logs", "capped": true, "size": 4096}).await.unwrap();
    let index = doc! {"key": {"n": 1}, "name": "n_1"};
    shop.run_command(doc! {"createIndexes": "orders", "indexes": [index]}).await.unwrap();
    shop.run_command(doc! {"drop": "logs"}).await.unwrap();
    let mut feed = feed::open(&client, &here, Kind::Oplog).await.unwrap();
    let mut heard = groups(&mut *feed, 23).await;
    orders.insert_one(doc! {"_id": 100}).await.unwrap();
    heard.extend(groups(&mut *feed, 1).await);
    assert!(heard.windows(2).all(|pair| pair[0].position.place <= pair[1].position.place));
    let ids = ids(&heard);
    assert_eq!(&ids[..20], &(1..20).chain([5]).map(Bson::Int32).collect::<Vec<_>>()[..]);
    let defined = |index: usize| ids[index].as_str().unwrap().split_once(' ').unwrap().0.to_owned();
    assert_eq!([defined(20), defined(21), defined(22)], ["Create", "CreateIndexes", "Drop"]);
    assert_eq!(ids[23], Bson::Int32(100));
    // A quiet oplog is heard to be quiet, and goes on after the master was gone.
    let Heard::Idle(idle) = feed.next().await.unwrap() else { panic!("nothing happened") };
    assert!(idle.place >= heard[23].position.place);
    master.kill();
    while let Ok(heard) = feed.next().await {
        assert!(matches!(heard, Heard::Idle(_)), "{heard:?}");
    }
    master.restart().await;
    orders.insert_one(doc! {"_id": 101}).await.unwrap();
    let mut feed = feed::open(&client, &heard[23].position, Kind::Oplog).await.unwrap();
    assert_eq!(self::ids(&groups(&mut *feed, 1).await), [Bson::Int32(101)]);
}

#[tokio::test]
async fn d09_an_oplog_that_lost_entries_is_a_gap() {
    let master = Secantus::with(&["--oplog-max-entries", "100"]).await;
    let orders = orders(&master);
    orders.insert_one(doc! {"_id": 0}).await.unwrap();
    let client = client(&master).await;
    let here = feed::here(&client, Kind::Oplog).await.unwrap();
    let (begin, mut id) = (Instant::now(), 1);
    while servers::facts::window(&client, Side::Master).await.unwrap().unwrap().first <= here.place {
        assert!(begin.elapsed() < PATIENCE, "the oplog keeps everything");
        orders.insert_many((id..id + 200).map(|id| doc! {"_id": id})).await.unwrap();
        id += 200;
    }
    let error = feed::open(&client, &here, Kind::Oplog).await.map(drop).unwrap_err();
    assert!(matches!(error, Error::Gap(_)), "{error:?}");
}
