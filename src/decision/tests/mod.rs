//! Tests of the rules, of what outcomes mean, and of whole stories in virtual time.

mod answers;
mod case;
mod checks;
mod failures;
mod lost;
mod messages;
mod outcomes;
mod properties;
mod rules;
mod seen;
mod stories;
mod story;
mod waits;
