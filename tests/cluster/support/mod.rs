//! What every test here stands on.

mod audit;
mod cloud;
mod controlplane;
mod operator;
mod rbac;
mod tenant;
mod wait;

#[allow(unused_imports, reason = "each test file takes what it needs")]
pub use cloud::{Calls, Cloud, PRIVATE_KEY, PUBLIC_KEY};
pub use controlplane::ControlPlane;
pub use tenant::{ORG_ID, Tenant, link_spec};
pub use wait::eventually;
