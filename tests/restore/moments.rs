//! Moments of a window, and what must be there at each.

use std::{sync::Arc, time::Duration};

use farshore::{
    backup::{catalog::Format, inspect::inspect},
    restore::{self, Error},
    store::ObjectStore,
};
use jiff::Timestamp;

/// The truth: each transaction's recorded time, and the rows it inserted, in log order.
pub type Journal = Vec<(Timestamp, Vec<u32>)>;

/// Rows of the longest prefix that ends before the first transaction that was committed after `moment`.
pub fn rows_at(journal: &Journal, moment: Timestamp) -> Vec<u32> {
    let prefix = journal.iter().take_while(|(time, _)| *time <= moment);
    let mut rows: Vec<u32> = prefix.flat_map(|(_, rows)| rows.clone()).collect();
    rows.sort_unstable();
    rows
}

/// The first moment, the last, the latest, and some at random: `few` unless `FARSHORE_RESTORE_MOMENTS` says how many.
pub fn of(window: (Timestamp, Timestamp), few: usize) -> Vec<Option<Timestamp>> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let moments = number("FARSHORE_RESTORE_MOMENTS").map_or(few, |moments| usize::try_from(moments).unwrap());
    let mut random = fastrand::Rng::with_seed(number("FARSHORE_RESTORE_SEED").unwrap_or(5));
    let span = i64::try_from(window.1.duration_since(window.0).as_millis()).unwrap();
    let mut asked = vec![Some(window.0), Some(window.1), None];
    asked.extend(
        (0..moments).map(|_| Some(window.0 + jiff::SignedDuration::from_millis(random.i64(0..=span)))),
    );
    asked
}

/// First and last moment of the only window.
pub async fn window(store: &Arc<dyn ObjectStore>, prefix: &str, format: &Format) -> (Timestamp, Timestamp) {
    let found = inspect(Arc::clone(store), prefix, format, None).await.unwrap();
    assert_eq!(found.windows.len(), 1, "{:?} {:?}", found.windows, found.gaps);
    (found.windows[0].from, found.windows[0].to)
}

/// A second before the window and a second after it are refused, with the window.
pub async fn refused_outside(
    store: &Arc<dyn ObjectStore>,
    prefix: &str,
    format: &Format,
    window: (Timestamp, Timestamp),
) {
    for outside in [window.0 - Duration::from_secs(1), window.1 + Duration::from_secs(1)] {
        let refused = restore::look(store, prefix, format, Some(outside)).await.unwrap_err();
        let text = refused.to_string();
        assert!(matches!(refused, Error::Refused(_)), "{text}");
        assert!(text.contains(&window.0.to_string()) && text.contains(&window.1.to_string()), "{text}");
    }
}
