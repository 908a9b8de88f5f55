//! Scripted behaviours: what goes wrong, for which requests, and how often.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A deviation from what would be answered, for the requests that it matches. Of several that match a request the one
/// scripted first applies. As JSON (control API) the names are in camel case.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Behaviour {
    /// Only requests with this method; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Only requests for this organization; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub org_id: Option<String>,
    /// Only requests in this phase of the digest.
    #[serde(default)]
    pub phase: Phase,
    /// How many more requests it applies to; absent: all until it is cleared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
    /// Milliseconds before the answer, beside the configured latency.
    #[serde(default)]
    pub delay_ms: u64,
    /// The request is carried out, at once on its arrival, and then answered in this way. Otherwise it has no effect.
    #[serde(default)]
    pub after_effect: bool,
    /// What the client gets.
    pub answer: Answer,
}

/// Where in the digest exchange a request stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Phase {
    /// Everywhere, refused answers included.
    #[default]
    Any,
    /// Without an Authorization header.
    Challenge,
    /// With a right answer to a valid nonce.
    Authenticated,
}

/// What a scripted behaviour answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum Answer {
    /// What would have been answered anyway: for a delay alone. Always has its effect.
    Normal,
    /// An error in the API's form.
    Error {
        /// The HTTP status, `error` in the body.
        status: u16,
        /// `errorCode` in the body.
        error_code: String,
        /// `detail` in the body.
        #[serde(default)]
        detail: String,
        /// `parameters` in the body, `null` if there are none.
        #[serde(default)]
        parameters: Vec<Value>,
        /// A Retry-After header.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after: Option<RetryAfter>,
    },
    /// 429 `RATE_LIMITED`.
    RateLimited {
        /// A Retry-After header.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after: Option<RetryAfter>,
    },
    /// 405 `WRITES_NOT_ALLOWED_DURING_APP_UPGRADES`.
    Upgrading,
    /// 403 `IP_ADDRESS_NOT_ON_ACCESS_LIST` with the refused address in detail and parameters.
    NotOnAccessList {
        /// The refused address.
        address: String,
    },
    /// 401 with a new challenge, whatever the client sent.
    Unauthorized {
        /// What the challenge says about `stale`.
        stale: bool,
    },
    /// A page as a proxy or load balancer answers.
    Html {
        /// The HTTP status.
        status: u16,
    },
    /// A redirect without a body.
    Redirect {
        /// 301, 302, 307 or 308.
        status: u16,
        /// The Location header.
        location: String,
    },
    /// Exactly this.
    Raw {
        /// The HTTP status.
        status: u16,
        /// Headers, Content-Type included.
        #[serde(default)]
        headers: BTreeMap<String, String>,
        /// The body.
        #[serde(default)]
        body: String,
    },
    /// A JSON body that never ends.
    EndlessBody {
        /// The HTTP status.
        status: u16,
    },
    /// The normal answer, its body one byte at a time. Always has its effect.
    SlowBody {
        /// Milliseconds before each byte.
        interval_ms: u64,
    },
    /// The head of the normal answer and half of its body, then the connection ends. Always has its effect.
    TruncatedBody,
    /// No answer; the connection stays open.
    Hang,
    /// No answer; the connection is reset (TCP RST). In-process: see [`crate::ConnectionReset`].
    Reset,
    /// The TLS handshake of a new connection is broken off, before any request: method, organization, phase, delay
    /// and effect mean nothing. Plain and in-process requests do not meet it.
    BreakTlsHandshake,
}

/// A Retry-After header (RFC 9110 §10.2.3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RetryAfter {
    /// A number of seconds.
    Seconds(u64),
    /// An HTTP-date that lies this many seconds ahead of the wall clock.
    DateIn(u64),
    /// This text, readable or not.
    Text(String),
}

/// The behaviours that are still to come, in the order in which they were scripted.
#[derive(Default)]
pub(crate) struct Script(Vec<Behaviour>);

impl Behaviour {
    /// An answer to every request, until it is cleared. The other methods narrow it.
    pub fn new(answer: Answer) -> Self {
        Self {
            method: None,
            org_id: None,
            phase: Phase::Any,
            times: None,
            delay_ms: 0,
            after_effect: false,
            answer,
        }
    }

    /// Only for requests with this method.
    #[must_use]
    pub fn on_method(mut self, method: &str) -> Self {
        self.method = Some(method.to_owned());
        self
    }

    /// Only for requests for this organization.
    #[must_use]
    pub fn on_organization(mut self, org_id: &str) -> Self {
        self.org_id = Some(org_id.to_owned());
        self
    }

    /// Only for requests in this phase.
    #[must_use]
    pub fn in_phase(mut self, phase: Phase) -> Self {
        self.phase = phase;
        self
    }

    /// Only for the next `times` requests.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }

    /// Answers this much later, beside the configured latency; counted in milliseconds.
    #[must_use]
    pub fn delayed(mut self, delay: Duration) -> Self {
        self.delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        self
    }

    /// Carries the request out before answering in this way.
    #[must_use]
    pub fn after_effect(mut self) -> Self {
        self.after_effect = true;
        self
    }

