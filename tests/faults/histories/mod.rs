//! Random histories: what people, Secrets, Cloud Manager, time and restarts do to one link, in any order and at any moment, against a small
//! model that knows only what has to be true when everybody has been quiet for a while.
//!
//! The seed is printed; `MIGRATIONLINK_SEED` gives one. A history that failed becomes a test below, as it was printed.

mod history;
mod model;

use std::time::Instant;

use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};

use history::{Op, ops};

/// So many histories are tried by `make test`, and by `make test-long`.
const HISTORIES: (u32, u32) = (60, 5_000);

#[test]
fn random_histories() {
    let seed = std::env::var("MIGRATIONLINK_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or_else(|| {
        let time = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        u64::from(time.subsec_nanos())
    });
    let long = crate::long();
    let cases = if long { HISTORIES.1 } else { HISTORIES.0 };
    crate::say(&format!("random histories: {cases}, MIGRATIONLINK_SEED={seed}"));
    let begin = Instant::now();
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 400, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let steps = std::cell::Cell::new(0);
    let histories = proptest::collection::vec(ops(), 1..40);
    let result = runner.run(&histories, |ops| {
        steps.set(steps.get() + ops.len());
        history::run(&ops).map_err(proptest::test_runner::TestCaseError::fail)
    });
    match result {
        Ok(()) => crate::say(&format!(
            "random histories: {cases} with {} steps in {} s",
            steps.get(),
            begin.elapsed().as_secs()
        )),
        Err(TestError::Fail(why, ops)) => panic!("MIGRATIONLINK_SEED={seed}, {ops:?}: {why}"),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn a_history_without_events() {
    history::run(&[Op::Settle]).unwrap();
}

/// The seed 15 of 5,000: keys that are given back after more than an hour are tried within another.
#[test]
fn keys_that_were_refused_for_an_hour() {
    let create = Op::CreateLink { delete: false, report: false };
    history::run(&[create, Op::Keys(false), Op::Settle, Op::Settle, Op::Keys(true), Op::Settle]).unwrap();
}
