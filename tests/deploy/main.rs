//! What is under `deploy/` on a real API server, with the real helm, kubectl and kubeconform: rendered, validated, installed, upgraded,
//! rolled back and removed, and the real program run under exactly what was installed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panic"
)]

mod admission;
mod chart;
mod compatible;
mod conform;
mod documents;
mod generated;
mod install;
mod installed;
mod notes;
mod previous;
mod quickstart;
mod secrets;
#[path = "../cluster/support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "shared with tests/cluster")]
mod support;
mod table;
mod team;
mod tools;
mod uninstall;
mod upgrade;
mod values;
