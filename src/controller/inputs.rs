//! Reading what a link refers to.

use std::collections::BTreeMap;
use std::mem::take;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use secrecy::zeroize::Zeroize;

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

/// What a pass has read so far. The decision overwrites the values that it was given, and this those of a pass that an error or a
/// deadline ends before.
#[derive(Default)]
struct Objects(Vec<(InputReference, Fetched)>);

impl Objects {
    fn overwrite(&mut self) {
        for (_, object) in &mut self.0 {
            if let Fetched::Found { data, .. } = object {
                data.values_mut().for_each(Zeroize::zeroize);
            }
        }
    }
}

impl Drop for Objects {
    fn drop(&mut self) {
        self.overwrite();
    }
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
    let mut objects = Objects::default();
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
        objects.0.push((reference, object));
    }
    let (inputs, credentials) =
        decision::read(link, take(&mut objects.0), |pem| Roots::from_pem(pem).is_ok());
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_before_the_pass_came_to_an_end_is_overwritten() {
        let reference = |name: &str| InputReference { kind: InputKind::Secret, name: name.into() };
        let data = [("publicKey", "canary"), ("privateKey", "canary")]
            .map(|(key, value)| (key.to_owned(), value.as_bytes().to_vec()));
        let found = Fetched::Found { uid: "u".into(), resource_version: "1".into(), data: data.into() };
        let mut objects = Objects(vec![(reference("missing"), Fetched::Missing), (reference("keys"), found)]);
        objects.overwrite();
        let [_, (_, Fetched::Found { data, .. })] = &objects.0[..] else { panic!("it is still there") };
        assert_eq!(data.len(), 2);
        assert!(data.values().all(Vec::is_empty), "zeroize empties what it has overwritten: {data:?}");
    }
}
