//! What was asked of the API server, from its audit log.

use std::collections::BTreeMap;
use std::fs;

use serde::Deserialize;

use super::ControlPlane;

/// Requests of one user, in the order in which they were answered. A line is on disk before the client has its answer.
/// A watch is there once it has ended, not before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requests(pub Vec<Request>);

/// One answered request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// As RBAC says it: get, list, watch, create, patch, …
    pub verb: String,
    /// As RBAC says it: `secrets`, `migrationlinks/status`.
    pub resource: String,
    /// Empty for a request over all namespaces.
    pub namespace: String,
    /// Empty for a list.
    pub name: String,
    /// Status code of the answer.
    pub code: u16,
}

impl Requests {
    /// Everything that the user has asked of this API server.
    pub fn of(control_plane: &ControlPlane, user: &str) -> Self {
        let log = fs::read_to_string(control_plane.dir().join("audit.log")).expect("the audit log");
        // After the last newline somebody may still be writing.
        let whole = log.rfind('\n').map_or("", |end| &log[..end]);
        let lines = whole.lines().filter(|line| line.contains(user));
        let lines = lines.map(|line| serde_json::from_str::<Line>(line).expect("a line of the audit log"));
        Self(lines.filter(|line| line.user.username == user).filter_map(Line::request).collect())
    }

    /// What came after `earlier`.
    pub fn since(&self, earlier: &Self) -> Self {
        Self(self.0[earlier.0.len()..].to_vec())
    }

    /// Those that are not about the lease, which goes on all the time.
    pub fn besides_the_lease(&self) -> impl Iterator<Item = &Request> {
        self.0.iter().filter(|request| request.resource != "leases")
    }

    /// How many there are of each kind, such as `"patch migrationlinks/status"`. Lists and watches are left out: how often they are
    /// begun anew is the client's affair. So are those about the lease.
    pub fn counts(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        let counted = |request: &&Request| !matches!(request.verb.as_str(), "list" | "watch");
        for request in self.besides_the_lease().filter(counted) {
            *counts.entry(format!("{} {}", request.verb, request.resource)).or_default() += 1;
        }
        counts
    }

    /// How many of this verb and resource there are.
    pub fn count(&self, verb: &str, resource: &str) -> usize {
        self.0.iter().filter(|request| request.verb == verb && request.resource == resource).count()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    verb: String,
    user: User,
    object_ref: Option<ObjectRef>,
    response_status: Option<ResponseStatus>,
}

#[derive(Deserialize)]
struct User {
    username: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ObjectRef {
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
}

#[derive(Deserialize)]
struct ResponseStatus {
    #[serde(default)]
    code: u16,
}

impl Line {
    fn request(self) -> Option<Request> {
        let object = self.object_ref?;
        let resource = match object.subresource.as_str() {
            "" => object.resource,
            subresource => format!("{}/{subresource}", object.resource),
        };
        Some(Request {
            verb: self.verb,
            resource,
            namespace: object.namespace,
            name: object.name,
            code: self.response_status.map_or(0, |status| status.code),
        })
    }
}
