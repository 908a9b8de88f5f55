//! Servers that cannot prove who they are. That nothing is sent to them is seen in what they decrypt: here they get to keep it.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::{Attack, Outcome, Round, Sent, challenge, synced};

fn untrusted(says: &'static str) -> Outcome {
    (&["TlsVerificationFailed"], says)
}

/// A CA that the operator trusts, and what it signs.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new([]).expect("parameters");
        params.distinguished_name.push(DnType::CommonName, "CA of a test");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// A server with a certificate for this name, of these years, that it shows so many times.
    fn serves(&self, name: &str, years: [i32; 2], times: usize) -> ServerConfig {
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
        [params.not_before, params.not_after] = years.map(|year| rcgen::date_time_ymd(year, 1, 1));
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        config(vec![certificate.der().clone(); times], &key)
    }
}

fn config(chain: Vec<CertificateDer<'static>>, key: &KeyPair) -> ServerConfig {
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    ServerConfig::builder_with_provider(aws_lc_rs::default_provider().into())
        .with_safe_default_protocol_versions()
        .expect("versions of TLS")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("a TLS server")
}

/// Certificates for somebody else, out of date, or of nobody that is known: `failures::tls` has what a person then reads.
#[tokio::test]
async fn who_cannot_prove_his_name_gets_not_a_byte() {
    let authority = Authority::new();
    let now = [2020, 4000];
    let own = {
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("parameters");
        let key = KeyPair::generate().expect("a key");
        config(vec![params.self_signed(&key).expect("a certificate").der().clone()], &key)
    };
    let shows = |name, outcome, config| Attack {
        tls: Some(config),
        ..Attack::at_once(name, outcome, |asked| match asked.authorization() {
            None => challenge("n"),
            Some(_) => synced(),
        })
    };
    let attacks = vec![
        // What is looked for is found where all is well.
        Attack {
            sent: Sent::Digest,
            ..shows("right", (&["Synced"], "SYNCED"), authority.serves("127.0.0.1", now, 1))
        },
        shows("another-name", untrusted("another host name"), authority.serves("om.example.com", now, 1)),
        shows("another-address", untrusted("another host name"), authority.serves("127.0.0.2", now, 1)),
        shows("expired", untrusted("expired"), authority.serves("127.0.0.1", [2020, 2021], 1)),
        shows("not-yet", untrusted("expired"), authority.serves("127.0.0.1", [3999, 4000], 1)),
        shows("of-its-own", untrusted("its issuer is not known"), own),
        shows(
            "of-an-unknown",
            untrusted("its issuer is not known"),
            Authority::new().serves("127.0.0.1", now, 1),
        ),
    ];
    Round { roots: Some(authority.pem.clone()), ..Round::of("text", attacks) }.run().await;
}
