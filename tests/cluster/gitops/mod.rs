//! GitOps on the real API server: what `tests/gitops` says of files, said of live resources; waiting, rotation, pruning.

mod actions;
mod examples;
mod rotation;
mod states;
#[path = "../../gitops/table.rs"]
mod table;
mod together;
#[allow(dead_code, reason = "shared with a program that uses the rest")]
#[path = "../../gitops/tool.rs"]
mod tool;
