//! The oracle sees what no story shows it.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};

use super::has_secret;
use crate::world::CANARY;

#[test]
fn a_secret_is_seen_in_each_form() {
    for before in ["", "x", "xy", "xyz", "token-", "user:"] {
        for after in ["", "z", "zz", "-one"] {
            let secret = [before, CANARY, after].concat();
            assert!(has_secret(&secret));
            for encoded in [STANDARD.encode(&secret), STANDARD_NO_PAD.encode(&secret)] {
                assert!(has_secret(&format!("{{\"message\":\"{encoded}\"}}")), "{secret}");
            }
        }
    }
    assert!(!has_secret("a token-can ary Y2FuYXJ-one"));
}
