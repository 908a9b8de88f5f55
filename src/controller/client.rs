//! The client for the Kubernetes API.

use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use kube::config::{self, Context, InferConfigError, Kubeconfig, KubeconfigError};
use kube::{Client, Config};
use secrecy::{ExposeSecret, SecretString};

use super::pages::bounded;

/// Why there is no client. It holds no error of kube's: these show lines of the kubeconfig, and so its credentials.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Neither a kubeconfig nor the environment of a pod.
    #[error("no way to the Kubernetes API: neither a usable kubeconfig ({0}) nor a pod's service account")]
    Config(String),
    /// The kubeconfig's proxy.
    #[error("the kubeconfig's proxy-url is not a URL")]
    Proxy,
    /// The file of a bearer token, in a form that kube takes for an unreachable API server.
    #[error("the token file {} holds white space beside the token: write it without a newline at the end", .0.display())]
    TokenFile(PathBuf),
    /// TLS or authentication cannot be set up.
    #[error("the Kubernetes client cannot be made: check the kubeconfig's certificates, keys and user")]
    Client,
}

/// The way to the Kubernetes API.
pub struct Cluster {
    config: Config,
    /// The namespace that this program belongs to: that of the kubeconfig's context or, inside a pod, the pod's. None
    /// if the context has none.
    pub namespace: Option<String>,
}

/// The way to the Kubernetes API, from the kubeconfig or, inside a pod, from its service account.
///
/// # Errors
/// [`ClientError`]; an API server that cannot be reached is none.
pub async fn cluster() -> Result<Cluster, ClientError> {
    let mut config = Config::infer().await.map_err(|error| ClientError::Config(problem(&error)))?;
    if let Some(path) = config.auth_info.token_file.as_ref().filter(|_| config.auth_info.token.is_none()) {
        // kube sends the file as it is, where client-go trims it, and no header holds a newline. A file that cannot be
        // read is found out below.
        let token = SecretString::from(std::fs::read_to_string(path).unwrap_or_default());
        if token.expose_secret().trim() != token.expose_secret() {
            return Err(ClientError::TokenFile(path.into()));
        }
    }
    let kubeconfig = current_context();
    let namespace = match &kubeconfig {
        // kube says "default" where there is none.
        Some((context, _)) => context.namespace.clone().filter(|namespace| !namespace.is_empty()),
        None => Some(config.default_namespace.trim().to_owned()),
    };
    // kube takes HTTPS_PROXY for the API server, too. These variables are for the remote API: only a proxy that the
    // kubeconfig itself names is meant for the API server.
    let own_proxy = kubeconfig.and_then(|(_, cluster)| cluster.proxy_url).filter(|url| !url.is_empty());
    config.proxy_url = match own_proxy {
        Some(url) => Some(url.parse().map_err(|_| ClientError::Proxy)?),
        None => None,
    };
    // Longer than a watch lasts (290 s). Without it a list or watch that is never answered stands for ever.
    config.read_timeout = Some(Duration::from_mins(5));
    config.reset_reader_on_write = true;
    Ok(Cluster { config, namespace })
}

impl Cluster {
    /// A client that repeats by itself what the API server was too busy for, and whose lists have pages that fit into
    /// memory.
    ///
    /// # Errors
    /// [`ClientError::Client`].
    pub fn client(&self) -> Result<Client, ClientError> {
        Client::try_from(self.config.clone()).map(bounded).map_err(|_| ClientError::Client)
    }

    /// A client for the lease, where each attempt counts and has to come to its end.
    ///
    /// # Errors
    /// [`ClientError::Client`].
    pub fn lease_client(&self) -> Result<Client, ClientError> {
        let mut config = self.config.clone();
        config.default_retry = false;
        Client::try_from(config).map_err(|_| ClientError::Client)
    }
}

/// What is wrong with the kubeconfig, in words of ours.
fn problem(error: &InferConfigError) -> String {
    match error.source().and_then(|source| source.downcast_ref()) {
        Some(KubeconfigError::FindPath) => "there is none".into(),
        Some(KubeconfigError::ReadConfig(error, path)) => {
            format!("{} cannot be read: {error}", path.display())
        }
        Some(KubeconfigError::Parse(_)) => "it is not the YAML of a kubeconfig".into(),
        Some(KubeconfigError::CurrentContextNotSet) => "it names no current context".into(),
        Some(KubeconfigError::LoadContext(name)) => format!("it has no context {name}"),
        Some(KubeconfigError::LoadClusterOfContext(name)) => format!("it has no cluster {name}"),
        // kube reads the variables before we can tell it not to.
        Some(KubeconfigError::ParseProxyUrl(_) | KubeconfigError::ParseNoProxy(_)) => {
            "its proxy-url, HTTPS_PROXY or NO_PROXY cannot be read".into()
        }
        _ => "its cluster, certificates or user cannot be used".into(),
    }
}

/// The kubeconfig's current context and cluster, if there is a kubeconfig.
fn current_context() -> Option<(Context, config::Cluster)> {
    let kubeconfig = Kubeconfig::read().ok()?;
    let current = kubeconfig.current_context?;
    let context = kubeconfig.contexts.into_iter().find(|context| context.name == current)?.context?;
    let cluster = kubeconfig.clusters.into_iter().find(|cluster| cluster.name == context.cluster)?.cluster?;
    Some((context, cluster))
}
