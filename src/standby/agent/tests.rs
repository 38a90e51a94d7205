//! The dialogue with a member, against a mock that answers from a script and fails on anything else.

use std::{collections::VecDeque, sync::Mutex};

use super::*;

/// What the agent asks, and what it is answered.
type Line = (Login, Document, Result<Document, Refusal>);

struct Script(Mutex<VecDeque<Line>>);

impl Script {
    fn next(&self, with: Login, command: &Document) -> Result<Document, Refusal> {
        let mut left = self.0.lock().unwrap();
        let (login, expected, answer) = left.pop_front().unwrap_or_else(|| panic!("unexpected: {command}"));
        assert_eq!((login, &expected), (with, command));
        answer
    }
}

#[async_trait]
impl Local for Script {
    async fn run(&self, with: Login, command: Document) -> Result<Document, Refusal> {
        self.next(with, &command)
    }

    async fn create_account(&self) -> Result<(), Refusal> {
        self.next(Login::Nobody, &doc! {"createUser": "standby"}).map(drop)
    }
}

fn wanted(members: &[&str]) -> Wanted {
    Wanted {
        set: "rs0".to_owned(),
        members: members.iter().map(|&host| host.to_owned()).collect(),
        first: true,
        username: "standby".to_owned(),
    }
}

fn refused<T>(code: i32) -> Result<T, Refusal> {
    Err(Refusal { code: Some(code), message: format!("code {code}") })
}

fn ok() -> Document {
    doc! {"ok": 1.0}
}

async fn after(wanted: &Wanted, script: Vec<Line>) -> Result<Done, Refusal> {
    let script = Script(Mutex::new(script.into()));
    let done = step(&script, wanted).await;
    assert!(script.0.lock().unwrap().is_empty(), "all of the dialogue took place");
    done
}

const STATUS: fn() -> Document = || doc! {"replSetGetStatus": 1};

#[tokio::test]
async fn d02_the_first_member_makes_the_set_as_nobody() {
    let three = ["a-0.a:27017", "a-1.a:27017", "a-2.a:27017"];
    let members = vec![
        doc! {"_id": 0, "host": three[0]},
        doc! {"_id": 1, "host": three[1]},
        doc! {"_id": 2, "host": three[2]},
    ];
    let script = |answer| {
        vec![
            (Login::Account, STATUS(), refused(18)),
            (Login::Nobody, STATUS(), refused(94)),
            (Login::Nobody, doc! {"replSetInitiate": {"_id": "rs0", "members": members.clone()}}, answer),
        ]
    };
    assert_eq!(after(&wanted(&three), script(Ok(ok()))).await, Ok(Done::Initiated));
    assert_eq!(
        after(&wanted(&three), script(refused(23))).await,
        Ok(Done::Initiated),
        "it had died before it knew"
    );
    assert_eq!(after(&wanted(&three), script(refused(74))).await, refused(74), "not all members are up");
}

#[tokio::test]
async fn d02_another_member_waits_for_the_first_one() {
    let other = Wanted { first: false, ..wanted(&["a:1"]) };
    let script = vec![(Login::Account, STATUS(), refused(18)), (Login::Nobody, STATUS(), refused(94))];
    assert!(matches!(after(&other, script).await, Ok(Done::Waits(_))));
    let gone = Err(Refusal { code: None, message: "connection refused".to_owned() });
    let waits = after(&other, vec![(Login::Account, STATUS(), gone)]).await;
    assert_eq!(waits, Ok(Done::Waits("connection refused".to_owned())));
}

#[tokio::test]
async fn d02_the_primary_makes_the_first_account_and_nobody_else_does() {
    let script = |state: i32| {
        vec![(Login::Account, STATUS(), refused(18)), (Login::Nobody, STATUS(), Ok(doc! {"myState": state}))]
    };
    let secondary = after(&wanted(&["a:1"]), script(2)).await;
    assert!(matches!(secondary, Ok(Done::Waits(_))), "{secondary:?}");
    for answer in [Ok(ok()), refused(51_003)] {
        let mut primary = script(1);
        primary.push((Login::Nobody, doc! {"createUser": "standby"}, answer));
        assert_eq!(after(&wanted(&["a:1"]), primary).await, Ok(Done::AccountMade));
    }
}

#[tokio::test]
async fn d02_the_account_gets_what_it_needs_to_write_behind_a_write_block() {
    let question = doc! {"usersInfo": {"user": "standby", "db": "admin"}};
    let privileges = vec![doc! {
        "resource": {"cluster": true},
        "actions": ["setUserWriteBlockMode", "bypassWriteBlockingMode"],
    }];
    let configuration = doc! {"config": {"version": 3, "members": [{"_id": 0, "host": "a:1"}]}};
    let grant = doc! {"grantRolesToUser": "standby", "roles": [{"role": "farshoreStandby", "db": "admin"}]};
    let script = vec![
        (Login::Account, STATUS(), Ok(doc! {"myState": 1})),
        (Login::Account, question, Ok(doc! {"users": [{"roles": [{"role": "root", "db": "admin"}]}]})),
        (Login::Account, doc! {"createRole": ROLE, "privileges": privileges, "roles": []}, refused(51_002)),
        (Login::Account, grant, Ok(ok())),
        (Login::Account, doc! {"replSetGetConfig": 1}, Ok(configuration)),
    ];
    assert_eq!(after(&wanted(&["a:1"]), script).await, Ok(Done::Nothing));
}

async fn reconfigured(
    before: &[(i32, &str)],
    wanted_members: &[&str],
    expected: Document,
) -> Result<Done, Refusal> {
    let role = doc! {"users": [{"roles": [{"role": ROLE, "db": "admin"}]}]};
    let members: Vec<_> =
        before.iter().map(|(id, host)| doc! {"_id": *id, "host": *host, "priority": 2}).collect();
    let configuration = doc! {"config": {"_id": "rs0", "version": 3, "term": 7, "members": members}};
    let script = vec![
        (Login::Account, STATUS(), Ok(doc! {"myState": 1_i64})),
        (Login::Account, doc! {"usersInfo": {"user": "standby", "db": "admin"}}, Ok(role)),
        (Login::Account, doc! {"replSetGetConfig": 1}, Ok(configuration)),
        (Login::Account, doc! {"replSetReconfig": expected}, Ok(ok())),
    ];
    after(&wanted(wanted_members), script).await
}

#[tokio::test]
async fn d02_members_come_and_go_one_at_a_time_and_keep_their_settings() {
    let kept = |id: i32, host: &str| doc! {"_id": id, "host": host, "priority": 2};
    let grown = doc! {"_id": "rs0", "version": 4_i64, "members": [kept(0, "a:1"), kept(4, "b:1"), {"_id": 5, "host": "c:1"}]};
    let done = reconfigured(&[(0, "a:1"), (4, "b:1")], &["a:1", "b:1", "c:1", "d:1"], grown).await;
    assert_eq!(done, Ok(Done::Changed("c:1 was added".to_owned())));
    let shrunk = doc! {"_id": "rs0", "version": 4_i64, "members": [kept(0, "a:1"), kept(2, "c:1")]};
    let done = reconfigured(&[(0, "a:1"), (1, "b:1"), (2, "c:1")], &["a:1"], shrunk).await;
    assert_eq!(done, Ok(Done::Changed("b:1 was taken away".to_owned())));
}
