//! Every property can fail: rules and a controller with a defect in them, and the property that each of them breaks.

mod changed;

use migrationlink_operator::api::{DeletionPolicy, DriftPolicy, FINALIZER};
use migrationlink_operator::decision::{
    Call, Fingerprints, Inputs, Memory, Outcome, Release, Step, View, decide,
};

use super::config::{Budget, Config};
use super::process::Controller;
use super::properties::{
    FORWARD, NO_TRESPASS, NOT_ANOTHERS, NOT_DONE, NOT_LEFT, ONE_POST, REMEMBERED, RESTS, SETTLES, TRUE_READY,
    TRUE_VERDICT,
};
use super::rules::Decide;
use super::run::broken;
use changed::{hearing, is_duplicate, recording, seeing};

/// A defect.
struct Mutation {
    name: &'static str,
    decide: Decide,
    controller: Controller,
    /// Where it shows.
    config: Config,
    /// What it breaks.
    breaks: &'static str,
}

const NONE: Budget = Config::quiet("").budget;
const SOUND: Controller = Controller {
    ignores_claim: false,
    ignores_slot: false,
    trusts_old_views: false,
    ignores_version: false,
    believes_any_401: false,
    forgets_outcome: false,
};

fn two(budget: Budget) -> Config {
    Config { budget, ..Config::quiet("two links") }
}

fn one(budget: Budget) -> Config {
    Config { links: 1, ..two(budget) }
}

fn deleting(config: Config) -> Config {
    Config { deletion: DeletionPolicy::Delete, ..config }
}

fn foreign() -> Config {
    Config { refuses_second: true, foreign: true, ..one(NONE) }
}

/// The rules in the hands of a controller with a defect.
fn controller(name: &'static str, controller: Controller, config: Config, breaks: &'static str) -> Mutation {
    Mutation { name, decide, controller, config, breaks }
}

fn rules(name: &'static str, decide: Decide, config: Config, breaks: &'static str) -> Mutation {
    Mutation { name, decide, controller: SOUND, config, breaks }
}

fn of_waiting() -> Vec<Mutation> {
    vec![
        rules(
            "rule 9 is forgotten: nextAttemptTime says nothing",
            |view| {
                let memory = Memory { failing: None, ..view.memory.clone() };
                let view = View { memory: &memory, ..*view };
                seeing(&view, |link| link.status.next_attempt_time = None)
            },
            one(NONE),
            RESTS,
        ),
        rules(
            "it never waits",
            |view| match decide(view) {
                Step::Wait(_) if view.inputs.is_none() => Step::ReadInputs,
                Step::Wait(_) => Step::Poll,
                step => step,
            },
            one(NONE),
            RESTS,
        ),
        rules(
            "it waits until now",
            |view| match decide(view) {
                Step::Wait(Some(_)) => Step::Wait(Some(view.now)),
                step => step,
            },
            one(NONE),
            RESTS,
        ),
        rules(
            "an outcome is not recorded first",
            |view| decide(&View { answered: None, ..*view }),
            one(NONE),
            SETTLES,
        ),
    ]
}

fn of_accepting() -> Vec<Mutation> {
    vec![
        rules(
            "an end that nobody saw is taken for a good one",
            |view| {
                hearing(view, |attempt| {
                    if matches!(&attempt.outcome, Outcome::Failed(failure) if failure.maybe_effective) {
                        attempt.outcome = Outcome::Accepted(Some("SYNCED".into()));
                    }
                })
            },
            one(Budget { timeouts: 1, ..NONE }),
            TRUE_READY,
        ),
        rules(
            "a poll is taken for an acceptance",
            |view| match hearing(view, |attempt| {
                if attempt.call == Call::Poll {
                    attempt.call = Call::Adopt;
                }
            }) {
                Step::Link => Step::Poll,
                step => step,
            },
            foreign(),
            TRUE_READY,
        ),
        rules(
            "a link that is there is adopted unasked",
            |view| seeing(view, |link| link.adopt = true),
            foreign(),
            TRUE_READY,
        ),
        rules(
            "a rotation needs no POST",
            |view| {
                let accepted =
                    view.link.status.link.as_ref().and_then(|record| record.token_fingerprint.clone());
                let inputs = view.inputs.cloned().map(|inputs| match (inputs.usable.clone(), accepted) {
                    (Ok(read), Some(token)) => {
                        Inputs { usable: Ok(Fingerprints { token, ..read }), ..inputs }
                    }
                    _ => inputs,
                });
                decide(&View { inputs: inputs.as_ref(), ..*view })
            },
            one(Budget { rotations: 1, ..NONE }),
            TRUE_READY,
        ),
        rules(
            "a poll that fails takes away which token was accepted",
            |view| {
                recording(view, |attempt, status| {
                    if attempt.call == Call::Poll && matches!(attempt.outcome, Outcome::Failed(_)) {
                        status.link.get_or_insert_default().token_fingerprint = None;
                    }
                })
            },
            one(Budget { refusals: 1, passes: 1, ..NONE }),
            REMEMBERED,
        ),
        rules(
            "rule 13 is forgotten: a lost link is only reported",
            |view| seeing(view, |link| link.spec.drift_policy = DriftPolicy::Report),
            one(Budget { removals: 1, ..NONE }),
            SETTLES,
        ),
    ]
}

fn of_saying() -> Vec<Mutation> {
    vec![
        rules(
            "the announcement of a POST raises observedGeneration",
            |view| match decide(view) {
                Step::Announce(mut status) => {
                    status.observed_generation = Some(view.link.generation);
                    Step::Announce(status)
                }
                step => step,
            },
            deleting(one(NONE)),
            NOT_DONE,
        ),
        rules(
            "an outcome takes observedGeneration back",
            |view| recording(view, |attempt, status| status.observed_generation = Some(attempt.generation)),
            one(Budget { crashes: 1, lags: 1, edits: 1, ..NONE }),
            FORWARD,
        ),
    ]
}

