//! Links Cloud Manager and Ops Manager organizations with Atlas: a Kubernetes operator for `MigrationLink` resources.
//!
//! One link can be followed through the modules: a watch hands a key over, [`controller`] observes, [`decision`] says a
//! step, the controller acts through [`remote`] and the API server, and records. [`leader`] says whether it may. Arrows go
//! one way: controller → decision, remote, leader, api; decision → api; remote knows nothing of Kubernetes. [`check`] stands
//! beside the controller and only looks.

pub mod admin;
pub mod api;
pub mod check;
pub mod config;
pub mod controller;
pub mod decision;
pub mod duration;
pub mod endpoint;
pub mod leader;
pub mod metrics;
pub mod rate;
pub mod remote;
pub mod telemetry;
