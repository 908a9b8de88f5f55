//! reqwest's clients, one for each set of roots that is trusted. A client has its own connections: one that was made
//! because a tenant's CA vouches for the server must never carry a request of those who do not trust that CA.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::{Client, Proxy, redirect, retry};
use tokio::task::spawn_blocking;

use super::roots::{Roots, RootsId};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Shorter than the servers' and load balancers' own, so that a request seldom meets a connection that is going away.
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);

/// How many clients with roots of their own are kept, each about 100 KiB: it has all of the system's roots as well.
const MOST: usize = 64;

/// The clients.
pub(super) struct Clients {
    recipe: Arc<Recipe>,
    plain: Client,
    kept: Mutex<Recent<Client>>,
    /// Held while a client is built. Building reads the system's roots, some 10 ms of work; one at a time, beside
    /// the runtime, it holds up nobody but those who need another new one.
    building: tokio::sync::Mutex<()>,
}

/// What all clients have in common.
struct Recipe {
    user_agent: String,
    /// Trusted beside the system's roots.
    roots: Roots,
    proxies: Vec<Proxy>,
}

/// The values used last, by the roots that they belong to; the last one is at the end.
struct Recent<T> {
    most: usize,
    entries: Vec<(RootsId, T)>,
}

impl Clients {
    pub(super) fn new(user_agent: &str, roots: Roots, proxies: Vec<Proxy>) -> reqwest::Result<Self> {
        let recipe = Recipe { user_agent: user_agent.to_owned(), roots, proxies };
        Ok(Self {
            plain: recipe.build(None)?,
            recipe: Arc::new(recipe),
            kept: Mutex::new(Recent { most: MOST, entries: Vec::new() }),
            building: tokio::sync::Mutex::new(()),
        })
    }

    /// The client that trusts these roots; `None` if it cannot be built.
    pub(super) async fn trusting(&self, roots: Option<&Roots>) -> Option<Client> {
        let Some(roots) = roots else { return Some(self.plain.clone()) };
        if let Some(client) = self.kept(roots) {
            return Some(client);
        }
        let _turn = self.building.lock().await;
        if let Some(client) = self.kept(roots) {
            return Some(client);
        }
        let (recipe, wanted) = (self.recipe.clone(), roots.clone());
        let client = spawn_blocking(move || recipe.build(Some(&wanted))).await.ok()?.ok()?;
        self.recent(|kept| kept.insert(roots, client.clone()));
        Some(client)
    }

    fn kept(&self, roots: &Roots) -> Option<Client> {
        self.recent(|kept| kept.get(roots))
    }

    fn recent<T>(&self, of: impl FnOnce(&mut Recent<Client>) -> T) -> T {
        of(&mut self.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Recipe {
    fn build(&self, roots: Option<&Roots>) -> reqwest::Result<Client> {
        let mut trusted = self.roots.certificates()?;
        trusted.extend(roots.map(Roots::certificates).transpose()?.unwrap_or_default());
        let builder = Client::builder()
            .user_agent(&self.user_agent)
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .referer(false)
            .no_proxy()
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .tls_certs_merge(trusted);
        self.proxies.iter().cloned().fold(builder, reqwest::ClientBuilder::proxy).build()
    }
}

impl<T: Clone> Recent<T> {
    fn get(&mut self, roots: &Roots) -> Option<T> {
        let index = self.entries.iter().position(|(known, _)| *known == roots.id())?;
        let entry = self.entries.remove(index);
        let value = entry.1.clone();
        self.entries.push(entry);
        Some(value)
    }

    /// Adds a value that is not there; the one unused for longest makes room for it.
    fn insert(&mut self, roots: &Roots, value: T) {
        if self.entries.len() >= self.most {
            self.entries.remove(0);
        }
        self.entries.push((roots.id(), value));
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    #[test]
    fn those_not_used_for_longest_make_room() {
        let roots: Vec<Roots> = (0..4)
            .map(|_| {
                let params = CertificateParams::new(Vec::new()).unwrap();
                let pem = params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem();
                Roots::from_pem(pem.as_bytes()).unwrap()
            })
            .collect();
        let mut recent = Recent { most: 3, entries: Vec::new() };
        for (n, new) in roots.iter().enumerate() {
            assert_eq!(recent.get(new), None);
            recent.insert(new, n);
            assert_eq!(recent.get(new), Some(n));
            // It is used all the time.
            assert_eq!(recent.get(&roots[0]), Some(0));
        }
        assert_eq!(
            roots.iter().map(|roots| recent.get(roots)).collect::<Vec<_>>(),
            [Some(0), None, Some(2), Some(3)]
        );
        assert_eq!(recent.entries.len(), 3);
    }
}
