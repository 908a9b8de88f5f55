//! The published test vectors, each directive, and each cell of the table of measured servers.

use std::time::Duration;

use super::*;
use crate::digest::QopDirective;

const TARGET: &str = "/api/public/v1.0/orgs/5f/liveExport/migrationLink?pretty=false";
const POST: &str = "POST";

/// A server with one user, and a client that knows everything.
struct Setup {
    policy: DigestPolicy,
    nonces: Nonces,
    now: Instant,
}

/// An answer before it is hashed; a test changes what it wants wrong.
struct Draft {
    directives: String,
    method: &'static str,
    private_key: &'static str,
}

impl Setup {
    fn new(preset: Preset) -> Self {
        Self { policy: preset.policy(), nonces: Nonces::default(), now: Instant::now() }
    }

    fn nonce(&mut self) -> String {
        self.nonces.issue(0, self.policy.form, self.now)
    }

    /// The right answer.
    fn draft(&self, nonce: &str, nc: u32) -> Draft {
        let algorithm = self.policy.algorithm.name();
        let opaque = if self.policy.form == Preset::Jetty12 {
            format!(", opaque=\"{OPAQUE}\"")
        } else {
            String::new()
        };
        let directives = format!(
            "username=\"public\", realm=\"MMS Public API\", nonce=\"{nonce}\", uri=\"{TARGET}\", \
             algorithm={algorithm}{opaque}, nc={nc:08x}, cnonce=\"abc\", qop=auth"
        );
        Draft { directives, method: POST, private_key: "private" }
    }

    /// The right answer in the form of RFC 2069.
    fn draft_without_qop(&self, nonce: &str) -> Draft {
        let draft = self.draft(nonce, 1);
        Draft { directives: draft.directives.replace(", nc=00000001, cnonce=\"abc\", qop=auth", ""), ..draft }
    }

    /// Sends a draft, hashed, to backend 0.
    fn send(&mut self, draft: &Draft) -> (DigestOutcome, Option<Refusal>) {
        let unhashed = format!("Digest {}, response=\"\"", draft.directives);
        let answer = Answer::parse(&unhashed).unwrap();
        let response = response(self.policy.algorithm, &answer, draft.method, draft.private_key);
        self.send_header(Some(&format!("Digest {}, response=\"{response}\"", draft.directives)))
    }

    fn send_header(&mut self, authorization: Option<&str>) -> (DigestOutcome, Option<Refusal>) {
        let exchange = Exchange { method: POST, target: TARGET, authorization, backend: 0, now: self.now };
        let verdict = verify(&self.policy, &mut self.nonces, &exchange, |public_key| {
            if public_key == "public" { vec![ApiKeys::new("public", "private")] } else { Vec::new() }
        });
        assert_eq!(verdict.keys.is_some(), verdict.outcome == DigestOutcome::Accepted);
        (verdict.outcome, verdict.refusal)
    }
}

const ACCEPTED: (DigestOutcome, Option<Refusal>) = (DigestOutcome::Accepted, None);

fn rejected(refusal: Refusal) -> (DigestOutcome, Option<Refusal>) {
    (DigestOutcome::Rejected, Some(refusal))
}

fn stale(refusal: Refusal) -> (DigestOutcome, Option<Refusal>) {
    (DigestOutcome::Stale, Some(refusal))
}

#[test]
fn published_vectors_are_computed() {
    // RFC 7616 §3.9.1.
    let rfc_7616 = |algorithm: Algorithm, expected: &str| {
        let header = format!(
            "Digest username=\"Mufasa\", realm=\"http-auth@example.org\", uri=\"/dir/index.html\", algorithm={}, \
             nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", nc=00000001, \
             cnonce=\"f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ\", qop=auth, response=\"\", \
             opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\"",
            algorithm.name()
        );
        let answer = Answer::parse(&header).unwrap();
        assert_eq!(response(algorithm, &answer, "GET", "Circle of Life"), expected);
    };
    rfc_7616(Algorithm::Md5, "8ca523f5e9506fed4657c9700eebdbec");
    rfc_7616(Algorithm::Sha256, "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1");

    // RFC 2617 §3.5, and RFC 2069 §2.4 with its erratum 749.
    let common = "username=\"Mufasa\", realm=\"testrealm@host.com\", uri=\"/dir/index.html\", response=\"\", \
                  nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\", opaque=\"5ccc069c403ebaf9f0171e9517f40e41\"";
    let rfc_2617 =
        Answer::parse(&format!("Digest {common}, qop=auth, nc=00000001, cnonce=\"0a4f113b\"")).unwrap();
    let expected = "6629fae49393a05397450978507c4ef1";
    assert_eq!(response(Algorithm::Md5, &rfc_2617, "GET", "Circle Of Life"), expected);
    let rfc_2069 = Answer::parse(&format!("Digest {common}")).unwrap();
    let expected = "1949323746fe6a43ef61f9606e7febea";
    assert_eq!(response(Algorithm::Md5, &rfc_2069, "GET", "CircleOfLife"), expected);
}

