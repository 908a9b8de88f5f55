//! Whom a call is about, and the key that it is made with.

use secrecy::SecretString;

use super::roots::Roots;
use crate::endpoint::BaseUrl;

/// A programmatic API key.
#[derive(Clone, Debug)]
pub struct ApiKeys {
    /// The public key, the user name of the digest.
    pub public: SecretString,
    /// The private key.
    pub private: SecretString,
}

/// The organization that a call is about.
#[derive(Clone, Debug)]
pub struct Organization {
    /// The base URL of its HTTP API.
    pub base_url: BaseUrl,
    /// Its id, 24 hexadecimal digits.
    pub org_id: String,
    /// Who may vouch for its server, beside the system's roots and those of [`super::HttpOptions`].
    pub roots: Option<Roots>,
}
