//! HTTP Digest (RFC 7616, RFC 2617, RFC 2069): which challenge to answer, and how. `http-auth` parses and hashes; what
//! real servers do differently is put right before.

use http::header::{HeaderValue, WWW_AUTHENTICATE};
use http::{HeaderMap, Method};
use http_auth::digest::{Algorithm, DigestClient, Qop};
use http_auth::parser::ChallengeParser;
use http_auth::{ChallengeRef, ParamValue, PasswordParams};
use secrecy::ExposeSecret;

use super::organization::ApiKeys;

/// The longest header value that is looked at. What is in a challenge is kept, and real ones have some 200 bytes.
const LONGEST: usize = 2 * 1024;

/// The algorithms of RFC 7616 §3.3, spelled as `http-auth` wants them.
const ALGORITHMS: [&str; 6] =
    ["MD5", "MD5-sess", "SHA-256", "SHA-256-sess", "SHA-512-256", "SHA-512-256-sess"];

/// What to make of `op="auth"`, a slip in the vendor's documentation that a server might repeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    /// As a misspelt `qop`, when there is no `qop`.
    IsQop,
    /// As nothing; the answer then has the form of RFC 2069.
    IsIgnored,
}

/// The hash of a challenge, the stronger the greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Hash {
    Md5,
    Sha256,
    Sha512Trunc256,
}

/// How a server asks for credentials, whatever its nonces.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Manner {
    realm: String,
    pub(super) hash: Hash,
}

/// A challenge that can be answered, and how often it was.
pub(super) struct Session {
    digest: DigestClient,
    read_op: bool,
}

impl Session {
    /// The strongest Digest challenge among the `WWW-Authenticate` headers: by algorithm, then with `qop`, then the
    /// first. Basic and everything else is passed over.
    pub(super) fn choose(headers: &HeaderMap, op: Op) -> Option<Self> {
        headers
            .get_all(WWW_AUTHENTICATE)
            .iter()
            .filter(|value| value.len() <= LONGEST)
            .filter_map(|value| value.to_str().ok())
            .flat_map(|text| ChallengeParser::new(text).map_while(Result::ok))
            .filter_map(|challenge| Self::new(challenge, op))
            .reduce(|best, next| if next.strength() > best.strength() { next } else { best })
    }

    fn new(mut challenge: ChallengeRef<'_>, op: Op) -> Option<Self> {
        let named = |name: &str, key: &str| key.eq_ignore_ascii_case(name);
        for (key, value) in &mut challenge.params {
            if named("algorithm", key) {
                let spelled =
                    ALGORITHMS.iter().find(|known| known.eq_ignore_ascii_case(value.as_escaped()))?;
                *value = ParamValue::try_from_escaped(spelled).ok()?;
            }
        }
        let mut read_op = false;
        if op == Op::IsQop && !challenge.params.iter().any(|(key, _)| named("qop", key)) {
            for (key, value) in &mut challenge.params {
                let auth = value.as_escaped().split(',').any(|word| word.trim().eq_ignore_ascii_case("auth"));
                if named("op", key) && auth {
                    *key = "qop";
                    read_op = true;
                }
            }
        }
        let digest = DigestClient::try_from(&challenge).ok()?;
        (digest.qop() & Qop::Auth).then_some(Self { digest, read_op })
    }

    fn strength(&self) -> (Hash, bool) {
        (self.hash(), !self.digest.rfc2069_compat())
    }

    pub(super) fn hash(&self) -> Hash {
        match self.digest.algorithm() {
            Algorithm::Sha512Trunc256 => Hash::Sha512Trunc256,
            Algorithm::Sha256 => Hash::Sha256,
            _ => Hash::Md5,
        }
    }

    pub(super) fn manner(&self) -> Manner {
        Manner { realm: self.digest.realm().to_owned(), hash: self.hash() }
    }

