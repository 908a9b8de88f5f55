//! What a node does with an installed Deployment, for one process on this machine: the program runs under the pod's ServiceAccount with
//! the container's arguments and environment. Only this is put in the place of what a node has:
//! - the image is this build's program,
//! - `KUBECONFIG` with a token of the ServiceAccount is what the mounted token is in a pod,
//! - volumes of ConfigMaps and Secrets are folders, and their paths in the arguments lead there,
//! - the two ports are free ones of this machine, unless the values name such (`on_free_ports`): then the arguments say what they said.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Container, PodSpec, Secret};
use kube::Api;
use serde_json::{Value, json};

use crate::support::{OperatorBuilder, Tenant, free_port};

/// The operator of this Deployment, ready to start. `tenant` is who looks on; it may be another namespace.
pub async fn installed<'a>(tenant: &'a Tenant<'a>, namespace: &str, name: &str) -> OperatorBuilder<'a> {
    let deployments: Api<Deployment> = Api::namespaced(tenant.client.clone(), namespace);
    let deployment = deployments.get(name).await.expect("the Deployment");
    let pod = deployment.spec.expect("a spec").template.spec.expect("a pod");
    let [container] = &pod.containers[..] else { panic!("one container: {pod:?}") };
    assert!(
        container.command.is_none() && container.env_from.is_none(),
        "nothing that is not understood here"
    );
    let env = environment(container, namespace);
    let mut args = container.args.clone().expect("arguments");
    for arg in &mut args {
        for (name, value) in &env {
            *arg = arg.replace(&format!("$({name})"), value);
        }
        for mount in container.volume_mounts.iter().flatten() {
            if arg.contains(&mount.mount_path) {
                let folder = volume(tenant, &pod, namespace, &mount.name).await;
                *arg = arg.replace(&mount.mount_path, &folder);
            }
        }
    }
    let flags = ["--health-probe-bind-address=", "--metrics-bind-address="];
    let addresses = flags.map(|flag| {
        let values: Vec<_> = args.iter().filter_map(|arg| arg.strip_prefix(flag)).collect();
        let [value] = values[..] else { panic!("{args:?}") };
        value.parse::<SocketAddr>().ok()
    });
    args.retain(|arg| !flags.iter().any(|flag| arg.starts_with(flag)));
    let account = pod.service_account_name.as_deref().expect("a ServiceAccount");
    let mut operator = tenant.operator().installed(namespace, account, args);
    if let [Some(probes), Some(metrics)] = addresses {
        operator = operator.listening_at(probes, metrics);
    }
    env.iter().fold(operator, |operator, (name, value)| operator.env(name, value))
}

/// Values with which the program listens on ports of this machine that are free now.
pub fn on_free_ports(mut values: Value) -> Value {
    for part in ["health", "metrics"] {
        values[part]["bindAddress"] = json!(free_port().to_string());
    }
    values
}

/// The variables of the container.
fn environment(container: &Container, namespace: &str) -> Vec<(String, String)> {
    let mut env = Vec::new();
    for variable in container.env.iter().flatten() {
        let from = variable.value_from.as_ref();
        let field = from.and_then(|from| from.field_ref.as_ref()).map(|field| field.field_path.as_str());
        let value = match (&variable.value, field) {
            (Some(value), None) => value.clone(),
            (None, Some("metadata.namespace")) => namespace.to_owned(),
            _ => panic!("not understood: {variable:?}"),
        };
        env.push((variable.name.clone(), value));
    }
    env
}

/// A folder with what the volume would have.
async fn volume(tenant: &Tenant<'_>, pod: &PodSpec, namespace: &str, name: &str) -> String {
    let volume = pod.volumes.iter().flatten().find(|volume| volume.name == name).expect("the volume");
    let folder = tenant.control_plane.dir().join(format!("volume-{namespace}-{name}"));
    fs::create_dir_all(&folder).expect("a folder");
    let (data, items) = if let Some(source) = &volume.config_map {
        let api: Api<ConfigMap> = Api::namespaced(tenant.client.clone(), namespace);
        let data = api.get(&source.name).await.expect("the ConfigMap").data.unwrap_or_default();
        (data.into_iter().map(|(key, value)| (key, value.into_bytes())).collect::<Vec<_>>(), &source.items)
    } else if let Some(source) = &volume.secret {
        let api: Api<Secret> = Api::namespaced(tenant.client.clone(), namespace);
        let name = source.secret_name.as_deref().expect("a name");
        let data = api.get(name).await.expect("the Secret").data.unwrap_or_default();
        (data.into_iter().map(|(key, value)| (key, value.0)).collect(), &source.items)
    } else {
        panic!("not understood: {volume:?}")
    };
    for item in items.iter().flatten() {
        let (_, content) = data.iter().find(|(key, _)| *key == item.key).expect("the key");
        fs::write(Path::new(&folder).join(&item.path), content).expect("a file");
    }
    folder.to_str().expect("UTF-8").to_owned()
}
