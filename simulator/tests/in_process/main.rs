//! The simulator through its router, without a socket, in paused time where time matters.

// clippy.toml allows them in test functions, not in their helpers.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod behaviours;
mod client;
mod digest;
mod endpoints;
