//! What holds whatever links, calls and time do.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::remote::pacing::tests::is_within;

const LINKS: usize = 12;

#[derive(Clone, Copy, Debug)]
enum Event {
    Pass(u64),
    /// A link asks on its own.
    Ask(usize, Urgency),
    /// Those that were woken come.
    Come,
    /// A call ends.
    End(usize, Verdict),
    Forget(usize),
}

fn event() -> impl Strategy<Value = Event> {
    let urgency = prop_oneof![Just(Urgency::Change), Just(Urgency::Backlog), Just(Urgency::Routine)];
    let verdict = prop_oneof![
        4 => Just(Verdict::Answered),
        4 => Just(Verdict::Unavailable),
        1 => Just(Verdict::Limited(Some(Duration::from_secs(7)))),
        1 => Just(Verdict::Nothing),
    ];
    prop_oneof![
        2 => (0u64..3000).prop_map(Event::Pass),
        6 => (0..LINKS, urgency).prop_map(|(link, urgency)| Event::Ask(link, urgency)),
        4 => Just(Event::Come),
        5 => (any::<usize>(), verdict).prop_map(|(index, verdict)| Event::End(index, verdict)),
        1 => (0..LINKS).prop_map(Event::Forget),
    ]
}

fn pacing() -> impl Strategy<Value = Pacing> {
    let rate = || prop_oneof![Just("0"), Just("3/s"), Just("90/m")].prop_map(rate);
    (1usize..9, 1usize..5, rate(), rate()).prop_map(
        |(concurrency, origin_concurrency, api_rate, origin_rate)| Pacing {
            concurrency,
            origin_concurrency,
            api_rate,
            origin_rate,
        },
    )
}

/// Twelve links of three credentials at two origins.
struct World {
    pacing: Pacing,
    pacer: Pacer,
    places: [(Origin, CredentialId); 3],
    start: Instant,
    now: Instant,
    woken: Vec<Key>,
    calls: Vec<(usize, Permit)>,
    /// The links that want to call.
    waiting: [bool; LINKS],
    /// What went when.
    trace: Vec<(Duration, usize)>,
}

impl World {
    fn new(pacing: Pacing) -> Self {
        let (one, other) = (origin("one"), origin("other"));
        let [a, b] = credentials(&one);
        let [c] = credentials(&other);
        let now = Instant::now();
        Self {
            pacing,
            pacer: pacer(pacing),
            places: [(one.clone(), a), (one, b), (other, c)],
            start: now,
            now,
            woken: Vec::new(),
            calls: Vec::new(),
            waiting: [false; LINKS],
            trace: Vec::new(),
        }
    }

    fn ask(&mut self, link: usize, urgency: Urgency) {
        if self.calls.iter().any(|(running, _)| *running == link) {
            return;
        }
        self.waiting[link] = true;
        let (origin, credential) = &self.places[link % 3];
        match self.pacer.admit(&key(&link), urgency, origin, *credential, self.now) {
            Admission::Granted(permit) => {
                self.waiting[link] = false;
                self.trace.push((self.now - self.start, link));
                self.calls.push((link, permit));
            }
            Admission::Held(held) => assert!(held.until.is_none_or(|until| until > self.now)),
        }
    }

    fn wake(&mut self) {
        let woken = self.pacer.lock().turn(self.now);
        self.woken.extend(woken.into_iter().map(|(key, _)| key));
    }

    fn come(&mut self) {
        self.wake();
        for key in std::mem::take(&mut self.woken) {
            let link: usize = key.name.parse().unwrap();
            // One that was forgotten meanwhile wants nothing.
            if self.waiting[link] {
                self.ask(link, Urgency::Routine);
            }
        }
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Pass(millis) => self.now += Duration::from_millis(millis),
            Event::Ask(link, urgency) => self.ask(link, urgency),
            Event::Come => self.come(),
            Event::End(index, verdict) => {
                if !self.calls.is_empty() {
                    let (_, permit) = self.calls.swap_remove(index % self.calls.len());
                    permit.done(verdict, self.now);
                }
            }
            Event::Forget(link) => {
                self.waiting[link] = false;
                self.pacer.forget(&key(&link), self.now);
            }
        }
        self.wake();
        let mut in_flight = BTreeMap::new();
        for (link, _) in &self.calls {
            *in_flight.entry(&self.places[link % 3].0).or_insert(0) += 1;
        }
        assert!(in_flight.values().all(|calls| *calls <= self.pacing.origin_concurrency), "{in_flight:?}");
    }

    /// From now on everything is answered at once: everybody goes in a minute and what the rates ask for.
    fn settle(&mut self) {
        let began = self.now;
        // Links that were woken before and lost their place have asked again with that.
        self.come();
        loop {
            for (_, permit) in std::mem::take(&mut self.calls) {
                permit.done(Verdict::Answered, self.now);
            }
            self.come();
            if !self.calls.is_empty() {
                continue;
            }
            let Some(alarm) = self.pacer.lock().alarm() else { break };
            self.now = alarm.max(self.now);
            self.come();
        }
        assert_eq!(self.waiting, [false; LINKS], "somebody was left");
        assert!(self.now - began <= Duration::from_secs(90), "{:?}", self.now - began);
    }

    fn check_rates(&self) {
        let times = |of: &dyn Fn(usize) -> bool| -> Vec<Instant> {
            self.trace.iter().filter(|(_, link)| of(*link)).map(|(time, _)| self.start + *time).collect()
        };
        for n in 0..3 {
            assert!(is_within(self.pacing.api_rate, &times(&|link| link % 3 == n)));
        }
        assert!(is_within(self.pacing.origin_rate, &times(&|link| link % 3 < 2)));
        assert!(is_within(self.pacing.origin_rate, &times(&|link| link % 3 == 2)));
    }
}

proptest! {
    #[test]
    fn nothing_is_exceeded_nobody_is_left_and_hashes_decide_nothing(
        pacing in pacing(),
        events in proptest::collection::vec(event(), 0..200),
    ) {
        let traces = [(); 2].map(|()| {
            // Each world has other ids of its credentials and other hash tables.
            let mut world = World::new(pacing);
            for event in &events {
                world.happens(*event);
            }
            world.settle();
            world.check_rates();
            world.trace
        });
        prop_assert_eq!(&traces[0], &traces[1]);
    }
}
