//! The time of a run: a fixed day, and what tokio's clock says since the run began. Each run has a thread for itself meanwhile.

use std::cell::Cell;

use k8s_openapi::jiff::Timestamp;
use tokio::time::Instant;

thread_local! {
    static BEGIN: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// From now on it is the first second of that day.
pub fn begin() {
    BEGIN.set(Some(Instant::now()));
}

pub fn now() -> Timestamp {
    let first: Timestamp = "2026-03-02T08:00:00Z".parse().expect("a time");
    let begin = BEGIN.get().expect("a run that has begun");
    first.saturating_add(begin.elapsed()).expect("a run of less than a thousand years")
}

/// In whole seconds, as the API server writes it.
pub fn text() -> String {
    Timestamp::from_second(now().as_second()).expect("a time").to_string()
}

/// Chance that is none.
pub fn half() -> f64 {
    0.5
}
