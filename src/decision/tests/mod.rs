//! Tests of the rules, of what outcomes mean, and of whole stories in virtual time.

mod answers;
mod captured;
mod case;
mod checks;
mod deletion;
mod duplicates;
mod failures;
mod inputs;
mod lost;
mod messages;
mod outcomes;
mod paced;
mod properties;
mod rules;
mod seen;
mod sends;
mod stories;
mod story;
mod waits;