    fn matches(&self, method: &str, org_id: Option<&str>, phase: Phase) -> bool {
        !matches!(self.answer, Answer::BreakTlsHandshake)
            && self.method.as_deref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(method))
            && self.org_id.as_deref().is_none_or(|wanted| Some(wanted) == org_id)
            && (self.phase == Phase::Any || self.phase == phase)
    }
}

impl Answer {
    /// The kind, as JSON has it: for the journal.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Error { .. } => "error",
            Self::RateLimited { .. } => "rateLimited",
            Self::Upgrading => "upgrading",
            Self::NotOnAccessList { .. } => "notOnAccessList",
            Self::Unauthorized { .. } => "unauthorized",
            Self::Html { .. } => "html",
            Self::Redirect { .. } => "redirect",
            Self::Raw { .. } => "raw",
            Self::EndlessBody { .. } => "endlessBody",
            Self::SlowBody { .. } => "slowBody",
            Self::TruncatedBody => "truncatedBody",
            Self::Hang => "hang",
            Self::Reset => "reset",
            Self::BreakTlsHandshake => "breakTlsHandshake",
        }
    }

    /// Whether the answer is made from that of the request carried out.
    pub(crate) fn needs_effect(&self) -> bool {
        matches!(self, Self::Normal | Self::SlowBody { .. } | Self::TruncatedBody)
    }
}

impl Script {
    pub(crate) fn push(&mut self, behaviour: Behaviour) {
        if behaviour.times != Some(0) {
            self.0.push(behaviour);
        }
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    pub(crate) fn remaining(&self) -> &[Behaviour] {
        &self.0
    }

    /// The behaviour for a request, counted down.
    pub(crate) fn next(&mut self, method: &str, org_id: Option<&str>, phase: Phase) -> Option<Behaviour> {
        self.take(|behaviour| behaviour.matches(method, org_id, phase))
    }

    /// Whether the handshake that begins now is to be broken off, counted down.
    pub(crate) fn breaks_tls_handshake(&mut self) -> bool {
        self.take(|behaviour| matches!(behaviour.answer, Answer::BreakTlsHandshake)).is_some()
    }

    fn take(&mut self, matches: impl Fn(&Behaviour) -> bool) -> Option<Behaviour> {
        let index = self.0.iter().position(matches)?;
        let behaviour = self.0.get_mut(index)?;
        let taken = behaviour.clone();
        if let Some(times) = &mut behaviour.times {
            *times -= 1;
            if *times == 0 {
                self.0.remove(index);
            }
        }
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_that_matches_applies_and_is_counted_down() {
        let mut script = Script::default();
        script.push(Behaviour::new(Answer::Upgrading).on_method("POST").times(2));
        script.push(Behaviour::new(Answer::Hang).on_organization("a").in_phase(Phase::Authenticated));
        script.push(Behaviour::new(Answer::Reset).times(0));
        let mut next = |method, org, phase| script.next(method, Some(org), phase).map(|b| b.answer.kind());
        assert_eq!(next("GET", "b", Phase::Authenticated), None);
        assert_eq!(next("GET", "a", Phase::Challenge), None);
        assert_eq!(next("GET", "a", Phase::Authenticated), Some("hang"));
        assert_eq!(next("POST", "a", Phase::Authenticated), Some("upgrading"));
        assert_eq!(next("POST", "b", Phase::Challenge), Some("upgrading"));
        assert_eq!(next("POST", "a", Phase::Authenticated), Some("hang"));
        assert_eq!(next("POST", "b", Phase::Any), None);
        script.clear();
        assert!(script.remaining().is_empty());
    }

    #[test]
    fn a_broken_handshake_is_no_answer_to_a_request() {
        let mut script = Script::default();
        script.push(Behaviour::new(Answer::BreakTlsHandshake).times(1));
        assert!(script.next("GET", None, Phase::Any).is_none());
        assert!(script.breaks_tls_handshake());
        assert!(!script.breaks_tls_handshake());
    }

    #[test]
    fn json_has_the_names_of_the_documentation() {
        let read = |text| serde_json::from_str::<Behaviour>(text);
        let json = r#"{"method":"POST","orgId":"a","phase":"authenticated","times":3,"delayMs":10,"afterEffect":true,
            "answer":{"kind":"error","status":429,"errorCode":"RATE_LIMITED","retryAfter":{"seconds":30}}}"#;
        let behaviour = read(json).unwrap();
        assert_eq!(behaviour.times, Some(3));
        assert!(matches!(
            behaviour.answer,
            Answer::Error { status: 429, retry_after: Some(RetryAfter::Seconds(30)), .. }
        ));
        assert!(matches!(read(r#"{"answer":{"kind":"hang"}}"#).unwrap().answer, Answer::Hang));
        assert!(read(r#"{"answer":{"kind":"hang"},"time":1}"#).is_err());
        assert!(read(r#"{"answer":{"kind":"raw","status":200,"content":1}}"#).is_err());
    }

    #[test]
    fn the_kind_in_the_journal_is_that_of_the_json() {
        for answer in [Answer::Normal, Answer::BreakTlsHandshake, Answer::SlowBody { interval_ms: 1 }] {
            assert_eq!(serde_json::to_value(&answer).unwrap()["kind"], answer.kind());
        }
    }
}
