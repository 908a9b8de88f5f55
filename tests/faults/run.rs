//! One run of a story with faults, and what came of it.

use std::time::Duration;

use migrationlink_operator::decision::{Step, View};
use migrationlink_simulator::Config;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::border::{Fault, Kind, Phase, Point, Record};
use crate::oracle;
use crate::stories::Story;
use crate::world::{World, log};

/// The longest that a story may take until everything is as it has to be.
const PATIENCE: Duration = Duration::from_hours(3);
/// So long it has to stay like that: more than an interval between two checks.
const CALM: Duration = Duration::from_secs(80);

/// What a run without faults comes to.
#[derive(Clone)]
pub struct Undisturbed {
    pub end: Value,
    pub record: std::sync::Arc<Record>,
}

/// A run.
pub struct Run {
    pub record: Record,
    /// When everything was as it had to be.
    pub settled: Duration,
    pub log: String,
}

/// A run in which something was wrong.
#[derive(Debug)]
pub struct Failed {
    pub wrong: String,
    pub log: String,
}

/// Runs the story without faults.
pub fn undisturbed(story: Story, decide: fn(&View<'_>) -> Step) -> Undisturbed {
    on_a_runtime(async {
        let world = World::new(Config::default(), decide);
        story.prepare(&world).await;
        world.border.arm(&[]);
        let _replicas = story.happen(&world).await;
        sleep(CALM).await;
        let end = oracle::state(&world);
        Undisturbed { end, record: world.border.record().into() }
    })
}

/// Runs the story with these faults, and says what is wrong, if anything is.
pub fn run(
    story: Story,
    plan: &[Point],
    expected: &Undisturbed,
    decide: fn(&View<'_>) -> Step,
) -> Result<Run, Failed> {
    let _log = log::take_down();
    let (mut record, settled) = on_a_runtime(async {
        let world = World::new(Config::default(), decide);
        story.prepare(&world).await;
        world.border.arm(plan);
        let begin = Instant::now();
        let _replicas = story.happen(&world).await;
        let mut settled = Duration::ZERO;
        loop {
            let Some(time) = settles(begin, &world, &expected.end).await else {
                let end = oracle::state(&world);
                world
                    .border
                    .violation(format!("after {PATIENCE:?} it is {end:#}\nand not {:#}", expected.end));
                break;
            };
            settled = time;
            let met = world.border.met_so_far();
            sleep(CALM).await;
            let end = oracle::state(&world);
            if end == expected.end {
                break;
            }
            // What goes wrong meanwhile may be told.
            if met == world.border.met_so_far() {
                world
                    .border
                    .violation(format!("it does not stay as it is: {end:#}\nand not {:#}", expected.end));
                break;
            }
        }
        oracle::nothing_leaks(&world);
        (world.border.record(), settled)
    });
    let log = log::text();
    count_posts(&mut record, &expected.record);
    if record.violations.is_empty() {
        return Ok(Run { record, settled, log });
    }
    Err(Failed { wrong: record.violations.join("\n"), log })
}

/// Waits until everything is as it has to be. None if that takes too long.
async fn settles(begin: Instant, world: &World, end: &Value) -> Option<Duration> {
    while begin.elapsed() < PATIENCE {
        if oracle::state(world) == *end {
            return Some(begin.elapsed());
        }
        sleep(Duration::from_secs(2)).await;
    }
    None
}

/// A token is sent as often as it has to be: once more only for a POST that was refused or whose answer was lost, and for
/// one whose process ended before it could record it.
fn count_posts(record: &mut Record, expected: &Record) {
    let on_posts = |counts: &dyn Fn(&Point) -> bool| {
        record.met.iter().filter(|point| point.crossing.kind == Kind::Post && counts(point)).count()
    };
    // What is slow is answered. Whose process ended after the effect is counted with the orphans.
    let refused = on_posts(&|point| match (point.phase, point.fault) {
        (_, Fault::Slow) => false,
        (phase, Fault::Crash) => phase == Phase::Before,
        _ => true,
    });
    let lost =
        on_posts(&|point| point.phase == Phase::Effect && !matches!(point.fault, Fault::Slow | Fault::Crash));
    let (sent, may_be_sent) = (record.sent, expected.sent + refused + record.orphans);
    let (effective, may_be) = (record.effective, expected.effective + lost + record.orphans);
    if sent > may_be_sent || effective > may_be {
        record.violations.push(format!(
            "{sent} POSTs where {may_be_sent} may be, {effective} of them with an effect where {may_be} may be"
        ));
    }
}

/// Runs on a clock that stands still until everybody waits.
pub fn on_a_runtime<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    tokio::task::LocalSet::new().block_on(&runtime, future)
}
