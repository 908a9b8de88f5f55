//! What a request is about: `/api/v1/namespaces/a/secrets/b`, `/apis/g/v1/namespaces/a/things/b/status?watch=true`.

use crate::kind::Kind;

/// See above.
pub(crate) struct Target<'a> {
    pub(crate) kind: &'static Kind,
    pub(crate) namespace: Option<&'a str>,
    pub(crate) name: Option<&'a str>,
    pub(crate) status: bool,
    query: &'a str,
}

impl<'a> Target<'a> {
    /// None where nothing is served.
    pub(crate) fn parse(path: &'a str, query: &'a str) -> Option<Self> {
        let mut parts = path.split('/').skip(1);
        let (group, version) = match parts.next()? {
            "api" => ("", parts.next()?),
            "apis" => (parts.next()?, parts.next()?),
            _ => return None,
        };
        let mut plural = parts.next()?;
        let mut namespace = None;
        if plural == "namespaces" {
            namespace = parts.next();
            plural = parts.next()?;
        }
        let kind = Kind::find(group, version, plural)?;
        let name = parts.next();
        let status = match parts.next() {
            None => false,
            Some("status") if kind.custom => true,
            Some(_) => return None,
        };
        Some(Self { kind, namespace, name, status, query })
    }

    /// A parameter of the query, as it stands there.
    pub(crate) fn parameter(&self, name: &str) -> Option<&'a str> {
        self.query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
    }

    /// The name that a field selector asks for: the only selector that is understood.
    pub(crate) fn selected_name(&self) -> Option<&'a str> {
        let selector = self.parameter("fieldSelector")?;
        let selector = selector.strip_prefix("metadata.name")?;
        selector.strip_prefix("%3D").or_else(|| selector.strip_prefix('='))
    }
}
