//! MariaDB: a writer with all that makes moments hard, and every moment restored; and a set with a hole.

use farshore::restore::Error;

use crate::{
    moments,
    mysql_source::{Backups, Kind, PREFIX, Source},
};

const FILES: (Kind, Backups) = (Kind::MariaDb, Backups::Files);

#[tokio::test(flavor = "multi_thread")]
async fn b08_mariadb_holds_exactly_the_rows_of_its_moment() {
    let folder = tempfile::tempdir().unwrap();
    let mut source = Source::start(FILES, folder.path());
    source.live((3, &[9, 16])).await;
    let journal = source.journal();
    assert!(source.logs().len() > 20, "{:?}", source.logs());
    // A transaction that waited bears an earlier time than the one before it.
    let backwards = journal.windows(2).position(|pair| pair[1].0 < pair[0].0).unwrap();
    let set = source.gone();
    let latest = set.plan(None).await.unwrap();
    let window = moments::window(&set.store, PREFIX, &set.format).await;
    assert!(latest.latest && latest.time_point == window.1);
    let mut asked = moments::of(window, 4);
    // Just before the transaction that bears an earlier time than its predecessor, where naive tools differ.
    asked.push(Some(journal[backwards + 1].0).filter(|time| *time >= window.0));
    for at in asked {
        let (rows, plan, reached) = set.restored(at).await;
        let moment = at.unwrap_or(window.1);
        assert_eq!(rows, moments::rows_at(&journal, moment), "{moment}, from {:?}", plan.bases.last());
        assert_eq!(reached.time_point, moment);
        assert!(reached.last_commit.is_none_or(|time| time <= moment), "{reached:?}");
    }
    moments::refused_outside(&set.store, PREFIX, &set.format, window).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b16_b08_on_both_sides_of_a_missing_binlog_all_is_restored_and_between_them_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut source = Source::start(FILES, folder.path());
    source.write(3);
    source.back_up().await;
    for log in 0..5 {
        source.write(2);
        std::thread::sleep(std::time::Duration::from_millis(1100));
        source.rotate().await;
        // On top of the first base: its pages need no log.
        if log == 2 {
            source.back_up().await;
        }
    }
    let (journal, logs) = (source.journal(), source.logs());
    let missing = &logs[1];
    source.store.unseed(&format!("{PREFIX}binlogs/server-101/{missing}.gz"));
    let set = source.gone();
    let found =
        farshore::backup::inspect::inspect(set.store.clone(), PREFIX, &set.format, None).await.unwrap();
    let [first, second] = &found.windows[..] else { panic!("{:?} {:?}", found.windows, found.gaps) };
    for moment in [first.to, second.from, second.to] {
        let (rows, _, reached) = set.restored(Some(moment)).await;
        assert_eq!((rows, reached.time_point), (moments::rows_at(&journal, moment), moment));
    }
    let between = first.to + std::time::Duration::from_secs(1);
    assert!(between < second.from, "{first:?} {second:?}");
    let refused = set.plan(Some(between)).await.unwrap_err();
    let text = refused.to_string();
    assert!(matches!(refused, Error::Refused(_)) && text.contains(missing.as_str()), "{text}");
    let nearest = format!("the nearest moments are {} and {}", first.to, second.from);
    assert!(text.contains(&nearest), "{text}");
}
