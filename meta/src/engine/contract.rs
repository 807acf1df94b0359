//! The contract suite: what every engine must do, as small named checks.
//!
//! Each check gets a fresh, empty engine. The suite panics at the first check that fails. It
//! never asserts that an engine is quick, nor that commits succeed that may fail.

mod conflicts;
mod history;
pub(in crate::engine) mod model;
mod reads;
mod versions;
mod writes;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use farshore_proto::Version;

use super::{Advice, Engine, EngineError, Isolation, RangePage, RangeRead, Result, Transaction};

/// Runs each check on an engine of its own.
macro_rules! run {
    ($make:expr, $($module:ident :: $check:ident),* $(,)?) => {
        $($module::$check(Arc::clone(&$make().await)).await;)*
    };
}

/// Runs every check on engines that `make` gives, and the one that waits until transactions
/// are too old on `short_lived`, an engine where they are after this time.
pub async fn run_all(make: impl AsyncFn() -> Arc<dyn Engine>, short_lived: (Arc<dyn Engine>, Duration)) {
    run!(
        make,
        reads::a_snapshot_sees_nothing_that_comes_later,
        reads::own_writes_are_read,
        reads::own_additions_are_read,
        reads::ranges_show_own_writes,
        reads::ranges_stop_at_their_limits,
        reads::pages_make_up_the_range,
        reads::an_empty_range_has_no_rows,
        reads::a_long_range_is_not_read_for_a_few_rows,
        writes::a_dropped_transaction_has_no_effect,
        writes::additions_wrap_at_their_length,
        writes::additions_at_the_same_time_all_count,
        writes::a_cleared_range_is_empty_and_its_neighbours_are_not,
        writes::a_cleared_range_takes_rows_that_came_after_the_snapshot,
        writes::stamped_keys_hold_the_commits_version,
        writes::stamped_keys_are_ordered_as_the_commits,
        writes::a_later_clear_takes_a_stamped_key,
        writes::the_largest_row_is_kept,
        writes::what_is_too_large_is_refused_whole,
        writes::keys_that_no_engine_takes_are_refused,
        versions::versions_rise,
        versions::a_snapshot_has_what_was_committed_before_it,
        versions::a_transaction_without_writes_commits_nothing,
        versions::what_is_committed_can_be_synced,
        versions::changes_are_told,
        conflicts::what_was_read_conflicts_and_nothing_else,
        conflicts::limited_ranges_conflict_as_far_as_they_were_read,
        conflicts::reads_that_do_not_count,
        conflicts::a_declared_read_conflicts,
        conflicts::a_cleared_range_conflicts,
        conflicts::an_added_or_stamped_row_conflicts,
        conflicts::a_conflict_leaves_no_trace,
        conflicts::write_skew_is_prevented,
        conflicts::increments_with_retries_all_count,
        history::concurrent_transactions_are_serialisable,
    );
    let (engine, max_age) = short_lived;
    versions::old_transactions_are_refused(engine, max_age).await;
}

/// The value, where a failure is a failure of the check.
#[track_caller]
fn must<T>(result: Result<T>) -> T {
    result.unwrap_or_else(|error| panic!("{error}"))
}

async fn begin(engine: &Arc<dyn Engine>) -> Box<dyn Transaction> {
    must(engine.begin().await)
}

/// Begins a transaction and takes its snapshot.
async fn begin_now(engine: &Arc<dyn Engine>) -> Box<dyn Transaction> {
    let mut txn = begin(engine).await;
    must(txn.read_version().await);
    txn
}

/// Commits rows that nobody else touches.
async fn put(engine: &Arc<dyn Engine>, rows: &[(&str, &str)]) -> Version {
    let mut txn = begin(engine).await;
    for (key, value) in rows {
        txn.set(key.as_bytes(), value.as_bytes());
    }
    must(txn.commit().await)
}

async fn get(engine: &Arc<dyn Engine>, key: &str) -> Option<Bytes> {
    value(begin(engine).await.as_mut(), key).await
}

async fn value(txn: &mut dyn Transaction, key: &str) -> Option<Bytes> {
    must(txn.get(key.as_bytes(), Isolation::Serialisable).await)
}

async fn page(txn: &mut dyn Transaction, read: &RangeRead) -> RangePage {
    must(txn.range(read, Isolation::Serialisable).await)
}

/// The rows of a range as `key=value` words.
async fn words(txn: &mut dyn Transaction, read: &RangeRead) -> String {
    let page = page(txn, read).await;
    let word = |(key, value): &(Bytes, Bytes)| format!("{}={}", key.escape_ascii(), value.escape_ascii());
    page.rows.iter().map(word).collect::<Vec<_>>().join(" ")
}

/// The rows of a range, as a new transaction sees them.
async fn rows(engine: &Arc<dyn Engine>, begin_key: &str, end_key: &str) -> String {
    words(begin(engine).await.as_mut(), &RangeRead::new(begin_key, end_key)).await
}

/// Whether a commit failed with a conflict; another failure is one of the check.
#[track_caller]
fn conflicted(outcome: Result<Version>) -> bool {
    match outcome {
        Ok(_) => false,
        Err(EngineError::Conflict) => true,
        Err(error) => panic!("{error}"),
    }
}