#[test]
fn without_an_authorization_header_there_is_only_a_challenge() {
    assert_eq!(Setup::new(Preset::Jetty9).send_header(None), (DigestOutcome::Challenge, None));
}

#[test]
fn every_directive_is_compared() {
    for preset in [Preset::Jetty9, Preset::Jetty12, Preset::Apache] {
        let mut setup = Setup::new(preset);
        let nonce = setup.nonce();
        assert_eq!(setup.send(&setup.draft(&nonce, 1)), ACCEPTED);

        let other_algorithm = if preset == Preset::Jetty12 { ("SHA-256", "MD5") } else { ("MD5", "SHA-256") };
        let mut changes = vec![
            (("public", "nobody"), Refusal::UsernameUnknown),
            (("MMS Public API", "mms public api"), Refusal::RealmDiffers),
            (("?pretty=false", ""), Refusal::UriDiffers),
            (("migrationLink", "migrationLink/status"), Refusal::UriDiffers),
            (("qop=auth", "qop=auth-int"), Refusal::QopDiffers),
            (other_algorithm, Refusal::AlgorithmDiffers),
        ];
        if preset == Preset::Jetty12 {
            changes.push((("opaque=\"bGl", "opaque=\"aGl"), Refusal::OpaqueDiffers));
            changes.push(((", opaque=\"bGlua3M+bGlua3M/\"", ""), Refusal::OpaqueDiffers));
            changes.push(((", algorithm=SHA-256", ""), Refusal::AlgorithmDiffers));
        }
        for (nc, ((from, to), refusal)) in (2..).zip(changes) {
            let draft = setup.draft(&nonce, nc);
            let directives = draft.directives.replacen(from, to, 1);
            assert_ne!(directives, draft.directives);
            assert_eq!(setup.send(&Draft { directives, ..draft }), rejected(refusal), "{from} {to}");
        }

        let wrong_key = Draft { private_key: "wrong", ..setup.draft(&nonce, 50) };
        assert_eq!(setup.send(&wrong_key), rejected(Refusal::ResponseDiffers));
        let wrong_method = Draft { method: "GET", ..setup.draft(&nonce, 51) };
        assert_eq!(setup.send(&wrong_method), rejected(Refusal::ResponseDiffers));
        assert_eq!(setup.send_header(Some("Basic cHVibGljOnByaXZhdGU=")), rejected(Refusal::Malformed));
        assert_eq!(setup.send_header(Some("")), rejected(Refusal::Malformed));
    }
}

#[test]
fn nc_and_cnonce_are_part_of_the_response() {
    let mut setup = Setup::new(Preset::Jetty9);
    let nonce = setup.nonce();
    let draft = setup.draft(&nonce, 1);
    let unhashed = format!("Digest {}, response=\"\"", draft.directives);
    let response = response(Algorithm::Md5, &Answer::parse(&unhashed).unwrap(), POST, "private");
    for (from, to) in [("nc=00000001", "nc=00000002"), ("\"abc\"", "\"abd\"")] {
        let header = format!("Digest {}, response=\"{response}\"", draft.directives.replace(from, to));
        assert_eq!(setup.send_header(Some(&header)), rejected(Refusal::ResponseDiffers));
    }
}

#[test]
fn the_counts_1_1_5_3_3_2_on_one_nonce() {
    for (preset, repeated) in [
        (Preset::Jetty9, rejected(Refusal::RepeatedNc)),
        (Preset::Jetty12, rejected(Refusal::RepeatedNc)),
        (Preset::Apache, ACCEPTED),
    ] {
        let mut setup = Setup::new(preset);
        let nonce = setup.nonce();
        let outcomes = [1, 1, 5, 3, 3, 2].map(|nc| setup.send(&setup.draft(&nonce, nc)));
        assert_eq!(outcomes, [ACCEPTED, repeated, ACCEPTED, ACCEPTED, repeated, ACCEPTED], "{preset:?}");
    }
}

