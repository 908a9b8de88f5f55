//! One writer: of all the copies of the operator, the one that holds the lease may write.
//!
//! [`Elector`] keeps a `coordination.k8s.io` Lease as client-go does: [`evaluate`] says from the lease as
//! it was seen what comes next, every write carries the resource version of what it was decided on, and time is only
//! ever measured with this machine's monotonic clock. [`Claim`] tells everybody else whether they may write, and until when.
//!
//! Why there is at most one: the holder counts from the moment at which it *began* its last successful renewal, and
//! stops after two thirds of the lease's duration. The others count from the moment at which they *saw* that renewal,
//! which is later, and wait for the whole duration. Between the two lies a third of it: for clocks that run at
//! different speeds, and for a write that was on its way when the claim ended.

mod api;
mod claim;
mod elector;
mod evaluate;

pub use api::LeaseError;
pub use claim::{Claim, Loss, WriteInFlight};
pub use elector::{AtEnd, Elector, Options, identity};
pub use evaluate::{Seen, Step, Timing, evaluate, held, released};

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;
