//! The failure table of the design on real sockets: each class to its reason, and back again once its cause is mended.

mod answers;
pub mod case;
mod digest;
mod lasting;
mod lost;
mod passing;
mod refusals;
mod tls;
mod unreachable;

use std::fs;

use migrationlink_operator::api::Reason;

use case::Case;

/// Each reason stands in an expectation of these tests, or of those of the inputs, of deletion, or of duplicates.
#[test]
fn no_reason_is_without_a_test_that_drives_a_link_into_it() {
    let mut tests = String::new();
    let all = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cluster");
    for folder in ["failures", "inputs", "deletion"] {
        for file in fs::read_dir(format!("{all}/{folder}")).expect("the tests' folder") {
            tests += &fs::read_to_string(file.expect("a file").path()).expect("a test");
        }
    }
    tests += &fs::read_to_string(format!("{all}/duplicates.rs")).expect("a test");
    for reason in Reason::ALL {
        assert!(tests.contains(&format!("\"{reason}\"")), "{reason}");
    }
}
