//! What GitOps tools make of a link: Argo CD's Lua, kstatus, Flux and kubeconform as they are, on resources of every state.
//! Needs no control plane; `tests/cluster/gitops` has what does.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panic"
)]

mod actions;
mod schema;
mod table;
#[allow(dead_code, reason = "shared with tests/cluster, which uses the rest")]
mod tool;
mod verdicts;
