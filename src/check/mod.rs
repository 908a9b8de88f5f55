//! `check`: what the operator would do with a link and why, found out without doing it.
//!
//! A manifest is validated (`manifest`, `schema`; by the API server's dry run where there is one, `cluster`), what it refers to is
//! read (`inputs`), what was said of it so far is repeated (`status`), its server is asked (`live`), and the operator's own
//! decisions are played through (`plan`). Each yields lines of a [`Report`] (`findings`). Nothing is written anywhere, and
//! no secret is printed.

mod cluster;
mod findings;
mod inputs;
mod live;
mod manifest;
mod plan;
mod schema;
mod status;

use k8s_openapi::jiff::Timestamp;
use kube::core::ObjectMeta;
use serde_json::{Map, Value};

pub use findings::{Finding, Level, Report};

use crate::api::{ConditionType, Conditions, MigrationLink, Reason, rules};
use crate::config::{CheckConfig, LinkName};
use crate::controller::{Key, KubernetesError, Store};
use crate::decision::{Holder, Link, Origins, Settings};
use cluster::{Cluster, DryRun};
use inputs::Sources;
use live::Remote;
use manifest::Manifests;
use schema::{Fault, Verdict};

/// The check interval that a plan is made with; it is not shown.
const SYNC_INTERVAL: std::time::Duration = std::time::Duration::from_mins(15);

/// Looks at what the configuration names. Whatever is in the way is in the report, too.
pub async fn run(config: &CheckConfig) -> Report {
    let mut report = Report::default();
    let remote = Remote::new(config).map_err(|finding| report.findings.push(finding)).ok();
    let found = Cluster::find().await;
    let cluster = found.as_ref().map_err(String::as_str);
    let check = Check { allowed: Origins(config.allowed_origins.clone()), remote, cluster };
    match &config.link {
        Some(name) => check.link(name, &mut report).await,
        None => check.files(config, &mut report).await,
    }
    report
}

struct Check<'a> {
    allowed: Origins,
    remote: Option<Remote>,
    /// The cluster, or why there is none.
    cluster: Result<&'a Cluster, &'a str>,
}

