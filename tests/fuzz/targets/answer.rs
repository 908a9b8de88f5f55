//! The answer to a digest challenge, read as strictly as RFC 7616 §3.4 has it, and computed again by its formulas.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use sha2::{Digest, Sha256, Sha512_256};

/// The parameters of an answer; quoted ones without their quotes.
pub struct Parsed(BTreeMap<String, String>);

/// What the answer is about, and the keys.
pub struct About<'a> {
    pub method: &'a str,
    pub path: &'a str,
    pub public: &'a str,
    pub private: &'a str,
}

impl Parsed {
    /// Fails where the header is anything but one line of `Digest` with known parameters, each once.
    pub fn of(header: &str) -> Self {
        let mut rest = header.strip_prefix("Digest ").expect("Digest and nothing else is answered");
        let mut found = BTreeMap::new();
        loop {
            let (name, after) = rest.split_once('=').expect("a parameter has a value");
            let (value, quoted, after) = value(after);
            // The ones that must be quoted, and the ones that must not (RFC 7616 §3.4).
            let is_quoted = match name {
                "username" | "realm" | "uri" | "nonce" | "cnonce" | "response" | "opaque" => true,
                "username*" | "userhash" | "algorithm" | "nc" | "qop" => false,
                _ => panic!("{name} is no parameter of an answer: {header}"),
            };
            assert_eq!(quoted, is_quoted, "{header}");
            assert!(found.insert(name.to_owned(), value).is_none(), "{name} stands there twice: {header}");
            if after.is_empty() {
                return Self(found);
            }
            rest = after.strip_prefix(", ").unwrap_or_else(|| panic!("{after} after a value: {header}"));
        }
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// How long the hash is: 32 digits are MD5, 64 are of the SHA-2 family.
    pub fn digits(&self) -> usize {
        self.get("response").unwrap().len()
    }

    /// Fails where the answer is not the right one, or not in one of the two forms.
    pub fn check(&self, about: &About<'_>) {
        assert_eq!(self.get("uri"), Some(about.path));
        let is_hex = |text: &str| text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        assert!(self.get("response").is_some_and(is_hex) && matches!(self.digits(), 32 | 64));
        let hash = match (self.get("algorithm"), self.digits()) {
            // The form of RFC 2069, which has no parameter to tell the algorithm.
            (None, _) => {
                let of_the_other_form = ["nc", "cnonce", "qop"].map(|name| self.get(name));
                assert_eq!(of_the_other_form, [None; 3]);
                return;
            }
            // No crate for MD5 is at hand here; the vectors of the RFCs hold it.
            (Some("MD5" | "MD5-sess"), 32) => None,
            (Some("SHA-256" | "SHA-256-sess"), 64) => Some(sha256 as fn(&str) -> String),
            (Some("SHA-512-256" | "SHA-512-256-sess"), 64) => Some(sha512_256 as fn(&str) -> String),
            other => panic!("{other:?}"),
        };
        let [nc, cnonce] = ["nc", "cnonce"].map(|name| self.get(name).unwrap());
        assert!(nc.len() == 8 && is_hex(nc) && nc != "00000000", "{nc}");
        assert!(cnonce.len() >= 16 && self.get("qop") == Some("auth"));
        self.check_name(about, hash);
        if let Some(hash) = hash {
            let (realm, nonce) = (self.get("realm").unwrap(), self.get("nonce").unwrap());
            let mut a1 = hash(&format!("{}:{realm}:{}", about.public, about.private));
            if self.get("algorithm").unwrap().ends_with("-sess") {
                a1 = hash(&format!("{a1}:{nonce}:{cnonce}"));
            }
            let a2 = hash(&format!("{}:{}", about.method, about.path));
            let right = hash(&format!("{a1}:{nonce}:{nc}:{cnonce}:auth:{a2}"));
            assert_eq!(self.get("response"), Some(right.as_str()));
        }
    }

    fn check_name(&self, about: &About<'_>, hash: Option<fn(&str) -> String>) {
        match (self.get("username"), self.get("username*"), self.get("userhash")) {
            (Some(name), None, None) => assert_eq!(name, about.public),
            (None, Some(encoded), None) => {
                let escaped = encoded.strip_prefix("UTF-8''").expect("the charset is said");
                assert_eq!(unescaped(escaped), about.public.as_bytes());
            }
            (Some(name), None, Some("true")) => {
                let hashed =
                    hash.map(|hash| hash(&format!("{}:{}", about.public, self.get("realm").unwrap())));
                assert!(hashed.is_none_or(|hashed| hashed == name));
            }
            _ => panic!("no name, or several"),
        }
    }
}

/// A token or a quoted string, whether it was quoted, and what comes after it.
fn value(text: &str) -> (String, bool, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(", ").unwrap_or(text.len());
        let (token, rest) = text.split_at(end);
        assert!(token.bytes().all(|b| b.is_ascii_graphic() && !b"\",=\\".contains(&b)), "{token}");
        return (token.to_owned(), false, rest);
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, true, &quoted[at + 1..]),
            '\\' => value.push(chars.next().expect("what is escaped").1),
            // A tab is the one control character that a quoted string may hold (RFC 9110 §5.6.4).
            ' '..='~' | '\t' => value.push(c),
            _ => panic!("{c:?} inside a quoted string"),
        }
    }
    panic!("a quoted string has no end");
}

fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        bytes.push(match (first, after) {
            (b'%', [high, low, after @ ..]) => {
                rest = after;
                u8::from_str_radix(std::str::from_utf8(&[*high, *low]).unwrap(), 16).unwrap()
            }
            _ => *first,
        });
    }
    bytes
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").unwrap();
        hex
    })
}

fn sha256(text: &str) -> String {
    hex(&Sha256::digest(text))
}

fn sha512_256(text: &str) -> String {
    hex(&Sha512_256::digest(text))
}
