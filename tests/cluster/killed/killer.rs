//! Kills copies at random moments, tells some to end instead, and starts each anew at once.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::chance::Chance;
use super::oracle::Death;
use super::pair::{CALL, Pair, WRITE};
use crate::support::Operator;

/// So long somebody else may take to lead: seconds, and on a machine that starves the API server minutes.
const PATIENCE: Duration = Duration::from_mins(3);
/// Kills fall within this time from when a copy leads.
const SPAN: Duration = Duration::from_secs(4);

/// So many times out of a hundred the leader is told to end instead.
const STOPS: u64 = 30;

#[derive(Clone, Copy)]
enum Whom {
    Leader,
    Follower,
    Both,
}

/// Two copies, of which one is killed again and again.
pub struct Copies<'a> {
    pair: &'a Pair<'a>,
    running: [Operator<'a>; 2],
    /// When each was last seen alive.
    seen: [Duration; 2],
}

impl<'a> Copies<'a> {
    /// Starts both.
    pub async fn start(pair: &'a Pair<'a>) -> Self {
        let running = [pair.start().await, pair.start().await];
        Self { pair, running, seen: [pair.now(); 2] }
    }

    /// The first of them: what is asked of its log and of the API server is asked in the name of both.
    pub fn any(&self) -> &Operator<'a> {
        &self.running[0]
    }

    /// Kills so often, then lets all go on undisturbed.
    pub async fn kill(&mut self, mut kills: usize, chance: &mut Chance) {
        while kills > 0 {
            let whom = match chance.pick(&[0, 0, 0, 0, 0, 0, 1, 1, 2, 2]) {
                0 => Whom::Leader,
                2 if kills > 1 => Whom::Both,
                _ => Whom::Follower,
            };
            let leader = self.leader().await;
            self.moment(chance).await;
            // Another one may have taken over meanwhile, by itself.
            self.look().await;
            if chance.percent(STOPS) {
                self.stop(leader).await;
                continue;
            }
            let whom = match whom {
                Whom::Leader => &[leader][..],
                Whom::Follower => &[1 - leader],
                Whom::Both => &[0, 1],
            };
            kills -= whom.len();
            self.end(whom).await;
        }
        self.leader().await;
        self.pair.over.set(true);
    }

    /// Waits until somebody leads, and says who.
    async fn leader(&mut self) -> usize {
        let begin = Instant::now();
        loop {
            self.look().await;
            if let Some(leader) = self.running.iter().position(leads) {
                return leader;
            }
            assert!(begin.elapsed() < PATIENCE, "nobody leads: {}", self.any().log());
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Any moment, or one soon after a POST or DELETE: there a kill hurts.
    async fn moment(&self, chance: &mut Chance) {
        if chance.percent(50) {
            sleep(chance.within(SPAN)).await;
            return;
        }
        let writes = || {
            let calls = self.pair.cloud.calls();
            calls.posts + calls.others
        };
        let (before, begin) = (writes(), Instant::now());
        while writes() == before && begin.elapsed() < SPAN {
            sleep(Duration::from_millis(10)).await;
        }
        let [before, after] = WRITE;
        sleep(chance.within(CALL + before + after)).await;
    }

    /// Tells one to end (SIGTERM), and starts another one. That explains no POST: all that it had begun is recorded.
    async fn stop(&mut self, n: usize) {
        let from = self.pair.now();
        if self.running[n].stop().await != Some(0) {
            return self.ended_by_itself(n, from).await;
        }
        let log = self.running[n].log();
        assert!(
            !log.contains("cut off") && !log.contains("made again"),
            "ten seconds were not enough: {log}"
        );
        self.pair.stops.set(self.pair.stops.get() + 1);
        self.begin_anew(n).await;
    }

    async fn end(&mut self, whom: &[usize]) {
        let from = self.pair.now();
        let [first, second] = &mut self.running;
        match whom {
            [0] => first.kill().await,
            [1] => second.kill().await,
            _ => drop(tokio::join!(first.kill(), second.kill())),
        }
        for &n in whom {
            self.buried(n, from).await;
        }
    }

    /// Notes the end of a copy that was alive at this time, and starts another one.
    async fn buried(&mut self, n: usize, from: Duration) {
        let until = self.pair.now();
        self.pair.deaths.borrow_mut().push(Death { from, until, led: leads(&self.running[n]) });
        self.begin_anew(n).await;
    }

    /// Starts another one in the place of one that has ended, and not by a panic.
    async fn begin_anew(&mut self, n: usize) {
        let log = self.running[n].log();
        assert!(!log.contains("panicked"), "{log}");
        self.running[n] = self.pair.start().await;
        self.seen[n] = self.pair.now();
    }

    /// Sees whether one has ended by itself. It may only if it could not renew its lease: that is a crash as good as any.
    pub async fn look(&mut self) {
        for n in [0, 1] {
            if !self.running[n].has_ended() {
                self.seen[n] = self.pair.now();
                continue;
            }
            self.ended_by_itself(n, self.seen[n]).await;
        }
    }

    async fn ended_by_itself(&mut self, n: usize, from: Duration) {
        let log = self.running[n].log();
        assert!(log.contains("could not be renewed"), "the operator has ended by itself: {log}");
        self.pair.by_themselves.set(self.pair.by_themselves.get() + 1);
        self.buried(n, from).await;
    }
}

/// Whether it is or was the copy that works: it stays so to its end. It says so before it does anything.
fn leads(operator: &Operator<'_>) -> bool {
    operator.log().contains("leads: it holds the lease")
}