impl Check<'_> {
    /// A link as it is in the cluster.
    async fn link(&self, name: &LinkName, report: &mut Report) {
        let LinkName { namespace, name } = name;
        let found = match self.cluster {
            Ok(cluster) => cluster.link(namespace, name).await.map_err(|error| match error {
                KubernetesError::Forbidden(_) => (
                    "this user may not get MigrationLinks there".to_owned(),
                    "Give a kubeconfig of somebody who may",
                ),
                error => (error.to_string(), "Check the kubeconfig and the network"),
            }),
            Err(why) => Err((why.to_owned(), "Give a kubeconfig, or check a manifest with -f")),
        };
        let finding = match found {
            Ok(Some(link)) => {
                let manifests = Manifests::default();
                let mut findings = vec![Finding::ok("resource", "It is in the cluster")];
                findings.extend(status::findings(&link));
                findings.extend(self.examine(&link, &manifests, namespace, &[]).await);
                report.add(&format!("{namespace}/{name}"), findings);
                return;
            }
            Ok(None) => Finding::problem(
                "resource",
                "There is no such MigrationLink in the cluster",
                "Check namespace and name: kubectl get migrationlinks -A",
            ),
            Err((error, fix)) => Finding::problem("resource", format!("It cannot be read: {error}"), fix),
        };
        report.add(&format!("{namespace}/{name}"), vec![finding]);
    }

    /// Every link of the files.
    async fn files(&self, config: &CheckConfig, report: &mut Report) {
        let (manifests, findings) = manifest::read(&config.files);
        report.findings.extend(findings);
        let default_namespace = self.cluster.map_or("default", Cluster::namespace);
        let mut links = Vec::new();
        for manifest in &manifests.links {
            let meta =
                |field: &str| manifest.get("metadata").and_then(|metadata| metadata.get(field)?.as_str());
            // What is no name is not shown either.
            let named = |field: &str| meta(field).filter(|name| (rules::SECRET_NAME.holds)(name));
            let namespace = named("namespace").unwrap_or(default_namespace);
            let name = named("name").unwrap_or("(no name)");
            let (link, findings) = self.validated(manifest, namespace, name).await;
            report.add(&format!("{namespace}/{name}"), findings);
            links.extend(link);
        }
        for link in &links {
            let findings = self.examine(link, &manifests, default_namespace, &links).await;
            report.add(&format!("{}/{}", link.namespace, link.name), findings);
        }
    }

    /// The link that the manifest would become, if it is valid.
    async fn validated(
        &self,
        manifest: &Map<String, Value>,
        namespace: &str,
        name: &str,
    ) -> (Option<Link>, Vec<Finding>) {
        let refused = |faults: Vec<Fault>| {
            let problem = |Fault { field, sentence }| {
                Finding::problem("manifest", format!("{field} is refused"), sentence)
            };
            faults.into_iter().map(problem)
        };
        let Verdict { faults, unknown } = schema::validate(manifest, None);
        let unknown = unknown.into_iter().map(|field| {
            Finding::warning("manifest", format!("{field} is no field of a MigrationLink and is not kept"))
                .with_fix("Correct its name, or take it out")
        });
        let mut findings: Vec<_> = unknown.collect();
        if !faults.is_empty() {
            findings.extend(refused(faults));
            return (None, findings);
        }
        let existing = match self.cluster {
            Ok(cluster) => cluster.link(namespace, name).await.map_err(|error| error.to_string()),
            Err(why) => Err(why.to_owned()),
        };
        let old = existing.as_ref().ok().and_then(Option::as_ref);
        if let Some(spec) = old.and_then(|old| serde_json::to_value(&old.spec).ok()) {
            // What may not change.
            let faults = schema::validate(manifest, Some(&spec)).faults;
            if !faults.is_empty() {
                findings.extend(refused(faults));
                return (None, findings);
            }
        }
        let tried = match (self.cluster, &existing) {
            (Ok(cluster), Ok(existing)) => {
                cluster.dry_run(namespace, name, manifest, existing.as_ref()).await
            }
            (Err(why), _) => DryRun::NotDone(why.to_owned()),
            (Ok(_), Err(why)) => DryRun::NotDone(why.clone()),
        };
        let link = match tried {
            DryRun::Accepted(resource) => {
                findings.push(Finding::ok(
                    "manifest",
                    "It is valid: the API server took it in a dry run, which keeps nothing",
                ));
                observed(*resource, namespace)
            }
            DryRun::Refused(faults) => {
                findings.extend(refused(faults));
                None
            }
            DryRun::NotDone(why) => {
                findings.push(Finding::ok(
                    "manifest",
                    format!("It is valid by the schema and the rules of this program; the API server did not try it ({why})"),
                ));
                local(manifest, namespace, old)
            }
        };
        (link, findings)
    }

    /// All that can be found out of a link. `beside` are the others of the same files.
    async fn examine(
        &self,
        link: &Link,
        manifests: &Manifests,
        default_namespace: &str,
        beside: &[Link],
    ) -> Vec<Finding> {
        let sources = Sources { manifests, default_namespace, cluster: self.cluster };
        let (read, mut findings) = inputs::read(link, &sources).await;
        let holder = self.holder(link, beside).await.unwrap_or_else(|finding| {
            findings.push(finding);
            None
        });
        match link.base_url().map(|base_url| (live::origin(&base_url, &self.allowed), base_url)) {
            Some((Ok(allowed), base_url)) => {
                findings.push(allowed);
                if let Some(remote) = &self.remote {
                    let credentials = read.as_ref().and_then(|read| read.credentials.as_ref());
                    findings.extend(remote.look(link, &base_url, credentials).await);
                }
            }
            Some((Err(refused), _)) => findings.push(refused),
            None => findings.push(Finding::problem(
                "origin",
                "spec.baseUrl cannot be used",
                "Delete this MigrationLink and create it again with a right one",
            )),
        }
        let now = Timestamp::now();
        let settings = Settings {
            allowed_origins: self.allowed.clone(),
            sync_interval: SYNC_INTERVAL,
            deletion_grace_period: None,
            started_at: now,
        };
        let plan = plan::plan(link, read.as_ref(), holder.as_ref(), &settings, now);
        let conditions = plan.status.conditions.unwrap_or_default();
        if let Some(ready) = conditions.of(ConditionType::Ready)
            && ready.reason == Reason::DuplicateOrganization.as_str()
        {
            findings.push(Finding::of("duplicate", Reason::DuplicateOrganization, &ready.message));
        }
        findings.push(Finding::ok("next", format!("The operator would {}", plan.steps.join(", then "))));
        findings
    }

    /// The other resource that holds the link's organization.
    async fn holder(&self, link: &Link, beside: &[Link]) -> Result<Option<Holder>, Finding> {
        let others = match self.cluster {
            Ok(cluster) => cluster.links(&link.namespace).await.map_err(|error| {
                Finding::warning(
                    "duplicate",
                    format!("The other MigrationLinks could not be listed: {error}"),
                )
                .with_fix("Check with a kubeconfig of somebody who may list them")
            })?,
            Err(_) => Vec::new(),
        };
        let store = Store::default();
        let is_another = |other: &&Link| (&other.namespace, &other.name) != (&link.namespace, &link.name);
        let all = beside
            .iter()
            .filter(is_another)
            .cloned()
            .chain(others.into_iter().filter(|other| is_another(&other)));
        for other in all.chain([link.clone()]) {
            store.apply(other);
        }
        Ok(store.holder(&Key { namespace: link.namespace.clone(), name: link.name.clone() }))
    }
}

/// What the API server would keep. A dry run gives no version.
fn observed(mut resource: MigrationLink, namespace: &str) -> Option<Link> {
    let ObjectMeta { namespace: of, uid, resource_version, .. } = &mut resource.metadata;
    of.get_or_insert_with(|| namespace.to_owned());
    uid.get_or_insert_default();
    resource_version.get_or_insert_default();
    Link::observe(resource)
}

/// What the manifest would become, as far as that can be told without the API server.
fn local(manifest: &Map<String, Value>, namespace: &str, existing: Option<&Link>) -> Option<Link> {
    let mut manifest = manifest.clone();
    manifest.remove("status");
    let resource = serde_json::from_value(Value::Object(manifest)).ok()?;
    let mut link = observed(resource, namespace)?;
    link.generation = 1;
    if let Some(existing) = existing {
        link.generation = existing.generation + i64::from(existing.spec != link.spec);
        link.uid.clone_from(&existing.uid);
        link.created = existing.created;
        link.deleting = existing.deleting;
        link.finalizers.clone_from(&existing.finalizers);
        link.status.clone_from(&existing.status);
        link.reconcile_at = link.reconcile_at.or_else(|| existing.reconcile_at.clone());
        link.relink_at = link.relink_at.or_else(|| existing.relink_at.clone());
        link.paused |= existing.paused;
        link.adopt |= existing.adopt;
    }
    Some(link)
}
