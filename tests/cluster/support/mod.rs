//! What every test here stands on.

mod audit;
mod controlplane;
mod operator;
mod rbac;
mod tenant;
mod wait;

pub use controlplane::ControlPlane;
pub use tenant::{ORG_ID, Tenant, link_spec};
pub use wait::eventually;
