//! What every test here stands on.

mod audit;
mod cloud;
mod controlplane;
mod diary;
mod front;
mod ledger;
mod operator;
mod proxy;
mod rbac;
mod tenant;
mod wait;
mod world;

pub use audit::Requests;
#[allow(unused_imports, reason = "each test file takes what it needs")]
pub use cloud::{Calls, Cloud, PRIVATE_KEY, PUBLIC_KEY};
#[allow(unused_imports, reason = "each test file takes what it needs")]
pub use controlplane::{ControlPlane, Output};
pub use diary::{Diary, Page};
pub use front::{Fault, Front};
pub use ledger::{ANNOUNCE_AND_WRITE, EVENT, Ledger, READ_SECRET, WRITE_STATUS};
#[allow(unused_imports, reason = "each test file takes what it needs")]
pub use operator::{Operator, OperatorBuilder, free_port};
pub use proxy::{Manner, Proxy};
pub use rbac::{Rights, user};
pub use tenant::{ORG_ID, Tenant, link_spec};
pub use wait::eventually;
pub use world::{World, is_sound, keys, org_id, spec, token, trouble};
