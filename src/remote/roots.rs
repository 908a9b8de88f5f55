//! Root certificates that are trusted for some requests and for no other.

use std::fmt;
use std::sync::Arc;

use reqwest::Certificate;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use sha2::{Digest, Sha256};

/// The largest PEM that is read as [`Roots`].
const LARGEST: usize = 256 * 1024;

/// Root certificates in addition to those of the system and the operator. A clone costs nothing; two are equal if they
/// hold the same certificates in the same order, whatever else was in the PEM.
#[derive(Clone)]
pub struct Roots {
    certificates: Arc<[CertificateDer<'static>]>,
    id: RootsId,
}

/// What roots are known by: a hash of the certificates, so that whoever remembers it keeps none of them in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct RootsId([u8; 32]);

/// Why a PEM holds no [`Roots`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRoots {
    /// It is too large.
    #[error("it is larger than 256 KiB")]
    TooLarge,
    /// There is none.
    #[error("it holds no certificate in PEM form")]
    NoCertificate,
    /// This one, counted from 1, is damaged.
    #[error("its certificate number {0} cannot be read")]
    Unreadable(usize),
}

impl Roots {
    /// Reads a PEM: at least one certificate, and all of them readable.
    ///
    /// # Errors
    /// [`InvalidRoots`].
    pub fn from_pem(pem: &[u8]) -> Result<Self, InvalidRoots> {
        if pem.len() > LARGEST { Err(InvalidRoots::TooLarge) } else { read(pem).map(Self::from) }
    }

    /// The certificates, for reqwest.
    pub(super) fn certificates(&self) -> reqwest::Result<Vec<Certificate>> {
        self.certificates.iter().map(|certificate| Certificate::from_der(certificate)).collect()
    }

    /// What they are known by.
    pub(super) fn id(&self) -> RootsId {
        self.id
    }
}

impl PartialEq for Roots {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for Roots {}

impl From<Vec<CertificateDer<'static>>> for Roots {
    fn from(certificates: Vec<CertificateDer<'static>>) -> Self {
        let mut hash = Sha256::new();
        for certificate in &certificates {
            hash.update((certificate.len() as u64).to_be_bytes());
            hash.update(certificate);
        }
        Self { certificates: certificates.into(), id: RootsId(hash.finalize().into()) }
    }
}

impl fmt::Debug for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Roots({})", self.certificates.len())
    }
}

/// The certificates in a PEM. reqwest looks into them only when its client is built, and then says no more than that.
pub(super) fn read(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, InvalidRoots> {
    let mut certificates = Vec::new();
    for (index, certificate) in CertificateDer::pem_slice_iter(pem).enumerate() {
        let unreadable = InvalidRoots::Unreadable(index + 1);
        let certificate = certificate.map_err(|_| unreadable)?;
        RootCertStore::empty().add(certificate.clone()).map_err(|_| unreadable)?;
        certificates.push(certificate);
    }
    if certificates.is_empty() { Err(InvalidRoots::NoCertificate) } else { Ok(certificates) }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    fn pem() -> String {
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()
    }

    #[test]
    fn roots_are_equal_by_their_certificates() {
        let (one, two) = (pem(), pem());
        let roots = |pem: &str| Roots::from_pem(pem.as_bytes()).unwrap();
        assert_eq!(roots(&one), roots(&format!("# the company's root\r\n{}\n", one.replace('\n', "\r\n"))));
        assert_ne!(roots(&one), roots(&two));
        assert_ne!(roots(&one), roots(&format!("{one}{two}")));
        assert_eq!(format!("{:?}", roots(&format!("{one}{two}"))), "Roots(2)");
    }

    #[test]
    fn each_certificate_must_be_readable_and_there_must_be_one() {
        let good = pem();
        let key = KeyPair::generate().unwrap().serialize_pem();
        let outside_only = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let (cut, _) = good.split_at(good.len() / 2);
        for (text, expected) in [
            (String::new(), InvalidRoots::NoCertificate),
            ("no certificate".to_owned(), InvalidRoots::NoCertificate),
            (key, InvalidRoots::NoCertificate),
            (outside_only.to_owned(), InvalidRoots::Unreadable(1)),
            (format!("{good}{outside_only}"), InvalidRoots::Unreadable(2)),
            (format!("{good}{cut}"), InvalidRoots::Unreadable(2)),
            (good.replace('M', "!"), InvalidRoots::Unreadable(1)),
            (format!("{good}{}", " ".repeat(LARGEST)), InvalidRoots::TooLarge),
        ] {
            assert_eq!(Roots::from_pem(text.as_bytes()), Err(expected), "{text}");
        }
        assert_eq!(Roots::from_pem(&[0xff; 100]), Err(InvalidRoots::NoCertificate));
        assert_eq!(InvalidRoots::Unreadable(2).to_string(), "its certificate number 2 cannot be read");
    }
}
