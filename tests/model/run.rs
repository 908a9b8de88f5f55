//! Running the checker, and telling what it found.

use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use migrationlink_operator::decision::decide;
use stateright::{Checker, HasDiscoveries, Model, Path, Property};

use super::config::Config;
use super::model::{Action, Operator};
use super::process::Controller;
use super::rules::Decide;
use super::world::World;

/// All searches together may come to so many unique states: nearly twice as many as they do, and still less than a minute's.
const MOST: usize = 1_200_000;

/// When the first search began.
static FIRST: OnceLock<Instant> = OnceLock::new();

/// Searches all states of a run, and prints how many there are.
pub fn check(config: &Config) {
    let begun = begin();
    let operator = Operator::new(config, decide, Controller::default());
    let failures = HasDiscoveries::AnyFailures;
    let checker = operator.checker().finish_when(failures).spawn_bfs().join();
    report(config.name, &checker, begun);
    for Property { name, expectation, .. } in checker.model().properties() {
        match checker.discovery(name) {
            Some(path) if expectation == stateright::Expectation::Always => {
                panic!("{}: \"{name}\" does not hold:\n{}", config.name, told(path))
            }
            None if expectation == stateright::Expectation::Sometimes => {
                panic!("{}: it was never seen that {name}", config.name)
            }
            _ => {}
        }
    }
}

/// The time at which a search begins.
pub fn begin() -> Instant {
    let now = Instant::now();
    FIRST.get_or_init(|| now);
    now
}

/// Prints how large a search was, whether or not the test harness shows what tests print, and the sum so far: the last line is about
/// all of them. They run side by side, so the sum's seconds are those since the first began.
pub fn report<M: Model>(name: &str, checker: &impl Checker<M>, begun: Instant) {
    static ALL: AtomicUsize = AtomicUsize::new(0);
    let (states, unique, depth) = (checker.state_count(), checker.unique_state_count(), checker.max_depth());
    let seconds = begun.elapsed().as_secs_f64();
    let (all, together) = (ALL.fetch_add(unique, Ordering::Relaxed) + unique, FIRST.get().unwrap().elapsed());
    let line = format!(
        "model: {name}: {states} states, {unique} unique, depth {depth}, {seconds:.1} s; \
         so far {all} unique in {:.1} s\n",
        together.as_secs_f64()
    );
    std::io::stdout().write_all(line.as_bytes()).unwrap();
    assert!(all <= MOST, "{all} states are more than everybody who tests a change should wait for");
}

/// The properties that changed rules, or a changed controller, break. It ends with the first.
pub fn broken(config: &Config, decide: Decide, controller: Controller) -> Vec<&'static str> {
    let operator = Operator::new(config, decide, controller);
    let checker = operator.checker().finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let properties = checker.model().properties();
    let failures =
        properties.iter().filter(|property| property.expectation == stateright::Expectation::Always);
    failures.map(|property| property.name).filter(|name| checker.discovery(name).is_some()).collect()
}

/// A path: what happened, and what was another after it.
fn told(path: Path<World, Action>) -> String {
    let mut text = String::new();
    let mut before = Vec::new();
    let mut happened = None;
    for (world, action) in path.into_vec() {
        if let Some(action) = happened {
            let _ = writeln!(text, "{action:?}");
        }
        let now = lines(&world);
        for line in now.iter().filter(|line| !before.contains(*line)) {
            let _ = writeln!(text, "    {line}");
        }
        (before, happened) = (now, action);
    }
    text
}

fn lines(world: &World) -> Vec<String> {
    let mut lines = vec![
        format!(
            "remote {:?}, sent and given up {:?}, Secrets {:?}",
            world.remote, world.orphan, world.secrets
        ),
        format!("slot {:?}, {:?}", world.working.slot, world.truth),
    ];
    let seen = world.working.known.iter().zip(&world.standby);
    for (index, (link, (known, standby))) in world.links.iter().zip(seen).enumerate() {
        lines.push(format!("link {index}: {link:?}"));
        if known.link != *link {
            lines.push(format!("  seen as {:?}", known.link));
        }
        if standby.link != *link {
            lines.push(format!("  by the copy that waits as {:?}", standby.link));
        }
        lines.push(format!("  link {index} in memory: {:?}, read {:?}", known.memory, known.read));
        lines.extend(known.answered.map(|attempt| format!("  link {index}: {attempt:?}")));
        lines.extend(known.calling.map(|calling| format!("  link {index} calls {:?}", calling.call)));
    }
    lines
}
