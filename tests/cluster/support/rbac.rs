//! The rights that are shipped, given to the operator under test: what is shipped is what is tested.

use std::collections::BTreeSet;
use std::fs;

use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use k8s_openapi::api::rbac::v1::PolicyRule;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams};
use kube::{Api, Client};

use super::eventually;

/// The namespace that the shipped files name, and that a user replaces in the namespaced one.
pub const SHIPPED_NAMESPACE: &str = "migrationlink-system";
/// The ServiceAccount that the shipped files make.
pub const SERVICE_ACCOUNT: &str = "migrationlink-operator";

/// Rights of the operator in a test.
pub struct Rights {
    manifests: Vec<DynamicObject>,
    shipped: Vec<Grant>,
    /// Namespace of the ServiceAccount.
    pub home: String,
    /// Name of the ServiceAccount.
    pub account: String,
}

/// A right and where it holds.
#[derive(PartialEq)]
struct Grant {
    right: Right,
    /// Everywhere if absent.
    namespace: Option<String>,
    /// The one object that it is for; all if absent.
    name: Option<String>,
}

/// API group, resource, verb.
pub type Right = (String, String, String);

impl Rights {
    /// `deploy/rbac-namespaced.yaml` for this namespace.
    pub fn namespaced(namespace: &str) -> Self {
        let text = read("rbac-namespaced.yaml").replace(SHIPPED_NAMESPACE, namespace);
        Self::new(&text, namespace)
    }

    /// `deploy/rbac.yaml` as it is.
    pub fn cluster_wide() -> Self {
        Self::new(&read("rbac.yaml"), SHIPPED_NAMESPACE)
    }

    /// Whatever this ServiceAccount has been given.
    pub fn installed(home: &str, account: &str) -> Self {
        Self {
            manifests: Vec::new(),
            shipped: Vec::new(),
            home: home.to_owned(),
            account: account.to_owned(),
        }
    }

    fn new(text: &str, home: &str) -> Self {
        let mut rights = Self::installed(home, SERVICE_ACCOUNT);
        rights.manifests = serde_saphyr::from_multiple(text).expect("the shipped manifests are YAML");
        rights.shipped = rights.grants();
        rights
    }

    /// Takes one verb on one resource (`secrets`, `migrationlinks/status`) out of the shipped rules.
    pub fn remove(&mut self, verb: &str, resource: &str) {
        let before = self.granted().len();
        for manifest in &mut self.manifests {
            let mut rules = rules(manifest);
            for rule in &mut rules {
                if rule.resources.iter().flatten().any(|found| found == resource) {
                    rule.verbs.retain(|found| found != verb);
                }
            }
            // A rule without verbs is refused by the API server.
            rules.retain(|rule| !rule.verbs.is_empty());
            if let Some(before) = manifest.data.get_mut("rules") {
                *before = serde_json::to_value(rules).expect("rules are JSON");
            }
        }
        assert!(self.granted().len() < before, "the shipped role has no {verb} on {resource}");
    }

    /// Gives the rights, and waits until the API server acts on them.
    pub async fn grant(&self, client: &Client) {
        for manifest in &self.manifests {
            let types = manifest.types.as_ref().expect("apiVersion and kind");
            let kind = ApiResource::from_gvk(&GroupVersionKind::try_from(types).expect("apiVersion"));
            let api: Api<DynamicObject> = match &manifest.metadata.namespace {
                Some(namespace) => Api::namespaced_with(client.clone(), namespace, &kind),
                None => Api::all_with(client.clone(), &kind),
            };
            let name = manifest.metadata.name.as_deref().expect("a name");
            let as_a_user = PatchParams::apply("kubectl").force();
            api.patch(name, &as_a_user, &Patch::Apply(manifest))
                .await
                .expect("a shipped manifest is applied");
        }
        let granted = self.grants();
        for grant in &self.shipped {
            let wanted = granted.contains(grant);
            let (group, resource, verb) = &grant.right;
            eventually(&format!("{verb} on {resource} is {wanted}"), async || {
                let allowed = self.review(client, grant).await;
                if allowed == wanted {
                    Ok(())
                } else {
                    Err(format!("group {group:?}: the API server says {allowed}"))
                }
            })
            .await;
        }
    }

    /// The name of the ServiceAccount at the API server.
    pub fn user(&self) -> String {
        format!("system:serviceaccount:{}:{}", self.home, self.account)
    }

    async fn review(&self, client: &Client, grant: &Grant) -> bool {
        let (group, resource, verb) = &grant.right;
        let (resource, subresource) = match resource.split_once('/') {
            Some((resource, subresource)) => (resource, Some(subresource.to_owned())),
            None => (resource.as_str(), None),
        };
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: Some(self.user()),
                resource_attributes: Some(ResourceAttributes {
                    group: Some(group.clone()),
                    resource: Some(resource.to_owned()),
                    subresource,
                    verb: Some(verb.clone()),
                    namespace: grant.namespace.clone(),
                    name: grant.name.clone(),
                    ..ResourceAttributes::default()
                }),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let answer = Api::all(client.clone()).create(&PostParams::default(), &review).await;
        answer.expect("an access review").status.expect("an answer").allowed
    }

    /// Every right that the rules give.
    pub fn granted(&self) -> BTreeSet<Right> {
        self.grants().into_iter().map(|grant| grant.right).collect()
    }

    fn grants(&self) -> Vec<Grant> {
        let mut grants = Vec::new();
        for manifest in &self.manifests {
            for rule in rules(manifest) {
                let name = rule.resource_names.iter().flatten().next().cloned();
                for group in rule.api_groups.iter().flatten() {
                    for resource in rule.resources.iter().flatten() {
                        grants.extend(rule.verbs.iter().map(|verb| Grant {
                            right: (group.clone(), resource.clone(), verb.clone()),
                            namespace: manifest.metadata.namespace.clone(),
                            name: name.clone(),
                        }));
                    }
                }
            }
        }
        grants
    }
}

/// The rules of a role; none of anything else.
fn rules(manifest: &DynamicObject) -> Vec<PolicyRule> {
    let rules = manifest.data.get("rules").cloned();
    rules.map(|rules| serde_json::from_value(rules).expect("rules")).unwrap_or_default()
}

/// The operator's user name at the API server.
pub fn user(home: &str) -> String {
    format!("system:serviceaccount:{home}:{SERVICE_ACCOUNT}")
}

fn read(file: &str) -> String {
    fs::read_to_string(format!("{}/deploy/{file}", env!("CARGO_MANIFEST_DIR")))
        .expect("the shipped manifests")
}
