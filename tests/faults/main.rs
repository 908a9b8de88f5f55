//! Every fault at every border, with the real reconcile code: the controller, its watches and its election run on an API server in memory
//! and a Cloud Manager in memory, on a clock that jumps from one event to the next.
//!
//! `world` is what they run in, `border` where faults are put in, `stories` what is going on meanwhile, `oracle` what has to
//! hold. A run that fails prints its name; `MIGRATIONLINK_FAULT=<name> cargo test --test faults replay -- --nocapture` runs it again and
//! tells all that it did.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panic"
)]

use std::io::Write as _;

mod border;
mod ending;
mod enumeration;
mod histories;
mod mutations;
mod oracle;
mod run;
mod stories;
mod world;

/// Whether `make test-long` asks for all of it.
fn long() -> bool {
    std::env::var("MIGRATIONLINK_LONG").is_ok_and(|long| long == "1")
}

/// Says it whether or not the test passes: what is printed with `println!` is shown of a test that failed only.
fn say(line: &str) {
    // Nothing is lost with a line that nobody reads.
    let _ = writeln!(std::io::stdout(), "faults: {line}");
}
