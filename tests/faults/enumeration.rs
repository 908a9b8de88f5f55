//! All single faults, and a part of the pairs.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use migrationlink_operator::decision::decide;

use crate::border::{Crossing, Point, parse};
use crate::run::{Undisturbed, run, undisturbed};
use crate::stories::{STORIES, Story};

/// So many failed runs are told in full.
const TOLD: usize = 3;

/// A run by its name: `rotation/post#1/effect/crash`, and for two faults `…+patch-status#1/before/timeout`.
fn name(story: Story, plan: &[Point]) -> String {
    let faults: Vec<String> = plan.iter().map(ToString::to_string).collect();
    format!("{}/{}", story.name(), faults.join("+"))
}

/// Every fault at these places.
fn faults(crossings: &[Crossing]) -> Vec<Point> {
    let at = |crossing: &Crossing| {
        let crossing = *crossing;
        crossing.kind.faults().into_iter().map(move |(phase, fault)| Point { crossing, phase, fault })
    };
    crossings.iter().flat_map(at).collect()
}

/// Does all the work on as many threads as there are cores.
fn on_all_cores<T: Sync>(work: &[T], each: impl Fn(&T) + Sync) {
    let next = AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(item) = work.get(next.fetch_add(1, Ordering::Relaxed)) {
                    each(item);
                }
            });
        }
    });
}

#[test]
fn single_faults() {
    let begin = Instant::now();
    let stories: Vec<(Story, Undisturbed)> =
        STORIES.iter().map(|(story, _)| (*story, undisturbed(*story, decide))).collect();
    let work: Vec<(usize, Point)> = stories
        .iter()
        .enumerate()
        .flat_map(|(at, (_, expected))| {
            faults(&expected.record.crossings).into_iter().map(move |point| (at, point))
        })
        .collect();
    let failed = Mutex::new(Vec::new());
    let (met, slowest) = (AtomicUsize::new(0), Mutex::new((std::time::Duration::ZERO, String::new())));
    on_all_cores(&work, |(at, point)| {
        let (story, expected) = &stories[*at];
        let name = name(*story, &[*point]);
        match run(*story, &[*point], expected, decide) {
            Ok(run) => {
                met.fetch_add(run.record.met.len(), Ordering::Relaxed);
                let mut slowest = slowest.lock().unwrap();
                if run.settled > slowest.0 {
                    *slowest = (run.settled, name);
                }
            }
            Err(error) => failed.lock().unwrap().push((name, error)),
        }
    });
    let failed = failed.into_inner().unwrap();
    println!(
        "single faults: {} runs, {} of them met their fault, {:?}, slowest to settle {:?}",
        work.len(),
        met.into_inner(),
        begin.elapsed(),
        slowest.into_inner().unwrap()
    );
    for (name, error) in failed.iter().take(TOLD) {
        println!("--- {name}\n{error}");
    }
    for (name, error) in &failed {
        println!("{name}: {}", error.lines().next().unwrap_or_default());
    }
    assert!(failed.is_empty(), "{} runs failed", failed.len());
}

/// Runs one again and tells all of it: `MIGRATIONLINK_FAULT=rotation/post#1/effect/crash`.
#[test]
fn replay() {
    let Ok(name) = std::env::var("MIGRATIONLINK_FAULT") else { return };
    let (story, faults) = name.split_once('/').expect("story/fault");
    let story = Story::by_name(story).expect("a story");
    let plan: Vec<_> = faults.split('+').map(|fault| parse(fault).expect("a fault")).collect();
    let expected = undisturbed(story, decide);
    match run(story, &plan, &expected, decide) {
        Ok(run) => println!("{}\nfine, settled after {:?}", run.log, run.settled),
        Err(error) => panic!("{error}"),
    }
}
