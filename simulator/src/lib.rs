//! Cloud Manager in a process: the migration-link API with HTTP Digest authentication, and everything that can go wrong
//! with it. Tests use it in-process, the demo as a program; the README describes the program and its control API.
//!
//! ```
//! use migrationlink_simulator::{Answer, ApiKeys, Behaviour, Config, Simulator};
//!
//! let simulator = Simulator::new(Config::default());
//! simulator.add_organization("5f0d1e2a3b4c5d6e7f801234", [ApiKeys::new("public", "private")]);
//! simulator.script(Behaviour::new(Answer::RateLimited { retry_after: None }).on_method("POST").times(2));
//! let service = simulator.router(); // or serve_plain, serve_tls
//! assert!(simulator.journal().is_empty());
//! # drop(service);
//! ```
//!
//! A request passes `server` (sockets), `exchange` (journal, `digest`, `behaviour`) and `api` (the endpoints, on
//! `organizations`), and comes back as a `reply`.

mod api;
mod behaviour;
mod config;
mod control;
mod digest;
mod exchange;
mod journal;
mod organizations;
mod reply;
mod server;
mod simulator;
mod tls;

pub use behaviour::{Answer, Behaviour, Phase, RetryAfter};
pub use config::{Balancing, Config, Envelope, ExistingLink, LinkAnswer, MissingLink, UnlinkAnswer};
pub use control::serve_control;
pub use digest::{AcceptedForm, Algorithm, DigestOutcome, DigestPolicy, Preset, QopDirective, Refusal};
pub use journal::Entry;
pub use organizations::ApiKeys;
pub use reply::ConnectionReset;
pub use server::Server;
pub use simulator::Simulator;
pub use tls::{ServerCertificate, TlsError};
