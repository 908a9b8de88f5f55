//! The client for the Kubernetes API.

use kube::config::{InferConfigError, Kubeconfig};
use kube::{Client, Config};

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Neither a kubeconfig nor the environment of a pod.
    #[error("no way to the Kubernetes API: neither a usable kubeconfig nor a pod's service account ({0})")]
    Config(#[source] Box<InferConfigError>),
    /// The kubeconfig's proxy.
    #[error("the kubeconfig's proxy-url is not a URL")]
    Proxy,
    /// TLS or authentication cannot be set up.
    #[error("the Kubernetes client cannot be made: {0}")]
    Client(#[source] Box<kube::Error>),
}

/// A client from the kubeconfig or, inside a pod, from its service account.
///
/// # Errors
/// [`ClientError`]; an API server that cannot be reached is none.
pub async fn client() -> Result<Client, ClientError> {
    let mut config = Config::infer().await.map_err(|error| ClientError::Config(Box::new(error)))?;
    // kube takes HTTPS_PROXY for the API server, too. These variables are for the remote API: only a proxy that the
    // kubeconfig itself names is meant for the API server.
    config.proxy_url = match own_proxy() {
        Some(url) => Some(url.parse().map_err(|_| ClientError::Proxy)?),
        None => None,
    };
    Client::try_from(config).map_err(|error| ClientError::Client(Box::new(error)))
}

/// `proxy-url` of the kubeconfig's current cluster.
fn own_proxy() -> Option<String> {
    let kubeconfig = Kubeconfig::read().ok()?;
    let current = kubeconfig.current_context?;
    let context = kubeconfig.contexts.into_iter().find(|context| context.name == current)?.context?;
    let cluster = kubeconfig.clusters.into_iter().find(|cluster| cluster.name == context.cluster)?.cluster?;
    cluster.proxy_url.filter(|url| !url.is_empty())
}
