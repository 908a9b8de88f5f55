//! What nobody else's trouble may change: how quick the checks of a neighbour are, and what the operator is as a process.

use std::fmt;
use std::fs;
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use migrationlink_operator::api::{ConditionType, Conditions, RECONCILE_AT};

use crate::support::{Cloud, Operator, Tenant, World, link_spec};

/// So long a check of the neighbour may take, whatever else there is to do.
const PROMPT: Duration = Duration::from_secs(2);
/// So much longer than undisturbed half of the checks may take. The machine has other work; a call, a connection or a body that the
/// neighbour had to wait for would take 5, 10 or 30 s.
const MARGIN: Duration = Duration::from_millis(750);
/// Checks that nobody disturbs.
const UNDISTURBED: usize = 12;
/// The longest that a page of a status may be.
const LONGEST_MESSAGE: usize = 1024;

/// The neighbour's name, and its organization.
const NAME: &str = "neighbour";
const ORG_ID: &str = "5f0d1e2affffffffffffffff";

/// An operator at work for a neighbour who has done nothing to anybody.
pub struct Beside<'a> {
    operator: &'a Operator<'a>,
    tenant: &'a Tenant<'a>,
    undisturbed: Times,
    before: Memory,
    checks: usize,
}

/// How long several checks took, the shortest first.
#[derive(Clone, Default)]
pub struct Times(Vec<Duration>);

/// The memory of a process in KiB.
#[derive(Clone, Copy)]
pub struct Memory {
    now: usize,
    most: usize,
}

impl<'a> Beside<'a> {
    /// Creates the neighbour, with a Secret of its own, and measures its checks while nobody disturbs.
    pub async fn new(tenant: &'a Tenant<'a>, cloud: &Cloud, operator: &'a Operator<'a>) -> Self {
        cloud.add_organization(ORG_ID);
        tenant.create_secret(NAME, &Cloud::secret_keys("a-token-of-no-interest")).await;
        let mut spec = link_spec(&cloud.base_url());
        ORG_ID.clone_into(&mut spec.org_id);
        NAME.clone_into(&mut spec.secret_ref.name);
        tenant.create_link(NAME, spec).await;
        tenant.wait_for_ready(NAME, "True", "Synced").await;
        let nothing = Times(Vec::new());
        let before = Memory::of(operator);
        let mut beside = Self { operator, tenant, undisturbed: nothing, before, checks: 0 };
        // The first finds no connection.
        beside.checks(2).await;
        beside.undisturbed = beside.checks(UNDISTURBED).await;
        beside.before = Memory::of(operator);
        println!("undisturbed: {}; {}", beside.undisturbed, beside.before);
        beside
    }

    /// Measures the neighbour's checks now. They take what they took.
    pub async fn is_as_quick(&mut self, what: &str, checks: usize) {
        let mut times = self.checks(checks).await;
        if times.median() > self.most() {
            // The machine may have had something else to do: what really waits for somebody goes on waiting.
            times = times.and(self.checks(UNDISTURBED).await);
        }
        self.was_as_quick(what, &times);
    }

    /// The same again and again until that time.
    pub async fn is_as_quick_until(&mut self, what: &str, end: Instant) {
        let times = self.checks_until(end).await;
        self.was_as_quick(what, &times);
    }

    /// Measures the neighbour's checks until that time. They take what they take, until it is asked whether [`Beside::was_as_quick`].
    pub async fn checks_until(&mut self, end: Instant) -> Times {
        let mut times = Vec::new();
        while Instant::now() < end {
            times.extend(self.checks(1).await.0);
            // Ten a second are enough to meet whatever there is, and leave the machine to the others.
            sleep(Duration::from_millis(100)).await;
        }
        Times::of(times)
    }

    /// Checks that were measured while something else went on took no longer than undisturbed, as far as the machine lets that be seen.
    pub fn was_as_quick(&self, what: &str, times: &Times) {
        println!("{what}: {times}; {}", Memory::of(self.operator));
        let (median, longest) = (times.median(), times.longest());
        assert!(longest <= PROMPT, "{what}: {times}, undisturbed {}", self.undisturbed);
        assert!(median <= self.most(), "{what}: {times}, undisturbed {}", self.undisturbed);
    }

    /// What half of the checks may take.
    fn most(&self) -> Duration {
        2 * self.undisturbed.median() + MARGIN
    }

    /// The operator is the process that it was, has not panicked, works, and has taken no more memory than this at any time.
    pub async fn is_unharmed(&self, most_mib: usize) {
        let after = Memory::of(self.operator);
        println!("in the end: {after}, before: {}", self.before);
        let grown = after.most.saturating_sub(self.before.most) / 1024;
        assert!(grown <= most_mib, "{grown} MiB more than before, not {most_mib}");
        for probe in ["/livez", "/readyz"] {
            assert_eq!(self.operator.probe(probe).await.0, 200, "{probe}");
        }
        let log = self.operator.log();
        for harm in ["panicked", "a pass did not come to an end", "stack overflow"] {
            assert!(!log.contains(harm), "{log}");
        }
    }

