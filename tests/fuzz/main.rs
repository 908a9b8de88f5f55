//! The targets of the fuzzers (`make fuzz`) on the stable compiler: every seed, every input that once broke something, and a
//! thousand changed ones.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panic"
)]

mod inputs;
mod lists;
mod targets;

use std::panic::catch_unwind;

use proptest::test_runner::{Config, TestError, TestRunner};

use inputs::Known;

/// So many changed inputs for each target.
const CASES: u32 = 1000;

fn hold(name: &str, target: fn(&[u8])) {
    let known = Known::of(name);
    for (file, input) in known.inputs() {
        assert!(catch_unwind(|| target(input)).is_ok(), "the input {file} fails");
    }
    let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
    let result = TestRunner::new(config).run(&known.changed(), |input| {
        target(&input);
        Ok(())
    });
    if let Err(TestError::Fail(reason, input)) = result {
        let text = input.escape_ascii();
        panic!("{reason}\nput the input into fuzz/regressions/{name}/ once it holds:\n{text}");
    }
    result.unwrap();
}

/// A test for each target.
macro_rules! targets {
    ($($test:ident: $target:ident,)*) => {
        /// The targets that are tested here.
        const TARGETS: &[&str] = &[$(stringify!($target)),*];

        $(
            #[test]
            fn $test() {
                hold(stringify!($target), targets::$target);
            }
        )*
    };
}

targets! {
    a_base_url_leads_nowhere_else: base_url,
    a_challenge_is_answered_with_digest_or_not_at_all: challenge,
    a_response_is_classified_by_its_status_and_nothing_else_of_it_gets_out: response,
    a_server_is_obeyed_for_six_hours_at_most: retry_after,
    the_values_of_a_secret_are_taken_as_they_should_be_and_never_told: secret,
}
