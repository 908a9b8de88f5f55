//! What a link refers to: out of the files, else out of the cluster; which keys are there, and whether they can be used.

use super::cluster::Cluster;
use super::findings::Finding;
use super::manifest::Manifests;
use crate::api::InputKind;
use crate::controller::KubernetesError;
use crate::decision::{self, Credentials, Fetched, InputReference, Inputs, Link, Version};
use crate::remote::Roots;

/// Uid and version of an object that is in a file.
const IN_A_FILE: &str = "file";

/// What was read. It lives as long as the check of its link.
pub struct Read {
    /// What a decision may see.
    pub inputs: Inputs,
    /// What the remote API is asked with.
    pub credentials: Option<Credentials>,
    /// The version of each object.
    pub versions: Vec<(InputReference, Version)>,
}

/// Where objects are looked for.
pub struct Sources<'a> {
    /// What the files hold.
    pub manifests: &'a Manifests,
    /// The namespace of what names none.
    pub default_namespace: &'a str,
    /// The cluster, or why there is none.
    pub cluster: Result<&'a Cluster, &'a str>,
}

/// Whether a key is one of those whose names are shown. Another name may be a value that was pasted in a wrong place.
pub fn is_ours(key: &str) -> bool {
    decision::KEYS.contains(&key) || key == "ca.crt"
}

/// Reads what the link refers to. None if something of it could not be looked at.
pub async fn read(link: &Link, sources: &Sources<'_>) -> (Option<Read>, Vec<Finding>) {
    let mut findings = Vec::new();
    let mut objects = Vec::new();
    let mut versions = Vec::new();
    let references = link.references();
    for reference in &references {
        let check = check_of(reference.kind);
        let fetched = match fetch(link, reference, sources).await {
            Ok(fetched) => fetched,
            Err(finding) => {
                findings.extend(finding);
                continue;
            }
        };
        let version = match &fetched {
            Fetched::Found { uid, resource_version, data } => {
                let place = if uid == IN_A_FILE { "in the file" } else { "in the cluster" };
                let keys = keys(link, data.keys().map(String::as_str));
                findings.push(Finding::ok(
                    check,
                    format!("{} {} {place} has {keys}", reference.kind, reference.name),
                ));
                Version::Present { uid: uid.clone(), resource_version: resource_version.clone() }
            }
            Fetched::Missing => Version::Missing,
            Fetched::Denied { .. } => {
                findings.push(Finding::problem(
                    check,
                    format!("{} {} may not be read with this kubeconfig", reference.kind, reference.name),
                    format!(
                        "Check with one that may; if it is the operator's own, let its ServiceAccount get {} in namespace {}",
                        if reference.kind == InputKind::ConfigMap { "configmaps" } else { "secrets" },
                        link.namespace
                    ),
                ));
                continue;
            }
        };
        versions.push((reference.clone(), version));
        objects.push((reference.clone(), fetched));
    }
    if objects.len() < references.len() {
        return (None, findings);
    }
    let (inputs, credentials) = decision::read(link, &objects, |pem| Roots::from_pem(pem).is_ok());
    let unusable = if link.deleting { inputs.keys.as_ref().err() } else { inputs.usable.as_ref().err() };
    findings.push(match unusable {
        Some(unusable) => Finding::of("inputs", unusable.reason, &unusable.message),
        None => Finding::ok("inputs", "Everything that a call needs is there and has the right form"),
    });
    (Some(Read { inputs, credentials, versions }), findings)
}

/// The object. The error is what is wrong, if that is not a finding already.
async fn fetch(
    link: &Link,
    reference: &InputReference,
    sources: &Sources<'_>,
) -> Result<Fetched, Option<Finding>> {
    let InputReference { kind, name } = reference;
    let object = sources.manifests.object(*kind, &link.namespace, name, sources.default_namespace);
    if let Some(object) = object {
        let data = object.data.clone().ok_or(None)?;
        let (uid, resource_version) = (IN_A_FILE.to_owned(), IN_A_FILE.to_owned());
        return Ok(Fetched::Found { uid, resource_version, data });
    }
    let check = check_of(*kind);
    match sources.cluster {
        Ok(cluster) => cluster.input(&link.namespace, reference).await.map_err(|error| {
            let what = format!("{kind} {name} could not be read: {error}");
            let fix = match error {
                KubernetesError::Timeout | KubernetesError::Unreachable => {
                    "Check the kubeconfig and the network"
                }
                _ => "Try again",
            };
            Some(Finding::problem(check, what, fix))
        }),
        Err(why) => Err(Some(Finding::problem(
            check,
            format!(
                "{kind} {name} of namespace {} is not in the file, and there is no cluster to read it from ({why})",
                link.namespace
            ),
            "Put it into the file, or give a kubeconfig",
        ))),
    }
}

fn check_of(kind: InputKind) -> &'static str {
    match kind {
        InputKind::ConfigMap => "configmap",
        _ => "secret",
    }
}

/// The names of the keys that mean something to the link, and how many others there are.
fn keys<'a>(link: &Link, keys: impl Iterator<Item = &'a str>) -> String {
    let token = link.spec.link_token_secret_ref.as_ref().map(crate::api::KeyReference::key);
    let ca = link.spec.ca_ref.as_ref().map(crate::api::CaReference::key);
    let (named, others): (Vec<_>, Vec<_>) =
        keys.partition(|key| is_ours(key) || Some(*key) == token || Some(*key) == ca);
    match (named.as_slice(), others.len()) {
        ([], 0) => "no keys".to_owned(),
        ([], others) => format!("none of the keys that are looked for, and {others} other(s)"),
        (named, 0) => format!("the keys {}", named.join(", ")),
        (named, others) => format!("the keys {} and {others} other(s)", named.join(", ")),
    }
}
