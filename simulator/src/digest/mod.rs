//! HTTP Digest authentication as a server does it (RFC 7616, with the RFC 2069 form): what the challenge looks like,
//! which answers are accepted, and how nonces age. Written for this crate alone, so that it checks the client's
//! implementation instead of repeating it.

mod answer;
mod nonces;
mod verify;

use std::fmt::Write as _;
use std::time::Duration;

use md5::{Digest as _, Md5};
use serde::Serialize;
use sha2::Sha256;

pub(crate) use nonces::Nonces;
pub(crate) use verify::{Exchange, Verdict, verify};

/// The opaque value of every challenge that has one; a client must send it back unchanged.
const OPAQUE: &str = "bGlua3M+bGlua3M/";

/// The hash of a challenge, its `algorithm` directive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// `MD5`, what the live service is recorded to use.
    Md5,
    /// `SHA-256`, the default of Jetty 12.1.
    Sha256,
}

/// The server whose challenge form, nonce form and answers are taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// Jetty 9.4: the form of the recorded challenges of the live service.
    Jetty9,
    /// Jetty 12.1: opaque, charset and userhash, SHA-256, an unknown nonce is not called stale.
    Jetty12,
    /// Apache 2.4 mod_auth_digest: no domain, stale only where true, no book-keeping of nc.
    Apache,
}

/// How the challenge names the quality of protection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QopDirective {
    /// `qop="auth"`.
    Qop,
    /// Not at all, as RFC 2069 has it.
    Absent,
    /// `op="auth"`, as the vendor's documentation spells it.
    Op,
}

/// Which forms of answer are accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcceptedForm {
    /// Only with qop, nc and cnonce (RFC 7616).
    WithQop,
    /// Only without qop (RFC 2069).
    WithoutQop,
    /// Both.
    Either,
}

/// Everything in which digest servers differ.
#[derive(Clone, Debug)]
pub struct DigestPolicy {
    /// Form of the challenge and of its nonce.
    pub form: Preset,
    /// The realm: `MMS Public API`, as recorded.
    pub realm: String,
    /// The one algorithm offered and accepted.
    pub algorithm: Algorithm,
    /// How the challenge names the quality of protection.
    pub qop: QopDirective,
    /// Which answers are accepted.
    pub accepted_form: AcceptedForm,
    /// Age beyond which a nonce is answered with `stale=true`. Jetty: 60 s, Apache: 300 s.
    pub max_nonce_age: Duration,
    /// The nc from which on a nonce is answered with `stale=true`. Jetty: 1024; `None`: never.
    pub max_nonce_count: Option<u32>,
    /// A nc that was seen before on its nonce is refused, without `stale=true`. Any other order is accepted.
    pub refuse_repeated_nc: bool,
    /// A nonce that this backend never issued is answered with `stale=true`.
    pub unknown_nonce_is_stale: bool,
    /// Username and response are checked before the nonce is, so that `stale=true` also says that they were right (as
    /// Apache does). Otherwise the nonce comes first, and a wrong response uses up its nc (as Jetty does).
    pub credentials_first: bool,
}

/// What digest authentication made of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum DigestOutcome {
    /// No Authorization header: answered with a challenge.
    Challenge,
    /// Answered with a challenge that says `stale=true`.
    Stale,
    /// Answered with a challenge that says nothing about the cause.
    Rejected,
    /// The right answer to a valid nonce.
    Accepted,
}

/// Why an Authorization header was not accepted. Only the journal says it: a client sees a 401.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Refusal {
    /// Another scheme than Digest, a directive missing, twice or unreadable.
    Malformed,
    /// `algorithm` is not the challenge's (absent means MD5).
    AlgorithmDiffers,
    /// The nonce is past its age.
    NonceTooOld,
    /// nc is at or above the limit.
    NonceUsedUp,
    /// This backend did not issue the nonce, or has forgotten it.
    NonceUnknown,
    /// `opaque` was not sent back unchanged.
    OpaqueDiffers,
    /// The keys are right, but those of another organization.
    OtherOrganization,
    /// `qop` is missing, unwanted or not `auth`.
    QopDiffers,
    /// `realm` is not the challenge's.
    RealmDiffers,
    /// The nc was seen before on this nonce.
    RepeatedNc,
    /// `response` is not what the private key gives.
    ResponseDiffers,
    /// `uri` is not the path and query of the request.
    UriDiffers,
    /// No organization has this public key.
    UsernameUnknown,
}

