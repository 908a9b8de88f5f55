//! Tests on a real API server: etcd and kube-apiserver as processes, RBAC switched on, the shipped CRD and roles, the real program.
//!
//! One control plane serves all tests of the process, each test has a namespace of its own. It is started by the first test that
//! wants it; where it cannot be had, tests fail and say why.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panic"
)]

mod apiserver;
mod calls;
mod canary;
mod check;
mod crd;
mod crowd;
mod deletion;
mod differential;
mod drift;
mod duplicates;
mod failures;
mod gitops;
mod hostile;
mod inputs;
mod killed;
mod leader;
mod lifecycle;
mod pacing;
mod proxy;
mod rbac;
mod record;
mod sends;
mod smoke;
mod support;
