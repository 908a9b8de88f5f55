//! The targets under the names that `fuzz_targets/` calls.

#[path = "../../tests/fuzz/targets/mod.rs"]
mod targets;

pub use targets::*;