impl Preset {
    /// The policy of a server as it was measured, realm as the live service has it.
    pub fn policy(self) -> DigestPolicy {
        DigestPolicy {
            form: self,
            realm: "MMS Public API".to_owned(),
            algorithm: if self == Self::Jetty12 { Algorithm::Sha256 } else { Algorithm::Md5 },
            qop: QopDirective::Qop,
            accepted_form: AcceptedForm::WithQop,
            max_nonce_age: Duration::from_secs(if self == Self::Apache { 300 } else { 60 }),
            max_nonce_count: if self == Self::Apache { None } else { Some(1024) },
            refuse_repeated_nc: self != Self::Apache,
            unknown_nonce_is_stale: self != Self::Jetty12,
            credentials_first: self == Self::Apache,
        }
    }
}

impl DigestPolicy {
    /// The value of a `WWW-Authenticate` header.
    pub(crate) fn challenge(&self, nonce: &str, stale: bool) -> String {
        let algorithm = self.algorithm.name();
        let realm = &self.realm;
        let qop = match self.qop {
            QopDirective::Qop => ", qop=\"auth\"",
            QopDirective::Absent => "",
            QopDirective::Op => ", op=\"auth\"",
        };
        match self.form {
            Preset::Jetty9 => format!(
                "Digest realm=\"{realm}\", domain=\"\", nonce=\"{nonce}\", algorithm={algorithm}{qop}, stale={stale}"
            ),
            Preset::Jetty12 => format!(
                "Digest realm=\"{realm}\", domain=\"\", nonce=\"{nonce}\", opaque=\"{OPAQUE}\", \
                 algorithm={algorithm}{qop}, stale={stale}, charset=UTF-8, userhash=false"
            ),
            Preset::Apache => {
                let stale = if stale { ", stale=true" } else { "" };
                format!("Digest realm=\"{realm}\", nonce=\"{nonce}\", algorithm={algorithm}{stale}{qop}")
            }
        }
    }

    fn is_stale(&self, refusal: Refusal) -> bool {
        match refusal {
            Refusal::NonceTooOld | Refusal::NonceUsedUp => true,
            Refusal::NonceUnknown => self.unknown_nonce_is_stale,
            _ => false,
        }
    }
}

impl Algorithm {
    fn name(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Sha256 => "SHA-256",
        }
    }

    /// The hash of `text` in lower-case hexadecimal digits.
    fn hash(self, text: &str) -> String {
        match self {
            Self::Md5 => hex(&Md5::digest(text)),
            Self::Sha256 => hex(&Sha256::digest(text)),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_preset_has_its_servers_challenge() {
        for (preset, fresh, stale) in [
            (
                Preset::Jetty9,
                r#"Digest realm="MMS Public API", domain="", nonce="N=", algorithm=MD5, qop="auth", stale=false"#,
                r#"Digest realm="MMS Public API", domain="", nonce="N=", algorithm=MD5, qop="auth", stale=true"#,
            ),
            (
                Preset::Jetty12,
                r#"Digest realm="MMS Public API", domain="", nonce="N=", opaque="bGlua3M+bGlua3M/", algorithm=SHA-256, qop="auth", stale=false, charset=UTF-8, userhash=false"#,
                r#"Digest realm="MMS Public API", domain="", nonce="N=", opaque="bGlua3M+bGlua3M/", algorithm=SHA-256, qop="auth", stale=true, charset=UTF-8, userhash=false"#,
            ),
            (
                Preset::Apache,
                r#"Digest realm="MMS Public API", nonce="N=", algorithm=MD5, qop="auth""#,
                r#"Digest realm="MMS Public API", nonce="N=", algorithm=MD5, stale=true, qop="auth""#,
            ),
        ] {
            assert_eq!(preset.policy().challenge("N=", false), fresh);
            assert_eq!(preset.policy().challenge("N=", true), stale);
        }
    }

    #[test]
    fn qop_can_be_absent_or_misspelt() {
        let mut policy = Preset::Jetty9.policy();
        policy.qop = QopDirective::Absent;
        assert!(policy.challenge("n", false).ends_with("algorithm=MD5, stale=false"));
        policy.qop = QopDirective::Op;
        assert!(policy.challenge("n", false).ends_with("algorithm=MD5, op=\"auth\", stale=false"));
    }
}
