//! All single faults, and a part of the pairs.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use migrationlink_operator::decision::decide;

use crate::border::{ALL_KINDS, Crossing, Fault, Kind, Phase, Point, parse};
use crate::run::{Failed, Run, Undisturbed, run, undisturbed};
use crate::stories::{STORIES, Story};

/// So many pairs are run by `make test`; `make test-long` runs all.
const PAIRS: usize = 20_000;
/// So many failed runs are told in full.
const TOLD: usize = 3;

/// All runs with one fault.
struct Singles {
    stories: Vec<(Story, Undisturbed)>,
    runs: Vec<Single>,
}

/// A run with one fault: the story by its place, the fault, and where another one could come after it.
struct Single {
    story: usize,
    point: Point,
    met: bool,
    then: Vec<Crossing>,
}

/// What came of many runs.
#[derive(Default)]
struct Tally {
    runs: AtomicUsize,
    met: AtomicUsize,
    slowest: Mutex<(Duration, String)>,
    failed: Mutex<Vec<(String, Failed)>>,
}

impl Tally {
    /// Runs a story with these faults; what the run asked, if nothing was wrong with it.
    fn run(&self, (story, expected): &(Story, Undisturbed), plan: &[Point]) -> Option<Run> {
        self.runs.fetch_add(1, Ordering::Relaxed);
        let name = name(*story, plan);
        match run(*story, plan, expected, decide) {
            Ok(run) => {
                if run.record.met.len() == plan.len() {
                    self.met.fetch_add(1, Ordering::Relaxed);
                }
                let mut slowest = self.slowest.lock().unwrap();
                if run.settled > slowest.0 {
                    *slowest = (run.settled, name);
                }
                Some(run)
            }
            Err(error) => {
                self.failed.lock().unwrap().push((name, error));
                None
            }
        }
    }

    /// Says how it went, and fails if a run did.
    fn tell(self, what: &str, took: Duration) {
        let (slowest, by) = self.slowest.into_inner().unwrap();
        crate::say(&format!(
            "{what}: {} runs, {} met all of their faults, in {} s; the slowest was as it had to be after {} s: {by}",
            self.runs.into_inner(),
            self.met.into_inner(),
            took.as_secs(),
            slowest.as_secs()
        ));
        let failed = self.failed.into_inner().unwrap();
        for (name, error) in failed.iter().take(TOLD) {
            println!("--- {name}\n{}\n{}", error.wrong, error.log);
        }
        let lines: Vec<String> = failed
            .iter()
            .map(|(name, error)| format!("{name}: {}", error.wrong.lines().next().unwrap_or_default()))
            .collect();
        assert!(failed.is_empty(), "{} runs failed:\n{}", failed.len(), lines.join("\n"));
    }
}

/// A run by its name: `rotation/post#1/effect/crash`, and for two faults `…+patch-status#1/before/timeout`.
fn name(story: Story, plan: &[Point]) -> String {
    let faults: Vec<String> = plan.iter().map(ToString::to_string).collect();
    format!("{}/{}", story.name(), faults.join("+"))
}

/// Every fault at these places.
fn faults(crossings: &[Crossing]) -> impl Iterator<Item = Point> {
    crossings.iter().flat_map(|crossing| {
        let crossing = *crossing;
        crossing.kind.faults().into_iter().map(move |(phase, fault)| Point { crossing, phase, fault })
    })
}

/// Does all the work on as many threads as there are cores; what came of each, in order.
fn on_all_cores<T: Sync, U: Send>(work: &[T], each: impl Fn(&T) -> U + Sync) -> Vec<U> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = work.get(at) else { return };
                    let result = each(item);
                    done.lock().unwrap().push((at, result));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap();
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}