#[test]
fn a_count_above_the_limit() {
    for preset in [Preset::Jetty9, Preset::Jetty12] {
        let mut setup = Setup::new(preset);
        let nonce = setup.nonce();
        assert_eq!(setup.send(&setup.draft(&nonce, 1023)), ACCEPTED);
        assert_eq!(setup.send(&setup.draft(&nonce, 1024)), stale(Refusal::NonceUsedUp));
        setup.policy.max_nonce_count = Some(3);
        assert_eq!(setup.send(&setup.draft(&nonce, 2)), ACCEPTED);
        assert_eq!(setup.send(&setup.draft(&nonce, 3)), stale(Refusal::NonceUsedUp));
    }
    let mut apache = Setup::new(Preset::Apache);
    let nonce = apache.nonce();
    assert_eq!(apache.send(&apache.draft(&nonce, 100_000)), ACCEPTED);
}

#[test]
fn a_nonce_that_was_never_issued_here() {
    for (preset, expected) in [
        (Preset::Jetty9, stale(Refusal::NonceUnknown)),
        (Preset::Jetty12, rejected(Refusal::NonceUnknown)),
        (Preset::Apache, stale(Refusal::NonceUnknown)),
    ] {
        let mut setup = Setup::new(preset);
        let of_another_backend = setup.nonces.issue(1, preset, setup.now);
        assert_eq!(setup.send(&setup.draft(&of_another_backend, 1)), expected);
        let forgotten = setup.nonce();
        setup.nonces.forget();
        assert_eq!(setup.send(&setup.draft(&forgotten, 1)), expected);
    }
}

#[test]
fn a_nonce_past_its_age() {
    for preset in [Preset::Jetty9, Preset::Jetty12, Preset::Apache] {
        let mut setup = Setup::new(preset);
        let nonce = setup.nonce();
        setup.now += setup.policy.max_nonce_age;
        assert_eq!(setup.send(&setup.draft(&nonce, 1)), ACCEPTED);
        setup.now += Duration::from_millis(1);
        assert_eq!(setup.send(&setup.draft(&nonce, 2)), stale(Refusal::NonceTooOld));
    }
}

#[test]
fn an_answer_without_qop() {
    for preset in [Preset::Jetty9, Preset::Jetty12, Preset::Apache] {
        let mut setup = Setup::new(preset);
        let nonce = setup.nonce();
        assert_eq!(setup.send(&setup.draft_without_qop(&nonce)), rejected(Refusal::QopDiffers));
    }
}

#[test]
fn a_server_of_rfc_2069_accepts_only_answers_without_qop() {
    let mut setup = Setup::new(Preset::Jetty9);
    setup.policy.qop = QopDirective::Absent;
    setup.policy.accepted_form = AcceptedForm::WithoutQop;
    let nonce = setup.nonce();
    assert_eq!(setup.send(&setup.draft_without_qop(&nonce)), ACCEPTED);
    assert_eq!(setup.send(&setup.draft_without_qop(&nonce)), ACCEPTED);
    assert_eq!(setup.send(&setup.draft(&nonce, 1)), rejected(Refusal::QopDiffers));
    setup.policy.accepted_form = AcceptedForm::Either;
    assert_eq!(setup.send(&setup.draft(&nonce, 2)), ACCEPTED);
    assert_eq!(setup.send(&setup.draft_without_qop(&nonce)), ACCEPTED);
}

#[test]
fn stale_is_said_before_the_credentials_are_looked_at_by_jetty_and_after_by_apache() {
    for (preset, expected) in [
        (Preset::Jetty9, stale(Refusal::NonceTooOld)),
        (Preset::Jetty12, stale(Refusal::NonceTooOld)),
        (Preset::Apache, rejected(Refusal::ResponseDiffers)),
    ] {
        let mut setup = Setup::new(preset);
        let nonce = setup.nonce();
        setup.now += Duration::from_hours(1);
        let wrong_key = Draft { private_key: "wrong", ..setup.draft(&nonce, 1) };
        assert_eq!(setup.send(&wrong_key), expected);
    }
}

#[test]
fn a_wrong_response_uses_up_its_nc() {
    let mut setup = Setup::new(Preset::Jetty9);
    let nonce = setup.nonce();
    let wrong_key = Draft { private_key: "wrong", ..setup.draft(&nonce, 1) };
    assert_eq!(setup.send(&wrong_key), rejected(Refusal::ResponseDiffers));
    assert_eq!(setup.send(&setup.draft(&nonce, 1)), rejected(Refusal::RepeatedNc));
}
