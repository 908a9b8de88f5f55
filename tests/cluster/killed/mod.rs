//! `kill -9` at random moments, and SIGTERM, which may cost no POST: two copies of the real program, links that change all the time, and an
//! exact account of every POST.
//!
//! `MIGRATIONLINK_SEED` gives the first round's seed again: the changes and the kills are chosen as they were. How they fall into
//! each other is up to the machine.

mod chance;
mod chronicle;
mod churn;
mod killer;
mod oracle;
mod pair;
mod wanted;

use std::collections::BTreeSet;
use std::io::Write as _;
use std::time::Duration;

use futures::future::join_all;
use kube::ResourceExt;
use kube::api::ListParams;
use tokio::time::{Instant, sleep};

use self::chance::Chance;
use self::churn::Life;
use self::killer::Copies;
use self::pair::Pair;
use crate::support::{ControlPlane, Tenant, eventually, org_id};

/// Pairs of copies at work at the same time, each in its namespace: it takes six seconds until a dead leader's lease expires.
const PAIRS: usize = 4;
/// Links of each pair.
const LINKS: usize = 6;
/// Kills of a round, and of a long run.
const KILLS: [usize; 2] = [30, 1000];
/// So long nothing is asked of anybody once all is settled.
const QUIET: Duration = Duration::from_secs(5);

/// What a round came to.
#[derive(Debug, Default)]
struct Total {
    kills: usize,
    by_themselves: usize,
    /// Copies that were told to end.
    stops: usize,
    changes: usize,
    /// Kills that fell between a POST and its record, and how many POSTs of links they hit.
    between: usize,
    hit: usize,
    needed: usize,
    made: usize,
}

#[tokio::test]
async fn killed_copies_lose_nothing_and_repeat_no_more_than_what_they_could_not_record() {
    let control_plane = ControlPlane::start();
    let long = std::env::var("MIGRATIONLINK_LONG").is_ok_and(|long| long == "1");
    let (mut left, mut seed) = (KILLS[usize::from(long)], chance::seed());
    while left > 0 {
        let kills = left.min(KILLS[0]);
        say(&format!("MIGRATIONLINK_SEED={seed}"));
        let begin = Instant::now();
        let total = round(&control_plane, seed, kills).await;
        let Total { kills, by_themselves, stops, changes, between, hit, needed, made } = total;
        say(&format!(
            "seed {seed}, {kills} kills, {stops} copies told to end, {by_themselves} ends for want of a renewal, {changes} \
             changes; {between} fell between a POST and its record ({hit} POSTs); {needed} POSTs needed, {made} made; {:.0} s",
            begin.elapsed().as_secs_f64()
        ));
        left -= kills;
        seed += 1;
    }
}

/// Says it whether or not the test passes: what is printed with `println!` is shown of a test that failed only.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "kill -9: {line}");
}

async fn round(control_plane: &ControlPlane, seed: u64, kills: usize) -> Total {
    let mut tenants = Vec::new();
    for _ in 0..PAIRS {
        tenants.push(Tenant::on(control_plane).await);
    }
    let pairs = tenants.iter().enumerate().map(|(n, tenant)| Pair::new(tenant, n % 2 == 1));
    let pairs = join_all(pairs).await;
    let share = |n: usize| kills / PAIRS + usize::from(n < kills % PAIRS);
    let run = pairs.iter().enumerate().map(|(n, pair)| churned(pair, seed, n, share(n)));
    let mut lives = join_all(run).await;
    quiet(&pairs, &mut lives).await;

    let mut total = Total::default();
    let mut faults = Vec::new();
    for (pair, (_, lives)) in pairs.iter().zip(&lives) {
        check_the_end(pair, lives).await;
        let deaths = pair.deaths.borrow();
        let (mut between, mut hit) = (BTreeSet::new(), 0);
        for life in lives {
            let account = oracle::judge(&life.history(), &deaths);
            faults.extend(account.faults.iter().map(|fault| format!("{}: {fault}", life.org_id)));
            hit += account.between.len();
            total.needed += account.needed;
            total.made += account.made;
            total.changes += life.changes;
            between.extend(account.between);
        }
        assert!(
            !pair.one_at_a_time || hit == between.len(),
            "seed {seed}: a kill hit several POSTs at a time"
        );
        total.hit += hit;
        total.between += between.len();
        total.by_themselves += pair.by_themselves.get();
        total.stops += pair.stops.get();
        total.kills += deaths.len() - pair.by_themselves.get();
    }
    assert!(faults.is_empty(), "seed {seed}: {faults:#?}");
    assert!(total.made <= total.needed + total.hit, "seed {seed}: {total:?}");
    total
}

/// One pair through all its kills, until all of its links are settled.
async fn churned<'a>(pair: &'a Pair<'a>, seed: u64, n: usize, kills: usize) -> (Copies<'a>, Vec<Life<'a>>) {
    let stream = |m: usize| u64::try_from(n * 100 + m).expect("small");
    let mut lives = Vec::new();
    for link in 0..LINKS {
        let id = org_id(n * LINKS + link);
        let life = Life::begin(pair, format!("link-{link}"), id, Chance::new(seed, stream(link))).await;
        pair.slow_calls(&life.org_id, link % 2 == 0);
        lives.push(life);
    }
    let mut copies = Copies::start(pair).await;
    let mut chance = Chance::new(seed, stream(LINKS));
    tokio::join!(copies.kill(kills, &mut chance), join_all(lives.iter_mut().map(Life::live)));
    (copies, lives)
}

/// Waits until nobody has anything more to do, and sees that it stays so.
async fn quiet(pairs: &[Pair<'_>], lives: &mut [(Copies<'_>, Vec<Life<'_>>)]) {
    let asked = |lives: &[(Copies<'_>, Vec<Life<'_>>)]| -> Vec<_> {
        let kubernetes = lives.iter().map(|(copies, _)| copies.any().requests().counts());
        kubernetes.zip(pairs.iter().map(|pair| pair.cloud.simulator.journal().len())).collect()
    };
    eventually("nobody has anything more to do", async || {
        let before = asked(lives);
        sleep(Duration::from_secs(1)).await;
        let after = asked(lives);
        if before == after { Ok(()) } else { Err(format!("{before:?}, {after:?}")) }
    })
    .await;
    let before = asked(lives);
    sleep(QUIET).await;
    for (copies, _) in lives.iter_mut() {
        copies.look().await;
    }
    assert_eq!(before, asked(lives), "asked for more though all was settled");
}

/// Everything is as it should be, in the API server's own words.
async fn check_the_end(pair: &Pair<'_>, lives: &[Life<'_>]) {
    for life in lives {
        assert_eq!(life.settled(), Ok(()), "{}", life.org_id);
    }
    let links = pair.tenant.links().list(&ListParams::default()).await.expect("links").items;
    let mut found: Vec<_> = links.iter().map(ResourceExt::name_any).collect();
    let mut expected: Vec<_> = lives.iter().filter_map(Life::present).map(str::to_owned).collect();
    found.sort();
    expected.sort();
    assert_eq!(found, expected, "a finalizer hangs, or a link is missing");
}
