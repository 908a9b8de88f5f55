//! A model check of the rules: all interleavings, within bounds, of what may happen to one or two links of one organization
//! and two copies of the operator, over the product's own `decide` and `settle`.
//!
//! *Modelled.* The API server: resources with generation, finalizers, status and versions; a patch goes to exactly the version
//! that its process knows, and may be lost with its effect or without. The HTTP API: one link of the organization; a POST sets
//! it, or is refused (409) while there is one. Two processes, one of which holds the claim; each sees the links through a
//! cache that lags, knows its own writes, remembers what the product remembers, keeps an outcome until it is recorded, and
//! lets one link at a time write to the organization (`process.rs` follows `controller/reconcile`, `store` and `slots`).
//! What may happen, each within the budget of a run (`runs.rs`): a Secret is rotated, a spec edited, a resource deleted, the
//! link removed at the API; a process ends anywhere, or loses its claim without knowing it; the other takes over with an old
//! view; a call fails, or its answer is lost and its effect comes at any time later, or never.
//!
//! *Time* stands still. It passes, by twenty minutes, when there is nothing left to do, by making everything that bears a time
//! older; what is older than a day is a day old, and only the order of `heldSince` is kept beyond that. Chance is one half.
//!
//! *Not modelled.* Pacing, the circuit breaker and nudges, the queue (a link is looked at whenever there is something to do for
//! it, so a wake that is missed would not show), events, ConfigMaps, Secrets that are missing or wrong, suspension and
//! annotations other than `adopt-existing`; a resource is not created again. Requests for the organization take effect in the
//! order in which they were sent: one that was given up does so before the next, or never. A status patch is over before the next
//! claim begins. More than three failures in a row count as three once time has passed.
//!
//! The `always` properties are in `properties.rs`; that everything settles without faults is checked from every state by going
//! on from it (`continuation.rs`). `mutations.rs` has the defects that show that each property can fail; `lease.rs` is a model
//! of its own. States, unique states, depth and seconds of each run and of all together are printed.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::struct_excessive_bools,
    clippy::unwrap_used,
    reason = "a test fails by panic; what may happen is a list of yes and no"
)]

mod config;
mod continuation;
mod intern;
mod lease;
mod model;
mod mutations;
mod process;
mod properties;
mod resource;
mod rules;
mod run;
mod runs;
mod world;
