//! Reading what a link refers to.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::kubernetes::{Kubernetes, KubernetesError};
use crate::api::InputKind;
use crate::decision::{self, Credentials, Fetched, InputReference, Inputs, Link, Version};
use crate::remote::Roots;

/// What was read for one pass. The values live no longer than the pass.
#[derive(Debug)]
pub struct Reading {
    /// What a decision may see.
    pub inputs: Inputs,
    /// What a call is made with.
    pub credentials: Option<Credentials>,
    /// The version of each object, for the index.
    pub versions: Vec<(InputReference, Version)>,
}

/// Reads what the link refers to. `known` is what the index knows of the versions.
///
/// # Errors
/// The API server did not give an answer that says anything about the objects.
pub async fn read(
    kubernetes: &Kubernetes,
    link: &Link,
    known: &[(InputReference, Version)],
) -> Result<Reading, KubernetesError> {
    let mut objects = Vec::new();
    let mut versions = Vec::new();
    for reference in link.references() {
        let mut object = fetched(kubernetes, &link.namespace, &reference).await?;
        match &mut object {
            Fetched::Found { uid, resource_version, .. } => {
                let version =
                    Version::Present { uid: uid.clone(), resource_version: resource_version.clone() };
                versions.push((reference.clone(), version));
            }
            Fetched::Missing => versions.push((reference.clone(), Version::Missing)),
            Fetched::Denied { known: before } => {
                *before = known.iter().find_map(|(known, version)| match version {
                    Version::Present { uid, resource_version } if *known == reference => {
                        Some((uid.clone(), resource_version.clone()))
                    }
                    _ => None,
                });
            }
        }
        objects.push((reference, object));
    }
    let (inputs, credentials) = decision::read(link, &objects, |pem| Roots::from_pem(pem).is_ok());
    Ok(Reading { inputs, credentials, versions })
}

/// Reads one object.
///
/// # Errors
/// The API server did not give an answer that says anything about it.
pub async fn fetched(
    kubernetes: &Kubernetes,
    namespace: &str,
    reference: &InputReference,
) -> Result<Fetched, KubernetesError> {
    match fetch(kubernetes, namespace, reference).await {
        Ok((ObjectMeta { uid: Some(uid), resource_version: Some(resource_version), .. }, data)) => {
            Ok(Fetched::Found { uid, resource_version, data })
        }
        Ok(_) => Err(KubernetesError::Incomplete),
        Err(KubernetesError::NotFound) => Ok(Fetched::Missing),
        Err(KubernetesError::Forbidden(_)) => Ok(Fetched::Denied { known: None }),
        Err(error) => Err(error),
    }
}

async fn fetch(
    kubernetes: &Kubernetes,
    namespace: &str,
    reference: &InputReference,
) -> Result<(ObjectMeta, BTreeMap<String, Vec<u8>>), KubernetesError> {
    match reference.kind {
        InputKind::Secret => {
            let Secret { metadata, data, .. } = kubernetes.secret(namespace, &reference.name).await?;
            let data = data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0));
            Ok((metadata, data.collect()))
        }
        InputKind::ConfigMap => {
            let ConfigMap { metadata, data, binary_data, .. } =
                kubernetes.config_map(namespace, &reference.name).await?;
            let text = data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.into_bytes()));
            let binary = binary_data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0));
            Ok((metadata, text.chain(binary).collect()))
        }
        // What it is says the decision.
        InputKind::Other => Err(KubernetesError::NotFound),
    }
}
