//! A CA of the simulator's own, and server certificates of all kinds from it.

use std::io;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// The certificate that the server shows.
#[derive(Clone, Debug)]
pub struct ServerCertificate {
    /// Its names: DNS names and IP addresses.
    pub names: Vec<String>,
    /// Its time is over.
    pub expired: bool,
    /// It is signed by a CA that nobody knows, not by that of [`crate::Simulator::ca_pem`].
    pub unknown_ca: bool,
}

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A key or a certificate.
    #[error("no certificate could be made: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The server's configuration.
    #[error("no TLS server could be configured: {0}")]
    Config(#[from] rustls::Error),
    /// The listener.
    #[error("the listener has no address: {0}")]
    Listener(#[from] io::Error),
}

/// A CA with its key.
pub(crate) struct CertificateAuthority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Default for ServerCertificate {
    /// A valid certificate for localhost, 127.0.0.1 and ::1.
    fn default() -> Self {
        let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec();
        Self { names, expired: false, unknown_ca: false }
    }
}

impl CertificateAuthority {
    pub(crate) fn generate() -> Result<Self, TlsError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new([])?;
        params.distinguished_name.push(DnType::CommonName, "Cloud Manager simulator CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let pem = params.self_signed(&key)?.pem();
        Ok(Self { pem, issuer: Issuer::new(params, key) })
    }

    pub(crate) fn pem(&self) -> String {
        self.pem.clone()
    }

    /// A TLS server with a new certificate.
    pub(crate) fn server_config(
        &self,
        certificate: &ServerCertificate,
    ) -> Result<Arc<ServerConfig>, TlsError> {
        if certificate.unknown_ca {
            let known = ServerCertificate { unknown_ca: false, ..certificate.clone() };
            return Self::generate()?.server_config(&known);
        }
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(certificate.names.clone())?;
        params.distinguished_name.push(DnType::CommonName, "Cloud Manager simulator");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        if certificate.expired {
            params.not_before = rcgen::date_time_ymd(2020, 1, 1);
            params.not_after = rcgen::date_time_ymd(2020, 2, 1);
        }
        let chain = vec![params.signed_by(&key, &self.issuer)?.der().clone()];
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        Ok(Arc::new(config))
    }
}
