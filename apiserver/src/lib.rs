//! The Kubernetes API in a process: just the part that the operator uses, for the tests that run it many thousand times on a clock
//! that is injected. Objects with uids, resource versions and generations, the status subresource, finalizers, optimistic
//! locking, merge patches and server-side apply, lists in pages, watches with their history, `410 Gone`.
//!
//! It has no schema, no admission and no RBAC: a test on the real API server (`tests/cluster/differential`) sends the same
//! requests to both and compares the answers.
//!
//! A request passes `target` (what it is about), `verbs` (what it does, with `patch` and `apply`) and `objects` (what is
//! stored, and who watches), and comes back as an `answer`.
#![allow(clippy::indexing_slicing, reason = "objects are JSON objects: what is not in one reads as null")]

mod answer;
mod apply;
mod kind;
mod objects;
mod patch;
mod target;
mod verbs;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hyper::body::Bytes;
use hyper::{Request, Response};
use serde_json::Value;

pub use answer::{Answer, failure};
use objects::Objects;

/// An API server. Clones share everything. All its times are tokio's and the clock's.
#[derive(Clone)]
pub struct ApiServer(Arc<Mutex<Objects>>);

impl ApiServer {
    /// One without objects. `clock`: the time in RFC 3339, in whole seconds.
    pub fn new(clock: fn() -> String) -> Self {
        Self(Arc::new(Mutex::new(Objects::new(clock))))
    }

    /// Answers a request. What it does is done when this returns; a watch goes on as long as its body is read.
    pub fn serve(&self, request: &Request<Bytes>) -> Response<Answer> {
        verbs::serve(&mut self.lock(), request)
    }

    /// The answer to a list as a server gives it that has not heard of the last change of such objects yet. None if nothing
    /// has changed.
    pub fn serve_late(&self, request: &Request<Bytes>) -> Option<Response<Answer>> {
        let mut late = self.lock().before_last_change(verbs::plural(request)?)?;
        Some(verbs::serve(&mut late, request))
    }

    /// What the object with this uid was before it got this version.
    pub fn version_before(&self, uid: &str, version: u64) -> Option<Value> {
        self.lock().version_before(uid, version)
    }

    /// Every object of a kind (by its plural), in the order of namespace and name.
    pub fn objects(&self, plural: &str) -> Vec<Value> {
        self.lock().all(plural).cloned().collect()
    }

    /// One object.
    pub fn object(&self, plural: &str, namespace: &str, name: &str) -> Option<Value> {
        let objects = self.lock();
        objects.all(plural).find(|object| objects::is(object, namespace, name)).cloned()
    }

    /// Forgets the history: a watch from a version of before is answered `410 Gone`.
    pub fn compact(&self) {
        self.lock().compact();
    }

    /// Ends every watch, as an API server does that is restarted or has had enough of one.
    pub fn end_watches(&self) {
        self.lock().end_watches();
    }

    fn lock(&self) -> MutexGuard<'_, Objects> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