    async fn checks(&mut self, count: usize) -> Times {
        let mut times = Vec::new();
        for _ in 0..count {
            self.checks += 1;
            times.push(check(self.tenant, &self.checks.to_string()).await);
        }
        Times::of(times)
    }
}

/// How long it takes from the wish for a check until its outcome stands in the status.
async fn check(tenant: &Tenant<'_>, wish: &str) -> Duration {
    let begin = Instant::now();
    tenant.annotate_link(NAME, RECONCILE_AT, wish).await;
    loop {
        let link = tenant.link(NAME).await;
        let status = link.status.as_ref().expect("a status");
        let conditions = status.conditions.as_ref().expect("conditions");
        assert!(conditions.is_true(ConditionType::Ready), "{status:?}");
        if status.last_handled_reconcile_at.as_deref() == Some(wish) {
            return begin.elapsed();
        }
        assert!(begin.elapsed() < Duration::from_secs(30), "the neighbour's check: {status:?}");
        sleep(Duration::from_millis(5)).await;
    }
}

impl Times {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort();
        Self(times)
    }

    /// These, and more.
    pub fn and(self, more: Self) -> Self {
        Self::of([self.0, more.0].concat())
    }

    pub fn median(&self) -> Duration {
        self.0.get(self.0.len() / 2).copied().unwrap_or_default()
    }

    pub fn longest(&self) -> Duration {
        self.0.last().copied().unwrap_or_default()
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (count, median, longest) = (self.0.len(), self.median(), self.longest());
        write!(f, "{count} checks of the neighbour, median {median:.0?}, at most {longest:.0?}")
    }
}

impl Memory {
    /// Of the operator, which must be the process that the test has started.
    pub fn of(operator: &Operator<'_>) -> Self {
        let path = format!("/proc/{}/status", operator.pid());
        let text = fs::read_to_string(&path).expect("the operator runs");
        // A process that has ended, and that nobody has asked for its exit code, has no such lines.
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("the operator runs");
            line.trim().trim_end_matches(" kB").parse().expect("a number")
        };
        Self { now: field("VmRSS:"), most: field("VmHWM:") }
    }

    /// The most that it has had, in MiB.
    pub fn most_mib(self) -> usize {
        self.most / 1024
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the operator has {} MiB, has had {} MiB", self.now / 1024, self.most / 1024)
    }
}

/// Every line of the log is one of the operator's own making: nobody else has begun a line, or coloured one.
pub fn is_sound_log(log: &str, format: &str) {
    let (whole, rest) = log.rsplit_once('\n').expect("the operator logs");
    assert_eq!(rest, "", "the last line is whole");
    for line in whole.split('\n') {
        is_plain(line);
        let sound = if format == "json" {
            serde_json::from_str::<Value>(line).is_ok_and(|line| {
                ["timestamp", "level", "target"].iter().all(|field| line[field].is_string())
            })
        } else {
            // 2026-01-01T00:00:00.000000Z  INFO migrationlink_operator: …
            let mut words = line.split_whitespace();
            let time = words.next().unwrap_or_default();
            let level = words.next().unwrap_or_default();
            time.len() == 27
                && time.starts_with("20")
                && time.ends_with('Z')
                && ["TRACE", "DEBUG", "INFO", "WARN", "ERROR"].contains(&level)
        };
        assert!(sound, "{line:?}");
    }
}

/// Nothing that moves a cursor, splits a line or turns the direction of writing.
pub fn is_plain(text: &str) {
    let foreign = |c: &char| {
        c.is_control()
            || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    assert_eq!(text.chars().find(foreign), None, "{text:?}");
}

/// What people read of a link is plain text, and no longer than it may be: its messages, its state, its events.
pub async fn is_told_plainly(world: &World, names: &[impl AsRef<str>]) {
    for name in names {
        let name = name.as_ref();
        let pages = world.diary.pages(name);
        assert!(!pages.is_empty(), "{name}");
        for status in pages.into_iter().map(|page| page.status) {
            let messages = status.conditions.iter().flatten().map(|condition| &condition.message);
            for text in messages.chain(&status.state) {
                is_plain(text);
                assert!(text.len() <= LONGEST_MESSAGE, "{text}");
            }
        }
        for event in world.tenant.events(name).await {
            let note = event.note.unwrap_or_default();
            is_plain(&note);
            assert!(note.len() <= LONGEST_MESSAGE, "{note}");
        }
    }
}
