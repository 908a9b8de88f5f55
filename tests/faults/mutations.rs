//! Rules with a mistake in them: each has to be noticed, or the oracle is blind.

use migrationlink_operator::api::{ConditionType, Conditions, MigrationLinkStatus};
use migrationlink_operator::decision::{Release, Step, View, decide};

use crate::border::parse;
use crate::run::{run, undisturbed};
use crate::stories::{OTHER, Story};

/// A mistake, a story with faults in which it shows, and what is said of it.
struct Mutation {
    mistake: fn(&View<'_>) -> Step,
    run: &'static str,
    noticed: &'static str,
}

const MUTATIONS: [(&str, Mutation); 10] = [
    (
        "an outcome is dropped when it could not be recorded at once",
        Mutation {
            mistake: |view| match decide(view) {
                // As if it had been thrown away with the pass that could not write it.
                Step::Record(_) if view.link.status.conditions.is_some() => {
                    decide(&View { answered: None, ..*view })
                }
                step => step,
            },
            run: "rotation/patch-status#1/before/500",
            noticed: "POSTs where",
        },
    ),
    (
        "a POST whose end nobody saw is forgotten",
        Mutation {
            mistake: |view| {
                mapped(decide(view), |status| {
                    if let Some(record) = &mut status.link {
                        record.sent = None;
                    }
                })
            },
            run: "rotation-back/post#1/effect/timeout",
            noticed: "after 10800s it is",
        },
    ),
    (
        "a link is let go without being removed",
        Mutation {
            mistake: |view| match decide(view) {
                Step::Unlink => Step::DropFinalizer(Release::Unlinked),
                step => step,
            },
            run: "deletion/delete#1/answer/crash",
            noticed: "after 10800s it is",
        },
    ),
    (
        "a finalizer stays",
        Mutation {
            mistake: |view| match decide(view) {
                Step::DropFinalizer(_) => Step::Wait(None),
                step => step,
            },
            run: "deletion/delete#1/answer/crash",
            noticed: "after 10800s it is",
        },
    ),
    (
        "rule 9 is forgotten",
        Mutation {
            mistake: |view| {
                let mut link = view.link.clone();
                link.status.next_attempt_time = None;
                match decide(&View { link: &link, ..*view }) {
                    // It is the same status but for the time.
                    Step::Publish(_) if view.link.status.next_attempt_time.is_some() => decide(view),
                    step => step,
                }
            },
            run: "rotation/post#1/before/503",
            noticed: "before its time",
        },
    ),
    (
        "an answer to another token counts as the acceptance of this one",
        Mutation {
            mistake: |view| match decide(view) {
                Step::Link => Step::Poll,
                step => step,
            },
            run: "rotation/challenge#1/before/slow",
            noticed: "never accepted",
        },
    ),
    (
        "observedGeneration goes back",
        Mutation {
            mistake: |view| {
                mapped(decide(view), |status| {
                    if status.conditions.as_ref().is_some_and(|all| !all.is_true(ConditionType::Ready)) {
                        status.observed_generation = Some(-1);
                    }
                })
            },
            run: "rotation/post#1/before/503",
            noticed: "observedGeneration goes from",
        },
    ),
    (
        "a refusal for now counts as one for ever",
        Mutation {
            mistake: |view| match decide(view) {
                Step::Wait(Some(_)) if view.link.status.next_attempt_time.is_some() => Step::Wait(None),
                step => step,
            },
            run: "rotation/post#1/before/503",
            noticed: "after 10800s it is",
        },
    ),
    (
        "a lost link stays lost",
        Mutation {
            mistake: |view| match decide(view) {
                Step::Link if view.link.status.link.is_some() => Step::Wait(None),
                step => step,
            },
            run: "drift/poll#1/before/slow",
            noticed: "after 10800s it is",
        },
    ),
    (
        "a token is in a status that is soon overwritten",
        Mutation {
            mistake: |view| {
                mapped(decide(view), |status| {
                    for condition in status.conditions.iter_mut().flatten() {
                        // It is gone when all is well, and no event repeats it.
                        if condition.type_ == "Reconciling" {
                            condition.message.push_str(OTHER);
                        }
                    }
                })
            },
            run: "rotation/post#1/before/503",
            noticed: "a secret is in what is sent",
        },
    ),
];

#[test]
fn each_mistake_is_noticed() {
    let mut unnoticed = Vec::new();
    for (what, Mutation { mistake, run: name, noticed }) in &MUTATIONS {
        let (story, fault) = name.split_once('/').unwrap();
        let (story, point) = (Story::by_name(story).unwrap(), parse(fault).unwrap());
        let expected = undisturbed(story, decide);
        assert!(run(story, &[point], &expected, decide).is_ok(), "{name} without a mistake");
        match run(story, &[point], &expected, *mistake) {
            Err(error) if error.wrong.contains(noticed) => {}
            Err(error) => {
                unnoticed.push(format!("{what}: said is {}", error.wrong.lines().next().unwrap_or_default()));
            }
            Ok(_) => unnoticed.push(format!("{what}: nothing is said")),
        }
    }
    assert!(unnoticed.is_empty(), "{}", unnoticed.join("\n"));
}

/// The step with another status.
fn mapped(step: Step, change: impl FnOnce(&mut MigrationLinkStatus)) -> Step {
    match step {
        Step::Publish(mut status) => {
            change(&mut status);
            Step::Publish(status)
        }
        Step::Record(mut settled) => {
            settled.status = settled.status.map(|mut status| {
                change(&mut status);
                status
            });
            Step::Record(settled)
        }
        step => step,
    }
}
