//! The runs: which faults and events are searched together.

use migrationlink_operator::api::{DeletionPolicy, DriftPolicy};

use migrationlink_operator::decision::decide;

use super::config::{Budget, Config};
use super::process::Controller;
use super::properties::{SETTLES, TRUE_READY};
use super::run::{broken, check};

/// Nothing happens at all.
const NONE: Budget = Config::quiet("").budget;

fn foreign(name: &'static str) -> Config {
    Config {
        links: 1,
        refuses_second: true,
        foreign: true,
        deletion: DeletionPolicy::Delete,
        ..Config::quiet(name)
    }
}

#[test]
fn two_links_of_one_organization() {
    check(&Config {
        budget: Budget { rotations: 1, crashes: 1, timeouts: 2, patches: 1, passes: 2, ..NONE },
        ..Config::quiet("two links")
    });
}

#[test]
fn two_links_that_are_deleted() {
    check(&Config {
        deletion: DeletionPolicy::Delete,
        budget: Budget { deletions: 2, crashes: 1, timeouts: 1, patches: 1, passes: 1, ..NONE },
        ..Config::quiet("two links, Delete")
    });
}

#[test]
fn a_copy_takes_over_with_an_old_view() {
    check(&Config {
        budget: Budget { edits: 1, crashes: 1, patches: 1, passes: 1, lags: 1, ..NONE },
        ..Config::quiet("an old view")
    });
}

#[test]
fn a_claim_is_lost() {
    check(&Config {
        budget: Budget { claims: 1, crashes: 1, timeouts: 1, patches: 1, passes: 1, ..NONE },
        ..Config::quiet("a lost claim")
    });
}

#[test]
fn one_link_drifts() {
    check(&Config {
        links: 1,
        budget: Budget { rotations: 2, removals: 1, crashes: 1, timeouts: 1, patches: 1, passes: 2, ..NONE },
        ..Config::quiet("one link, Relink")
    });
}

#[test]
fn one_link_reports() {
    check(&Config {
        links: 1,
        drift: DriftPolicy::Report,
        answers_state: false,
        budget: Budget { rotations: 1, edits: 1, removals: 1, timeouts: 1, refusals: 1, passes: 2, ..NONE },
        ..Config::quiet("one link, Report")
    });
}

#[test]
fn a_second_post_is_refused() {
    check(&Config {
        links: 1,
        refuses_second: true,
        deletion: DeletionPolicy::Delete,
        budget: Budget { deletions: 1, crashes: 2, timeouts: 2, refusals: 1, patches: 1, passes: 1, ..NONE },
        ..Config::quiet("409 to a second POST")
    });
}

/// Nothing is lost here: after a POST whose end nobody saw, a link that is there may be ours (see below).
#[test]
fn a_link_that_somebody_else_made() {
    check(&Config {
        budget: Budget { deletions: 1, edits: 1, refusals: 2, patches: 1, passes: 2, ..NONE },
        ..foreign("a foreign link")
    });
}

/// The limit of what can be known. The API does not say whose link there is: where there is one that this resource did not
/// make, and the end of its POST was not seen, because it timed out or the process ended, that link counts as its own.
#[test]
fn anothers_link_is_taken_for_ours_only_after_a_post_whose_end_nobody_saw() {
    let crash = Budget { crashes: 1, ..NONE };
    let timeout = Budget { timeouts: 1, passes: 1, ..NONE };
    for config in [
        Config { budget: crash, ..foreign("") },
        Config { budget: timeout, ..foreign("") },
        Config { refuses_second: true, budget: Budget { crashes: 1, ..timeout }, ..Config::quiet("") },
    ] {
        assert_eq!(broken(&config, decide, Controller::default()), [TRUE_READY, SETTLES]);
    }
    let neither = Config {
        refuses_second: true,
        budget: Budget { passes: 1, patches: 1, ..NONE },
        ..Config::quiet("")
    };
    assert!(broken(&neither, decide, Controller::default()).is_empty());
}

#[test]
fn one_secret_for_both() {
    check(&Config {
        shared: true,
        answers_state: false,
        budget: Budget { rotations: 1, crashes: 1, timeouts: 1, patches: 1, passes: 2, ..NONE },
        ..Config::quiet("one Secret for both")
    });
}