    /// The `Authorization` for the next request; it takes the next nonce count, so no two answers are the same.
    /// `None` when the counts are used up.
    pub(super) fn answer(&mut self, keys: &ApiKeys, method: &Method, uri: &str) -> Option<HeaderValue> {
        let text = self
            .digest
            .respond(&PasswordParams {
                username: keys.public.expose_secret(),
                password: keys.private.expose_secret(),
                uri,
                method: method.as_str(),
                body: None,
            })
            .ok()?;
        let mut value = HeaderValue::try_from(text).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// The server says that the nonce before this one was too old, not that the credentials are wrong.
    pub(super) fn stale(&self) -> bool {
        self.digest.stale()
    }

    /// Whether both have the same nonce, and are answered in the same form.
    pub(super) fn has_nonce_of(&self, other: &Self) -> bool {
        self.digest.nonce() == other.digest.nonce() && self.strength() == other.strength()
    }

    /// Whether `op` was read as `qop`, so that another reading is left to try.
    pub(super) fn read_op(&self) -> bool {
        self.read_op
    }

    /// Whether the nonce may serve again. With `-sess` the first client nonce would have to as well (RFC 7616 §3.4.2),
    /// which is not worth it.
    pub(super) fn is_reusable(&self) -> bool {
        !self.digest.session()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn headers<'a>(values: impl IntoIterator<Item = &'a str>) -> HeaderMap {
        values.into_iter().map(|value| (WWW_AUTHENTICATE, HeaderValue::from_str(value).unwrap())).collect()
    }

    fn session(challenge: &str) -> Option<Session> {
        Session::choose(&headers([challenge]), Op::IsQop)
    }

    fn keys() -> ApiKeys {
        ApiKeys { public: "Mufasa".into(), private: "Circle of Life".into() }
    }

    fn answer(session: &mut Session) -> String {
        let value = session.answer(&keys(), &Method::GET, "/dir/index.html").unwrap();
        assert!(value.is_sensitive());
        value.to_str().unwrap().to_owned()
    }

    fn with_cnonce(mut session: Session, password: &str, cnonce: &str) -> String {
        let params = PasswordParams {
            username: "Mufasa",
            password,
            uri: "/dir/index.html",
            method: "GET",
            body: None,
        };
        session.digest.respond_with_testing_cnonce(&params, cnonce).unwrap()
    }

    #[test]
    fn the_vectors_of_rfc_7616_3_9_1() {
        let tail = r#"qop="auth, auth-int", nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS""#;
        let md5 = format!(r#"Digest realm="http-auth@example.org", algorithm=MD5, {tail}"#);
        let sha = format!(r#"Digest realm="http-auth@example.org", algorithm=SHA-256, {tail}"#);
        let cnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";
        for (challenges, response) in [
            (vec![md5.as_str()], "8ca523f5e9506fed4657c9700eebdbec"),
            (
                vec![md5.as_str(), sha.as_str()],
                "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1",
            ),
        ] {
            let chosen = Session::choose(&headers(challenges), Op::IsQop).unwrap();
            let text = with_cnonce(chosen, "Circle of Life", cnonce);
            assert!(text.contains(&format!(r#"response="{response}""#)), "{text}");
            assert!(text.contains("nc=00000001, ") && text.contains("qop=auth, "), "{text}");
            assert!(text.contains(r#"opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS""#), "{text}");
        }
    }

    #[test]
    fn the_vector_of_rfc_2617_3_5() {
        let challenge = r#"Digest realm="testrealm@host.com", qop="auth,auth-int", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", opaque="5ccc069c403ebaf9f0171e9517f40e41""#;
        let text = with_cnonce(session(challenge).unwrap(), "Circle Of Life", "0a4f113b");
        assert!(text.contains(r#"response="6629fae49393a05397450978507c4ef1""#), "{text}");
    }

    /// The form of RFC 2069 with the numbers of RFC 2617 §3.5: its example's own digest is wrong (errata 749).
    #[test]
    fn without_qop_the_answer_has_the_form_of_rfc_2069() {
        let challenge = r#"Digest realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", opaque="5ccc069c403ebaf9f0171e9517f40e41""#;
        let text = with_cnonce(session(challenge).unwrap(), "Circle Of Life", "ignored");
        assert!(text.contains(r#"response="670fd8c2df070c60b045671b8b24ff02""#), "{text}");
        assert!(!text.contains("nc=") && !text.contains("qop") && !text.contains("cnonce"), "{text}");
    }

    #[test]
    fn the_challenges_of_real_servers_can_be_answered() {
        for challenge in [
            // Cloud Manager and Jetty 9.4, Jetty 12.1, Apache 2.4
            r#"Digest realm="MMS Public API", domain="", nonce="Kb3v/+1Yc9QwJx5tqkXlZw1nLgU7e0ab=", algorithm=MD5, qop="auth", stale=false"#,
            r#"Digest realm="MMS Public API", domain="", nonce="nN6/1+xT==", algorithm=SHA-256, qop="auth", stale=false, opaque="x", charset=UTF-8, userhash=false"#,
            r#"Digest realm="MMS Public API", nonce="nN6/1+xT==", algorithm=MD5, qop="auth""#,
            // others
            r#"digest REALM="a \"b\" \\c", NONCE="n", Algorithm="md5", QOP=auth, future="x, y=\"z\"""#,
            r#"Negotiate, NTLM, Basic realm="r", Digest realm="r",nonce="n",algorithm=md5-SESS,qop="auth-int,auth""#,
        ] {
            let mut session = session(challenge).unwrap_or_else(|| panic!("{challenge}"));
            assert!(!session.stale() && !session.read_op());
            let text = answer(&mut session);
            assert!(text.contains(r#"uri="/dir/index.html""#) && text.contains("qop=auth, "), "{text}");
        }
    }

    #[test]
    fn the_strongest_digest_is_taken_wherever_it_stands() {
        let md5 = r#"Digest realm="m", nonce="n", algorithm=MD5, qop="auth""#;
        let old = r#"Digest realm="o", nonce="n""#;
        let sha = r#"Digest realm="s", nonce="n", algorithm=sha-256, qop="auth""#;
        let basic = r#"Basic realm="b""#;
        let joined = format!("{basic}, {md5}, {sha}");
        for (values, realm) in [
            (vec![md5, sha], "s"),
            (vec![sha, md5, basic], "s"),
            (vec![joined.as_str()], "s"),
            (vec![old, md5], "m"),
            (vec!["@broken", md5], "m"),
        ] {
            assert_eq!(Session::choose(&headers(values), Op::IsQop).unwrap().digest.realm(), realm);
        }
    }

    #[test]
    fn what_cannot_be_answered_is_no_challenge() {
        let long = format!(r#"Digest realm="r", nonce="{}""#, "n".repeat(9000));
        for challenge in [
            "",
            "Digest",
            r#"Basic realm="MMS Public API""#,
            "NTLM",
            r#"Digest realm="r""#,
            r#"Digest nonce="n""#,
            r#"Digest realm="r", nonce="n", algorithm=SHA-1"#,
            r#"Digest realm="r", nonce="n", qop="auth-int""#,
            r#"Digest realm="r", nonce="n", nonce="m""#,
            long.as_str(),
        ] {
            assert!(session(challenge).is_none(), "{challenge}");
        }
    }

    #[test]
    fn op_is_read_as_qop_only_where_qop_is_missing() {
        let op = r#"Digest realm="r", domain="", nonce="n", algorithm=MD5, op="auth", stale=false"#;
        let mut read = session(op).unwrap();
        assert!(read.read_op() && answer(&mut read).contains("qop=auth"));
        let mut ignored = Session::choose(&headers([op]), Op::IsIgnored).unwrap();
        assert!(!ignored.read_op() && !answer(&mut ignored).contains("qop"));
        let mut both = session(r#"Digest realm="r", nonce="n", qop="auth", op="auth""#).unwrap();
        assert!(!both.read_op() && answer(&mut both).contains("qop=auth"));
    }

    #[test]
    fn each_answer_has_its_own_nonce_count_and_client_nonce() {
        let mut session = session(r#"Digest realm="r", nonce="n", qop="auth", stale=TRUE"#).unwrap();
        assert!(session.stale() && session.is_reusable());
        let answers = [answer(&mut session), answer(&mut session)];
        assert!(answers[0].contains("nc=00000001") && answers[1].contains("nc=00000002"));
        let cnonce =
            |text: &str| text.split("cnonce=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
        assert_ne!(cnonce(&answers[0]), cnonce(&answers[1]));
    }

    proptest! {
        #[test]
        fn any_bytes_and_nearly_right_challenges_never_panic(
            bytes: Vec<u8>,
            params in proptest::collection::vec(
                ("(realm|nonce|qop|op|algorithm|stale|opaque|userhash|[!-~]{0,8})", "[ -~\t]{0,24}"), 0..8),
            quote: bool,
        ) {
            let params: Vec<String> = params
                .into_iter()
                .map(|(key, value)| if quote { format!("{key}=\"{value}\"") } else { format!("{key}={value}") })
                .collect();
            let texts = [bytes, format!("Digest {}", params.join(", ")).into_bytes()];
            let headers: HeaderMap = texts
                .iter()
                .filter_map(|text| Some((WWW_AUTHENTICATE, HeaderValue::from_bytes(text).ok()?)))
                .collect();
            for op in [Op::IsQop, Op::IsIgnored] {
                if let Some(mut session) = Session::choose(&headers, op) {
                    let _ = session.answer(&keys(), &Method::POST, "/a?b");
                }
            }
        }
    }
}