/// They are run once, whichever test comes first.
fn singles() -> &'static Singles {
    static SINGLES: OnceLock<Singles> = OnceLock::new();
    SINGLES.get_or_init(|| {
        let begin = Instant::now();
        let one = std::env::var("MIGRATIONLINK_STORY").ok();
        let stories = STORIES.iter().filter(|(_, name)| one.as_ref().is_none_or(|one| one == name));
        let stories: Vec<_> = stories.map(|(story, _)| (*story, undisturbed(*story, decide))).collect();
        let work: Vec<(usize, Point)> = stories
            .iter()
            .enumerate()
            .flat_map(|(at, (_, expected))| faults(&expected.record.crossings).map(move |point| (at, point)))
            .collect();
        let tally = Tally::default();
        let done = on_all_cores(&work, |(story, point)| tally.run(&stories[*story], &[*point]));
        let runs = work.into_iter().zip(done).map(|((story, point), run)| {
            let met = run.as_ref().is_some_and(|run| run.record.met.contains(&point));
            let crossings = run.map(|run| run.record.crossings).unwrap_or_default();
            let later = crossings.into_iter().skip_while(|at| *at != point.crossing).skip(1);
            Single { story, point, met, then: later.collect() }
        });
        let runs = runs.collect();
        tally.tell("single faults", begin.elapsed());
        Singles { stories, runs }
    })
}

#[test]
fn every_single_fault() {
    let met: BTreeSet<_> =
        singles().runs.iter().filter(|single| single.met).map(|single| sort_of(single.point)).collect();
    let all = ALL_KINDS
        .into_iter()
        .flat_map(|kind| kind.faults().into_iter().map(move |(phase, fault)| (kind, phase, fault)));
    let missing: Vec<_> = all.filter(|sort| !met.contains(sort)).collect();
    assert!(missing.is_empty(), "no run meets {missing:?}");
}

fn sort_of(point: Point) -> (Kind, Phase, Fault) {
    (point.crossing.kind, point.phase, point.fault)
}

/// A second fault at every place that the run with the first one came to after it.
#[test]
fn pairs_of_faults() {
    let Singles { stories, runs } = singles();
    let seed = std::env::var("MIGRATIONLINK_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let begin = Instant::now();
    let count: usize = runs.iter().map(|single| faults(&single.then).count()).sum();
    let long = crate::long();
    let chosen = if long { (0..count).collect() } else { sample(count, PAIRS, seed) };
    crate::say(&format!("pairs of faults: {} of {count}, MIGRATIONLINK_SEED={seed}", chosen.len()));
    let mut work = Vec::new();
    let mut chosen = chosen.into_iter().peekable();
    let mut number = 0;
    for single in runs {
        for second in faults(&single.then) {
            if chosen.next_if_eq(&number).is_some() {
                work.push((single.story, [single.point, second]));
            }
            number += 1;
        }
    }
    let tally = Tally::default();
    // What each asked is not kept: of millions that would be gigabytes.
    on_all_cores(&work, |(story, plan)| drop(tally.run(&stories[*story], plan)));
    tally.tell("pairs of faults", begin.elapsed());
}

/// So many different numbers below `count`, in order.
fn sample(count: usize, wanted: usize, seed: u64) -> Vec<usize> {
    let mut chosen = BTreeSet::new();
    let mut state = seed;
    while chosen.len() < wanted.min(count) {
        // splitmix64
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        chosen.insert(usize::try_from((mixed ^ (mixed >> 31)) % count as u64).unwrap());
    }
    chosen.into_iter().collect()
}

/// The runs that failed once.
#[test]
fn found_before() {
    let begin = Instant::now();
    let names = include_str!("found.txt").lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let tally = Tally::default();
    on_all_cores(&names.collect::<Vec<_>>(), |name| {
        let (story, plan) = parsed(name);
        tally.run(&(story, undisturbed(story, decide)), &plan)
    });
    let missed = tally.runs.load(Ordering::Relaxed) - tally.met.load(Ordering::Relaxed);
    tally.tell("found before", begin.elapsed());
    assert_eq!(missed, 0, "a run did not come to its faults: what it was for is not looked at any more");
}

fn parsed(name: &str) -> (Story, Vec<Point>) {
    let (story, faults) = name.split_once('/').expect("story/fault");
    let story = Story::by_name(story).expect("a story");
    (story, faults.split('+').map(|fault| parse(fault).expect("a fault")).collect())
}

/// Runs one again and tells all of it: `MIGRATIONLINK_FAULT=rotation/post#1/effect/crash`.
#[test]
fn replay() {
    let Ok(name) = std::env::var("MIGRATIONLINK_FAULT") else { return };
    let (story, plan) = parsed(&name);
    let expected = undisturbed(story, decide);
    match run(story, &plan, &expected, decide) {
        Ok(run) => println!("{}\nfine, settled after {:?}", run.log, run.settled),
        Err(Failed { wrong, log }) => panic!("{log}\n{wrong}"),
    }
}
