//! The HTTP API of Cloud Manager and Ops Manager: link an organization, ask how its link is, remove it. Nothing of
//! Kubernetes.
//!
//! A call runs through [`Client`]: it takes a nonce that is known (`nonces`) or asks for one with a request without
//! body, answers the challenge (`digest`), sends through a [`Transport`] ([`HttpTransport`] is the real one), and reads
//! the answer (`answer`, `failure`) into an [`Answer`] or a [`Failure`]. Neither ever holds text of a response other
//! than the link's state, an error code, an address and ids of projects, each validated or cut to size.
//!
//! How fast calls may go is [`pacing`]; a call knows nothing of it.

mod answer;
mod client;
mod clients;
mod credential;
mod digest;
mod echo;
mod failure;
mod http;
mod nonces;
mod organization;
pub mod pacing;
mod proxy;
mod retry_after;
mod roots;
mod transport;

pub use answer::Answer;
pub use client::Client;
pub use credential::{CredentialId, CredentialIds};
pub use failure::{Failure, FailureClass, UnexpectedKind};
pub use http::{HttpOptions, HttpTransport, SetupError, USER_AGENT};
pub use organization::{ApiKeys, Organization};
pub use proxy::ProxySettings;
pub use roots::{InvalidRoots, Roots};
pub use transport::{
    Body, CertificateProblem, ConnectProblem, MAX_BODY, Observer, Operation, Request, Response, Transport,
    TransportError, TransportErrorKind,
};
