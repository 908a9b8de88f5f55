//! The `MigrationLink` resource: what a person writes, what the operator answers, and the words of both.

mod conditions;
mod crd;
mod reason;
pub mod rules;
mod spec;
mod status;

pub use conditions::{ConditionType, Conditions};
pub use crd::{CrdError, crd_yaml};
pub use reason::{Beside, Pace, Reason};
pub use spec::{
    CaReference, DEFAULT_BASE_URL, DeletionPolicy, DriftPolicy, KeyReference, MigrationLink,
    MigrationLinkSpec, SecretReference,
};
pub use status::{InputKind, InputRecord, LinkRecord, MigrationLinkStatus};

/// API group of the resource.
pub const GROUP: &str = "migrationlink.dev";

/// Annotation: any new value asks for a check now, and clears the back-off.
pub const RECONCILE_AT: &str = "migrationlink.dev/reconcile-at";
/// Annotation: any new value asks that the link token is sent again.
pub const RELINK_AT: &str = "migrationlink.dev/relink-at";
/// Annotation: `"true"` does what `spec.suspend` does, for tools that must not touch the spec.
pub const PAUSED: &str = "migrationlink.dev/paused";

/// Annotation: `"true"` lets a resource that nothing was accepted for take over a link that is in force already.
pub const ADOPT_EXISTING: &str = "migrationlink.dev/adopt-existing";

/// Holds a resource whose link is to be removed with it.
pub const FINALIZER: &str = "migrationlink.dev/unlink";

/// The field manager of everything that the operator writes, and the controller name in its events.
pub const MANAGER: &str = "migrationlink-operator";
