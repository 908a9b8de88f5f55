//! Is this answer right? Every directive is compared, none less than a real server would.

use tokio::time::Instant;

use super::answer::Answer;
use super::{AcceptedForm, Algorithm, DigestOutcome, DigestPolicy, Nonces, OPAQUE, Preset, Refusal};
use crate::organizations::ApiKeys;

/// The parts of a request that a digest is about.
pub(crate) struct Exchange<'a> {
    pub(crate) method: &'a str,
    /// Path and query exactly as sent.
    pub(crate) target: &'a str,
    /// The Authorization header; what is not visible ASCII comes as an empty text.
    pub(crate) authorization: Option<&'a str>,
    /// Which backend the request went to.
    pub(crate) backend: usize,
    pub(crate) now: Instant,
}

/// What [`verify`] found.
pub(crate) struct Verdict {
    pub(crate) outcome: DigestOutcome,
    pub(crate) refusal: Option<Refusal>,
    /// The number of the answer's nonce, if this backend knows it.
    pub(crate) nonce: Option<u64>,
    /// The answer's nc.
    pub(crate) nc: Option<u32>,
    /// The keys that the answer was made with, once it is accepted.
    pub(crate) keys: Option<ApiKeys>,
}

/// Verifies the answer of a request. `candidates` gives the keys that have this public key as their username.
pub(crate) fn verify(
    policy: &DigestPolicy,
    nonces: &mut Nonces,
    exchange: &Exchange<'_>,
    candidates: impl FnOnce(&str) -> Vec<ApiKeys>,
) -> Verdict {
    let verdict =
        |outcome, refusal| Verdict { outcome, refusal: Some(refusal), nonce: None, nc: None, keys: None };
    let Some(header) = exchange.authorization else {
        return Verdict { refusal: None, ..verdict(DigestOutcome::Challenge, Refusal::Malformed) };
    };
    let Some(answer) = Answer::parse(header) else {
        return verdict(DigestOutcome::Rejected, Refusal::Malformed);
    };
    let nonce = nonces.id(exchange.backend, &answer.nonce);
    let nc = answer.protection.as_ref().map(|protection| protection.nc);
    let mut use_up = || nonces.use_up(exchange.backend, &answer.nonce, nc, policy, exchange.now);
    let credentials = || credentials(policy, exchange, &answer, candidates);
    let result = if policy.credentials_first {
        credentials().and_then(|keys| use_up().map(|()| keys))
    } else {
        use_up().and_then(|()| credentials())
    };
    match result {
        Ok(keys) => Verdict { outcome: DigestOutcome::Accepted, refusal: None, nonce, nc, keys: Some(keys) },
        Err(refusal) => {
            let stale = policy.is_stale(refusal);
            let outcome = if stale { DigestOutcome::Stale } else { DigestOutcome::Rejected };
            Verdict { nonce, nc, ..verdict(outcome, refusal) }
        }
    }
}

fn credentials(
    policy: &DigestPolicy,
    exchange: &Exchange<'_>,
    answer: &Answer,
    candidates: impl FnOnce(&str) -> Vec<ApiKeys>,
) -> Result<ApiKeys, Refusal> {
    if answer.realm != policy.realm {
        return Err(Refusal::RealmDiffers);
    }
    if answer.uri != exchange.target {
        return Err(Refusal::UriDiffers);
    }
    if !answer.algorithm.as_deref().unwrap_or("MD5").eq_ignore_ascii_case(policy.algorithm.name()) {
        return Err(Refusal::AlgorithmDiffers);
    }
    if policy.form == Preset::Jetty12 && answer.opaque.as_deref() != Some(OPAQUE) {
        return Err(Refusal::OpaqueDiffers);
    }
    let form_accepted = match &answer.protection {
        Some(protection) => protection.qop == "auth" && policy.accepted_form != AcceptedForm::WithoutQop,
        None => policy.accepted_form != AcceptedForm::WithQop,
    };
    if !form_accepted {
        return Err(Refusal::QopDiffers);
    }
    let candidates = candidates(&answer.username);
    if candidates.is_empty() {
        return Err(Refusal::UsernameUnknown);
    }
    candidates
        .into_iter()
        .find(|keys| {
            answer.response == response(policy.algorithm, answer, exchange.method, &keys.private_key)
        })
        .ok_or(Refusal::ResponseDiffers)
}

/// RFC 7616 §3.4.1, and RFC 2069 §2.1.1 for an answer without qop.
fn response(algorithm: Algorithm, answer: &Answer, method: &str, private_key: &str) -> String {
    let Answer { username, realm, nonce, uri, .. } = answer;
    let secret = algorithm.hash(&format!("{username}:{realm}:{private_key}"));
    let request = algorithm.hash(&format!("{method}:{uri}"));
    let data = match &answer.protection {
        Some(p) => format!("{nonce}:{}:{}:{}:{request}", p.nc_text, p.cnonce, p.qop),
        None => format!("{nonce}:{request}"),
    };
    algorithm.hash(&format!("{secret}:{data}"))
}

#[cfg(test)]
mod tests;
