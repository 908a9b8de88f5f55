//! What people do.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::Method;
use serde_json::{Value, json};

use super::{ORG, PRIVATE_KEY, PUBLIC_KEY, World};
use crate::border::kubernetes::ask;

pub const NAMESPACE: &str = "payments";
const LINKS: &str = "/apis/migrationlink.dev/v1alpha1/namespaces/payments/migrationlinks";
const SECRETS: &str = "/api/v1/namespaces/payments/secrets";
const CONFIG_MAPS: &str = "/api/v1/namespaces/payments/configmaps";

impl World {
    /// The Secret `keys` with this token, and the ConfigMap `ca`.
    pub fn create_inputs(&self, token: &str) {
        self.create_secret(token);
        self.create(CONFIG_MAPS, &json!({"metadata": {"name": "ca"}, "data": {"ca.crt": ca()}}));
    }

    pub fn rotate(&self, token: &str) {
        self.patch(&format!("{SECRETS}/keys"), &json!({"data": data(token)}));
    }

    /// A new version of the ConfigMap with the same content.
    pub fn touch_ca(&self) {
        self.patch(&format!("{CONFIG_MAPS}/ca"), &json!({"metadata": {"labels": {"touched": "yes"}}}));
    }

    pub fn delete_secret(&self) {
        self.delete(&format!("{SECRETS}/keys"));
    }

    pub fn create_secret(&self, token: &str) {
        self.create(SECRETS, &json!({"metadata": {"name": "keys"}, "data": data(token)}));
    }

    pub fn create_link(&self, name: &str, deletion_policy: &str) {
        let spec = json!({
            "orgId": ORG,
            "secretRef": {"name": "keys"},
            "caRef": {"kind": "ConfigMap", "name": "ca"},
            "syncInterval": "1m",
            "deletionPolicy": deletion_policy,
        });
        self.create(LINKS, &json!({"metadata": {"name": name}, "spec": spec}));
    }

    pub fn edit_link(&self, name: &str, patch: &Value) {
        self.patch(&format!("{LINKS}/{name}"), patch);
    }

    pub fn delete_link(&self, name: &str) {
        self.delete(&format!("{LINKS}/{name}"));
    }

    pub fn link(&self, name: &str) -> Option<Value> {
        self.api.object("migrationlinks", NAMESPACE, name)
    }

    fn create(&self, path: &str, object: &Value) {
        assert_eq!(ask(&self.api, Method::POST, path, "application/json", object).0, 201, "{path}");
    }

    fn patch(&self, path: &str, change: &Value) {
        let code = ask(&self.api, Method::PATCH, path, "application/merge-patch+json", change).0;
        assert_eq!(code, 200, "{path}");
    }

    fn delete(&self, path: &str) {
        assert_eq!(ask(&self.api, Method::DELETE, path, "application/json", &json!({})).0, 200, "{path}");
    }
}

fn data(token: &str) -> Value {
    let encoded = |text: &str| STANDARD.encode(text);
    json!({
        "publicKey": encoded(PUBLIC_KEY), "privateKey": encoded(PRIVATE_KEY), "linkToken": encoded(token),
    })
}

/// A root certificate, the same in every run: making one takes longer than a run.
fn ca() -> &'static str {
    static CA: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    CA.get_or_init(|| {
        migrationlink_simulator::Simulator::new(migrationlink_simulator::Config::default())
            .ca_pem()
            .expect("a root")
    })
}
