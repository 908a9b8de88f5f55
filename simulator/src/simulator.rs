//! The handle that tests and the control API hold.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::behaviour::{Behaviour, Script};
use crate::config::Config;
use crate::digest::Nonces;
use crate::exchange::exchange;
use crate::journal::{Entry, Journal};
use crate::organizations::{ApiKeys, Link, Organization, Organizations};
use crate::server::{self, Server};
use crate::tls::{CertificateAuthority, ServerCertificate, TlsError};

/// A simulated Cloud Manager. Clones share everything; it needs no socket ([`Simulator::router`]), and can be served on
/// several ([`Simulator::serve_plain`], [`Simulator::serve_tls`]). All its times are tokio's and can be paused.
#[derive(Clone)]
pub struct Simulator {
    state: Arc<Mutex<State>>,
    authority: Arc<Mutex<Option<CertificateAuthority>>>,
}

/// Everything that requests read and change.
pub(crate) struct State {
    pub(crate) started: Instant,
    pub(crate) requests: u64,
    pub(crate) config: Config,
    pub(crate) organizations: Organizations,
    pub(crate) nonces: Nonces,
    pub(crate) script: Script,
    pub(crate) journal: Journal,
}

impl Simulator {
    /// A simulator without organizations.
    pub fn new(config: Config) -> Self {
        let state = State {
            started: Instant::now(),
            requests: 0,
            config,
            organizations: Organizations::default(),
            nonces: Nonces::default(),
            script: Script::default(),
            journal: Journal::default(),
        };
        Self { state: Arc::new(Mutex::new(state)), authority: Arc::default() }
    }

    /// Changes settings of the running simulator.
    pub fn configure(&self, change: impl FnOnce(&mut Config)) {
        change(&mut self.state().config);
    }

    /// Adds an organization with its API keys and without a link. One that has this id already is replaced. Several
    /// organizations may have the same keys.
    pub fn add_organization(&self, org_id: &str, keys: impl IntoIterator<Item = ApiKeys>) {
        let keys = keys.into_iter().collect();
        self.state().organizations.insert(org_id, Organization { keys, ..Organization::default() });
    }

    /// Replaces the API keys of an organization. Here and below: `false` if there is no organization with this id.
    pub fn set_keys(&self, org_id: &str, keys: impl IntoIterator<Item = ApiKeys>) -> bool {
        let keys = keys.into_iter().collect();
        self.with_organization(org_id, |organization| organization.keys = keys)
    }

    /// How many polls of this organization's link answer NOT_SYNCED: of the present link from now on, and of every
    /// later one. `u32::MAX` is for ever.
    pub fn set_synced_after(&self, org_id: &str, polls: u32) -> bool {
        self.with_organization(org_id, |organization| {
            organization.synced_after = Some(polls);
            if let Some(link) = &mut organization.link {
                link.polls_left = polls;
            }
        })
    }

    /// The projects in which a live export runs: as long as there are any, DELETE is answered 409.
    pub fn set_live_exports(&self, org_id: &str, project_ids: impl IntoIterator<Item = String>) -> bool {
        let project_ids = project_ids.into_iter().collect();
        self.with_organization(org_id, |organization| organization.live_exports = project_ids)
    }

    /// Makes a SYNCED link, as somebody else might have done.
    pub fn link_behind_the_back(&self, org_id: &str, token: &str) -> bool {
        self.with_organization(org_id, |organization| {
            organization.link = Some(Link { token: token.to_owned(), polls_left: 0 });
        })
    }

    /// Removes the link, as somebody else might have done.
    pub fn unlink_behind_the_back(&self, org_id: &str) -> bool {
        self.with_organization(org_id, |organization| organization.link = None)
    }

    /// The link token in force, which the API itself never tells.
    pub fn link_token(&self, org_id: &str) -> Option<String> {
        self.state().organizations.get(org_id)?.link.as_ref().map(|link| link.token.clone())
    }

    /// Scripts a behaviour, behind those that are still to come.
    pub fn script(&self, behaviour: Behaviour) {
        self.state().script.push(behaviour);
    }

    /// The behaviours that are still to come, with what is left of their times.
    pub fn scripts(&self) -> Vec<Behaviour> {
        self.state().script.remaining().to_vec()
    }

    /// Forgets every scripted behaviour.
    pub fn clear_scripts(&self) {
        self.state().script.clear();
    }

    /// Forgets every nonce, as a restart does.
    pub fn forget_nonces(&self) {
        self.state().nonces.forget();
    }

    /// Every request since the journal was cleared, in the order of arrival. An entry is there as soon as its request
    /// has arrived, and has its status before the client gets the answer.
    pub fn journal(&self) -> Vec<Entry> {
        self.state().journal.entries()
    }

    /// Empties the journal.
    pub fn clear_journal(&self) {
        self.state().journal.clear();
    }

    /// The public API as a service, for transports without a socket. See [`crate::ConnectionReset`] for faults that
    /// need a connection.
    pub fn router(&self) -> Router {
        let simulator = self.clone();
        Router::new().fallback(move |request: Request<Body>| exchange(simulator, request))
    }

    /// Serves the public API over plain HTTP/1.1.
    ///
    /// # Errors
    /// The listener has no address.
    pub fn serve_plain(&self, listener: TcpListener) -> io::Result<Server> {
        server::plain(self.router(), listener)
    }

    /// Serves the public API over HTTPS with a certificate for localhost, 127.0.0.1 and ::1.
    ///
    /// # Errors
    /// The listener has no address, or no certificate can be made.
    pub fn serve_tls(&self, listener: TcpListener) -> Result<Server, TlsError> {
        self.serve_tls_with(listener, &ServerCertificate::default())
    }

    /// Serves the public API over HTTPS with a certificate of another kind.
    ///
    /// # Errors
    /// The listener has no address, or no such certificate can be made.
    pub fn serve_tls_with(
        &self,
        listener: TcpListener,
        certificate: &ServerCertificate,
    ) -> Result<Server, TlsError> {
        let config = self.with_authority(|authority| authority.server_config(certificate))?;
        Ok(server::tls(self.clone(), listener, config)?)
    }

    /// The certificate of the CA that signs the server's certificates, in PEM. Every simulator has its own.
    ///
    /// # Errors
    /// The CA cannot be made.
    pub fn ca_pem(&self) -> Result<String, TlsError> {
        self.with_authority(|authority| Ok(authority.pem()))
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with_organization(&self, org_id: &str, change: impl FnOnce(&mut Organization)) -> bool {
        self.state().organizations.get_mut(org_id).map(change).is_some()
    }

    /// The CA is made when it is first needed.
    fn with_authority<T>(
        &self,
        act: impl FnOnce(&CertificateAuthority) -> Result<T, TlsError>,
    ) -> Result<T, TlsError> {
        let mut authority = self.authority.lock().unwrap_or_else(PoisonError::into_inner);
        match &*authority {
            Some(authority) => act(authority),
            None => act(authority.insert(CertificateAuthority::generate()?)),
        }
    }
}
