//! Which format a bucket has, told by names; and what a wrong one is answered.

use farshore::{
    backup::{
        catalog::{Format, sqlserver::Names},
        detect::{Seen, Verdict, candidates, look, resolve, resolve_any},
        sync::Place,
        window::timeline,
    },
    store::memory::MemoryStore,
};

use crate::{
    catalogs::{bucket, catalog, time},
    stories::{World, sync_once},
};

fn verdict(keys: &[&str], engine: Option<&str>) -> Verdict {
    let mut seen = Seen::new(&candidates(engine)).unwrap();
    for key in keys {
        seen.take(key);
    }
    seen.verdict()
}

#[tokio::test]
async fn b14_each_sample_tells_its_format() {
    let sets = [
        ("mariadb", Format::MariaDBOperator),
        ("walg-mysql", Format::WalGMySQL),
        ("walg-mongo", Format::WalGMongoDB),
        ("pbm", Format::PerconaMongoDB),
        ("barman", Format::Barman),
        ("walg-postgres", Format::WalGPostgres),
        ("pgbackrest", Format::PgBackRest),
        ("sqlserver", Format::SqlServer(Names::default())),
    ];
    for (sample, format) in sets {
        let seen = look(&bucket(sample), "", &candidates(None)).await.unwrap();
        let Verdict::One(found, told) = seen.verdict() else { panic!("{sample}: {:?}", seen.verdict()) };
        assert_eq!(found, format, "{sample}: {told}");
        assert!(told.contains(format.name()), "{told}");
    }
}

#[tokio::test]
async fn b14_a_base_of_many_objects_does_not_hide_the_logs() {
    let store = MemoryStore::new("backups");
    let at = time("2026-11-20T01:00:00Z");
    for number in 0..3000 {
        store.seed(&format!("o/basebackups_005/stream_1/part_{number:05}"), "x", at);
    }
    store.seed("o/oplog_005/oplog_1795132780.1_1795132840.1.br", "x", at);
    let seen = look(&store, "o/", &candidates(None)).await.unwrap();
    assert!(seen.keys < 300, "{}", seen.keys);
    assert!(matches!(seen.verdict(), Verdict::One(Format::WalGMongoDB, _)), "{:?}", seen.verdict());
}

#[test]
fn b14_what_several_layouts_explain_is_not_guessed() {
    // WAL-G's bases look alike for every engine; the engine tells.
    let base = ["basebackups_005/stream_20261121T025118Z/stream.zst"];
    let Verdict::Unclear(told) = verdict(&base, None) else { panic!() };
    assert!(told.contains("WALG (MySQL)") && told.contains("WALG (MongoDB)"), "{told}");
    assert!(matches!(verdict(&base, Some("MongoDB")), Verdict::One(Format::WalGMongoDB, _)));
    // Two tools in one bucket.
    let mixed = ["server-1/mysql-bin.000001", "physicalbackup-20261121025531.xb", ".pbm.init"];
    let Verdict::Unclear(told) = verdict(&mixed, None) else { panic!() };
    assert!(told.contains("2 objects like server-1/mysql-bin.000001: MariaDBOperator"), "{told}");
    assert!(told.contains("1 object like .pbm.init: PBM"), "{told}");
    // What nobody knows beside them says nothing.
    assert!(matches!(verdict(&[".pbm.init", "notes.txt"], None), Verdict::One(Format::PerconaMongoDB, _)));
    let Verdict::Unclear(told) = verdict(&["a.tar", "b.tar"], None) else { panic!() };
    assert!(told.contains("none of the 2 objects") && told.contains("a.tar"), "{told}");
    assert_eq!(verdict(&[], None), Verdict::Unclear("it holds no objects".to_owned()));
}

#[tokio::test]
async fn b14_a_wrong_format_is_refused_with_what_was_seen_and_leaves_nothing() {
    let mut world = World::new();
    let _ = (world.base(), world.work(60));
    world.config.format = Format::PerconaMongoDB;
    let error = sync_once(world.session()).await.unwrap_err();
    assert_eq!((error.reason(), error.is_permanent()), ("WrongFormat", true));
    let message = error.to_string();
    for words in ["the format is PBM", "objects like ", ": MariaDBOperator?", "s3://backups/orders/"] {
        assert!(message.contains(words), "{words} is missing in {message}");
    }
    assert_eq!(world.target.keys(), [""; 0]);
    // Corrected, nothing stands in the way.
    world.config.format = Format::MariaDBOperator;
    assert_eq!(world.once().await.full, 1);
}

#[tokio::test]
async fn b14_a_source_without_a_known_backup_yet_is_waited_for() {
    let world = World::new();
    world.source.seed("orders/notes.txt", "x", time("2026-11-01T00:00:00Z"));
    let report = world.once().await;
    let [finding] = &*report.findings else { panic!("{:?}", report.findings) };
    assert!(finding.message.contains("1 objects that are not of format MariaDBOperator, as notes.txt"));
}

fn place(prefix: &str) -> Place {
    Place { endpoint: "http://north".into(), bucket: "backups".into(), prefix: prefix.into() }
}

#[tokio::test]
async fn b14_a_format_that_nobody_names_is_told_once_and_then_remembered() {
    let mut world = World::new();
    let ends = |world: &World| (world.config.source.clone(), world.config.target.clone());
    let (from, to) = ends(&world);
    let error = resolve((&world.source, &from), (&world.target, &to), "MySQL").await.unwrap_err();
    assert_eq!((error.reason(), error.is_permanent()), ("UnknownFormat", false));
    let _ = world.base();
    let (format, told) = resolve((&world.source, &from), (&world.target, &to), "MySQL").await.unwrap();
    assert_eq!(format, Format::MariaDBOperator);
    world.config.detected = Some(told);
    let report = world.once().await;
    let said = report.findings.iter().find(|finding| finding.reason == "FormatDetected").unwrap();
    assert!(said.message.contains("taken to be MariaDBOperator"), "{}", said.message);
    // The source may be gone by then.
    let gone = MemoryStore::new("backups");
    let (format, _) = resolve((&gone, &from), (&world.target, &to), "MySQL").await.unwrap();
    assert_eq!(format, Format::MariaDBOperator);
    assert_eq!(resolve_any(&world.target, &to).await.unwrap().0, Format::MariaDBOperator);
}

#[tokio::test]
async fn b14_sql_servers_names_are_told_but_not_taken_without_an_offset() {
    let store = bucket("sqlserver");
    let error = resolve_any(&store, &place("")).await.unwrap_err().to_string();
    assert!(error.contains("SQLServer, which needs an offset from UTC"), "{error}");
}

#[tokio::test]
async fn b01_b07_copies_of_sql_servers_files_show_the_same_moments_and_may_ignore_a_database_later() {
    let mut world = World::new();
    world.config.format = Format::SqlServer(Names::default());
    let sample = bucket("sqlserver");
    for key in sample.keys() {
        let at = catalog(&sample, &world.config.format).await;
        let time = at.bases.iter().map(|base| base.consistent_at).min().unwrap();
        world.source.seed(&format!("orders/{key}"), sample.bytes(&key).unwrap(), time);
    }
    world.set_now(time("2026-11-20T04:00:00Z"));
    let report = world.once().await;
    let line = timeline(&catalog(&sample, &world.config.format).await);
    assert_eq!(report.windows, line.windows);
    let names = Names { ignore: vec!["Other".to_owned()], ..Names::default() };
    world.config.format = Format::SqlServer(names);
    assert_eq!(world.once().await.windows, line.windows);
}
