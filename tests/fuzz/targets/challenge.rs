//! A server that asks for credentials, in any way that it likes.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::header::{HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use migrationlink_operator::remote::{FailureClass, Operation, Response};

use super::answer::{About, Parsed};
use super::script::{Caller, Sent, USUAL, absent, respond};

/// More requests than these a call does not make: three in earnest, and a challenge before each of them.
const MOST_REQUESTS: usize = 6;
const MOST_ANSWERS: usize = 3;

/// Public keys come from a Secret and may be any text: one that has to be escaped, one that HTTP has no letters for, and
/// one that would like to be a parameter.
const PUBLIC: [&str; 4] = ["qwertyui", r#"a "b" \c"#, "schlüssel", r#"x", uri="/other"#];

/// The server: one block after the other, then it is content.
struct Server {
    blocks: std::vec::IntoIter<Block>,
    public: &'static str,
    private: String,
    token: String,
    /// All header lines that asked for credentials.
    offered: Vec<String>,
    /// Nonce, count and client nonce of every answer.
    answers: HashSet<[String; 3]>,
    longest_hash: usize,
    requests_of_call: usize,
    answers_of_call: usize,
    content: bool,
}

enum Block {
    Asks(Vec<HeaderValue>),
    IsContent,
}

/// The input is one block for each response, with an empty line between two: `ok`, or the lines of `WWW-Authenticate` of a
/// 401. The three calls that share what the client has learnt are made one after the other.
pub fn challenge(input: &[u8]) {
    let public = PUBLIC[input.len() % PUBLIC.len()];
    let [private, token] = ["private-canary", "token-canary"].map(|beginning| absent(input, beginning));
    let server = Arc::new(Mutex::new(Server {
        blocks: blocks(input).into_iter(),
        public,
        private: private.clone(),
        token: token.clone(),
        offered: Vec::new(),
        answers: HashSet::new(),
        longest_hash: 0,
        requests_of_call: 0,
        answers_of_call: 0,
        content: false,
    }));
    let serving = server.clone();
    let caller = Caller::new((public, &private, &token), move |sent| lock(&serving).serve(sent));
    for operation in [Operation::Link, Operation::Status, Operation::Unlink] {
        lock(&server).begin();
        let result = caller.call(operation);
        let server = lock(&server);
        match result {
            Ok(_) => assert!(server.content && server.answers_of_call > 0),
            Err(failure) => {
                let told = format!("{failure} {failure:?}");
                assert!(!told.contains(&private) && !told.contains(&token), "{told}");
                let refused = failure.class == FailureClass::Unauthorized;
                assert!(!refused || server.answers_of_call > 0, "a verdict without a question");
                assert!(!failure.maybe_effective, "a 401 takes no token");
            }
        }
    }
}

fn lock(server: &Mutex<Server>) -> MutexGuard<'_, Server> {
    server.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Server {
    fn begin(&mut self) {
        (self.requests_of_call, self.answers_of_call, self.content) = (0, 0, false);
    }

    fn serve(&mut self, sent: &Sent) -> Response {
        self.requests_of_call += 1;
        assert!(self.requests_of_call <= MOST_REQUESTS, "no end of requests");
        if let Some(header) = &sent.authorization {
            self.answers_of_call += 1;
            assert!(self.answers_of_call <= MOST_ANSWERS, "no end of answers");
            self.check(header, sent);
        }
        let mut headers = HeaderMap::new();
        match self.blocks.next() {
            Some(Block::Asks(lines)) => {
                for line in lines {
                    self.offered.push(String::from_utf8_lossy(line.as_bytes()).into_owned());
                    headers.append(WWW_AUTHENTICATE, line);
                }
                respond(401, headers, br#"{"error": 401, "errorCode": "UNEXPECTED_ERROR"}"#)
            }
            // Without an answer it is not content: the call is to go on.
            Some(Block::IsContent) | None if sent.authorization.is_some() => {
                self.content = true;
                respond(200, headers, br#"{"status": "SYNCED"}"#)
            }
            Some(Block::IsContent) => respond(401, headers, b""),
            None => {
                let line = HeaderValue::from_static(USUAL);
                self.offered.push(USUAL.to_owned());
                headers.append(WWW_AUTHENTICATE, line);
                respond(401, headers, b"")
            }
        }
    }

    /// An answer: to something that was asked, right, new, and no weaker than the ones before it.
    fn check(&mut self, header: &str, sent: &Sent) {
        assert!(!header.contains(&self.private) && !header.contains(&self.token), "{header}");
        let answer = Parsed::of(header);
        let about = About {
            method: sent.method.as_str(),
            path: &sent.path,
            public: self.public,
            private: &self.private,
        };
        answer.check(&about);
        let asked = self.offered.iter().any(|line| asks_for(line, &answer));
        assert!(asked, "nobody asked for {header}, but for {:?}", self.offered);
        assert!(answer.digits() >= self.longest_hash, "a weaker hash than before: {header}");
        self.longest_hash = answer.digits();
        if let Some(nc) = answer.get("nc") {
            let [nonce, cnonce] = ["nonce", "cnonce"].map(|name| answer.get(name).unwrap().to_owned());
            assert!(self.answers.insert([nonce, nc.to_owned(), cnonce]), "the same answer twice: {header}");
        }
    }
}

/// Whether a line may be what is answered. Escapes count for nothing on both sides, which no real challenge minds.
fn asks_for(line: &str, answer: &Parsed) -> bool {
    let plain = |text: &str| text.replace('\\', "");
    let (line, lower) = (plain(line), line.to_ascii_lowercase());
    let repeats = |name| answer.get(name).is_none_or(|value| line.contains(&plain(value)));
    // MD5 is what is meant where no algorithm is named.
    let algorithm = answer.get("algorithm").unwrap_or("MD5");
    let with_algorithm = algorithm == "MD5" || lower.contains(&algorithm.to_ascii_lowercase());
    ["digest", "realm", "nonce"].iter().all(|word| lower.contains(word))
        && with_algorithm
        && ["realm", "nonce", "opaque"].into_iter().all(repeats)
}

fn blocks(input: &[u8]) -> Vec<Block> {
    let mut blocks = vec![Vec::new()];
    for line in input.split(|&byte| byte == b'\n') {
        if line.is_empty() {
            blocks.push(Vec::new());
        } else if let Some(block) = blocks.last_mut() {
            block.push(line);
        }
    }
    let block = |lines: Vec<&[u8]>| match lines.as_slice() {
        [b"ok"] => Block::IsContent,
        lines => Block::Asks(lines.iter().filter_map(|line| HeaderValue::from_bytes(line).ok()).collect()),
    };
    blocks.into_iter().map(block).collect()
}