fn of_two() -> Vec<Mutation> {
    vec![
        rules(
            "rule 8 is forgotten: nobody holds an organization",
            |view| decide(&View { holder: None, ..*view }),
            two(NONE),
            SETTLES,
        ),
        rules(
            "a duplicate keeps what was accepted of it",
            |view| match decide(view) {
                Step::Publish(mut status) if is_duplicate(&status) => {
                    status.link.clone_from(&view.link.status.link);
                    Step::Publish(status)
                }
                step => step,
            },
            two(Budget { crashes: 1, lags: 1, timeouts: 1, ..NONE }),
            SETTLES,
        ),
        rules(
            "a duplicate that is deleted removes the holder's link",
            |view| {
                let holder = view.holder.filter(|_| !view.link.deleting);
                let step = decide(&View { holder, ..*view });
                match (view.holder, step) {
                    (Some(_), Step::DropFinalizer(Release::NotNeeded)) if view.inputs.is_none() => {
                        Step::ReadInputs
                    }
                    (Some(_), Step::DropFinalizer(Release::NotNeeded)) => Step::Unlink,
                    (_, step) => step,
                }
            },
            deleting(two(Budget { deletions: 1, ..NONE })),
            NOT_ANOTHERS,
        ),
    ]
}

fn of_deleting() -> Vec<Mutation> {
    let deletion = Budget { deletions: 1, ..NONE };
    vec![
        rules(
            "rule 5 is forgotten: there is no finalizer",
            |view| seeing(view, |link| link.finalizers = vec![FINALIZER.into()]),
            deleting(one(deletion)),
            NOT_LEFT,
        ),
        rules(
            "the finalizer is dropped without a DELETE",
            |view| match decide(view) {
                Step::Unlink => Step::DropFinalizer(Release::NotNeeded),
                step => step,
            },
            deleting(one(deletion)),
            NOT_LEFT,
        ),
        rules(
            "a DELETE that failed drops the finalizer",
            |view| {
                hearing(view, |attempt| {
                    if attempt.call == Call::Unlink {
                        attempt.outcome = Outcome::Unlinked;
                    }
                })
            },
            deleting(one(Budget { refusals: 1, ..deletion })),
            NOT_LEFT,
        ),
        rules(
            "link.sent is forgotten when it comes to a deletion",
            |view| {
                seeing(view, |link| {
                    if let Some(record) = link.status.link.as_mut().filter(|_| link.deleting) {
                        record.sent = None;
                    }
                })
            },
            deleting(one(Budget { crashes: 1, ..deletion })),
            NOT_LEFT,
        ),
        rules(
            "an end that nobody saw leaves no link.sent",
            |view| {
                hearing(view, |attempt| {
                    if let Outcome::Failed(failure) = &mut attempt.outcome {
                        failure.maybe_effective = false;
                    }
                })
            },
            deleting(one(Budget { timeouts: 1, ..deletion })),
            NOT_LEFT,
        ),
    ]
}

fn of_the_controller() -> Vec<Mutation> {
    vec![
        controller(
            "a claim that is over stops no write",
            Controller { ignores_claim: true, ..SOUND },
            one(Budget { claims: 1, ..NONE }),
            NO_TRESPASS,
        ),
        controller(
            "nobody waits for the slot",
            Controller { ignores_slot: true, ..SOUND },
            two(NONE),
            ONE_POST,
        ),
        controller(
            "patches carry no resourceVersion",
            Controller { ignores_version: true, ..SOUND },
            one(Budget { crashes: 1, lags: 1, edits: 1, ..NONE }),
            FORWARD,
        ),
        controller(
            "the other links of an organization are not read before a POST",
            Controller { trusts_old_views: true, ..SOUND },
            two(Budget { crashes: 1, lags: 1, ..NONE }),
            SETTLES,
        ),
        controller(
            "a 401 to a nonce of before is taken for a verdict",
            Controller { believes_any_401: true, ..SOUND },
            Config { nonces: true, ..one(Budget { nonces: 1, rotations: 1, ..NONE }) },
            TRUE_VERDICT,
        ),
        controller(
            "an outcome that could not be recorded is forgotten",
            Controller { forgets_outcome: true, ..SOUND },
            Config { refuses_second: true, ..deleting(one(Budget { patches: 1, ..NONE })) },
            SETTLES,
        ),
    ]
}

/// Each is caught, by the property that it breaks; without it, the same run finds nothing.
fn are_caught(mutations: Vec<Mutation>) {
    for Mutation { name, decide: mutated, controller, config, breaks } in mutations {
        let found = broken(&config, mutated, controller);
        println!("model: caught: {name}: {found:?}");
        assert!(found.contains(&breaks), "{name}: {found:?} instead of {breaks:?}");
        let sound = broken(&config, decide, SOUND);
        assert!(sound.is_empty(), "without \"{name}\" the run breaks {sound:?}");
    }
}

#[test]
fn defects_of_waiting_are_caught() {
    are_caught(of_waiting());
}

#[test]
fn defects_of_what_is_accepted_are_caught() {
    are_caught(of_accepting());
}

#[test]
fn defects_of_what_is_said_are_caught() {
    are_caught(of_saying());
}

#[test]
fn defects_of_two_links_are_caught() {
    are_caught(of_two());
}

#[test]
fn defects_of_deletion_are_caught() {
    are_caught(of_deleting());
}

#[test]
fn defects_of_the_controller_are_caught() {
    are_caught(of_the_controller());
}
