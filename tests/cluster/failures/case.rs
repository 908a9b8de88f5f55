//! A row of the table: what goes wrong, what a person reads of it, and how it ends.

use std::ops::RangeInclusive;

use migrationlink_simulator::{Answer, Behaviour, Phase};

use crate::support::{Page, World, keys, trouble};

/// A row. Its name is that of the link and of its Secret.
pub struct Case {
    pub name: &'static str,
    /// What `Ready` says, and the condition beside it.
    pub reason: &'static str,
    /// The condition beside it.
    pub beside: &'static str,
    /// Found in the message: what happened, and what to do.
    pub says: Vec<String>,
    /// What was said before it came to that.
    pub before: Vec<&'static str>,
    /// The API's word.
    pub state: Option<&'static str>,
    /// Seconds until the first next attempt.
    pub first_wait: RangeInclusive<i64>,
    /// How often it is met in a row.
    pub times: u32,
    /// Whether the token may be in force although nobody saw it accepted.
    pub sent: bool,
    /// What the Cloud Manager does instead of the right thing.
    pub behaviours: Vec<Behaviour>,
}

impl Case {
    /// What passes by itself: the operator tries again after 1 to 2 s.
    pub fn passing(name: &'static str, reason: &'static str, says: &[&'static str]) -> Self {
        Self {
            name,
            reason,
            beside: "Reconciling",
            says: says.iter().copied().map(str::to_owned).collect(),
            before: Vec::new(),
            state: None,
            first_wait: 1..=2,
            times: 1,
            sent: false,
            behaviours: Vec::new(),
        }
    }

    /// What a person must mend: the operator looks after 1 min ± 10 %.
    pub fn stalled(name: &'static str, reason: &'static str, says: &[&'static str]) -> Self {
        let mut case = Self { beside: "Stalled", first_wait: 54..=66, ..Self::passing(name, reason, says) };
        case.says.push(format!("To try now: kubectl annotate migrationlink {name} -n "));
        case
    }

    /// The token may have taken effect.
    pub fn perhaps_sent(self) -> Self {
        Self { sent: true, ..self }
    }

    /// What the server asked for.
    pub fn waits(mut self, seconds: RangeInclusive<i64>) -> Self {
        self.first_wait = seconds;
        self
    }

    /// Instead of accepting the token.
    pub fn refused(self, answer: Answer) -> Self {
        self.once(Behaviour::new(answer).on_method("POST").in_phase(Phase::Authenticated))
    }

    /// Instead of a challenge.
    pub fn challenged(self, answer: Answer) -> Self {
        self.once(Behaviour::new(answer).on_method("POST").in_phase(Phase::Challenge))
    }

    /// To the poll that follows a POST whose answer said no state.
    pub fn polled(mut self, answer: Answer) -> Self {
        self.before = vec!["NotSynced"];
        self.state = Some("NOT_SYNCED");
        self.accepted(raw(201, ""))
            .once(Behaviour::new(answer).on_method("GET").in_phase(Phase::Authenticated))
    }

    /// To a POST that has its effect.
    pub fn accepted(self, answer: Answer) -> Self {
        let post = Behaviour::new(answer).on_method("POST").in_phase(Phase::Authenticated);
        self.once(post.after_effect())
    }

    /// At this point of the exchange, once.
    pub fn once(mut self, behaviour: Behaviour) -> Self {
        self.behaviours.push(behaviour.times(1));
        self
    }

    /// What went wrong goes wrong so often in a row.
    pub fn in_a_row(mut self, times: u32) -> Self {
        self.times = times;
        self.behaviours.iter_mut().for_each(|behaviour| behaviour.times = Some(times));
        self
    }

    /// Prepares the organization at the Cloud Manager.
    pub fn prepare(&self, world: &World, org_id: &str) {
        world.cloud.simulator.add_organization(org_id, [keys(self.name)]);
        for behaviour in &self.behaviours {
            world.cloud.simulator.script(behaviour.clone().on_organization(org_id));
        }
    }

    /// Prepares the organization, and creates link and Secret.
    pub async fn begin(&self, world: &World, org_id: &str) {
        self.begin_at(world, org_id, &world.cloud.base_url()).await;
    }

    /// The same at another origin of the Cloud Manager.
    pub async fn begin_at(&self, world: &World, org_id: &str, base_url: &str) {
        self.prepare(world, org_id);
        world.link(self.name, org_id, base_url).await;
    }

    /// All the reasons until this one.
    pub fn path(&self) -> Vec<&'static str> {
        [self.before.as_slice(), &[self.reason]].concat()
    }

    /// Checks what has been said of the failure.
    pub fn check(&self, pages: &[Page]) {
        let pages: Vec<_> =
            pages.iter().filter(|page| page.reason().as_deref() == Some(self.reason)).collect();
        let attempts: Vec<_> = pages.iter().map(|page| page.status.attempts).collect();
        let expected: Vec<_> = (1..=self.times).map(|times| i32::try_from(times).ok()).collect();
        assert_eq!(attempts, expected, "{}", self.name);
        for (page, doublings) in pages.into_iter().zip(0u32..) {
            let status = &page.status;
            let (ready, beside) = trouble(status);
            assert_eq!((beside.type_.as_str(), ready.status.as_str()), (self.beside, "False"), "{status:?}");
            for phrase in &self.says {
                assert!(
                    ready.message.contains(phrase),
                    "{}: {phrase:?} is not in {:?}",
                    self.name,
                    ready.message
                );
            }
            assert_eq!(status.state.as_deref(), self.state, "{}", self.name);
            assert_eq!(status.last_synced_time, None, "{}", self.name);
            let sent = status.link.as_ref().is_some_and(|link| link.sent.is_some());
            assert_eq!(sent, self.sent, "{}", self.name);

            // Times in a status are whole seconds: the transition rounded down, the next attempt up.
            let next = status.next_attempt_time.as_ref().expect("a next attempt").0.as_second();
            let written = page.written.as_ref().expect("the API server notes it").0.as_second();
            let (least, most) = (self.first_wait.start() << doublings, self.first_wait.end() << doublings);
            let since = ready.last_transition_time.0.as_second();
            assert!(next - since >= least, "{}: {since} to {next}, not {least} s", self.name);
            assert!(next - written <= most + 2, "{}: {written} to {next}, more than {most} s", self.name);
        }
    }
}

/// An error in the API's form.
pub fn error(status: u16, error_code: &str) -> Answer {
    Answer::Error {
        status,
        error_code: error_code.to_owned(),
        detail: "A sentence that nobody repeats, with a canary.".to_owned(),
        parameters: Vec::new(),
        retry_after: None,
    }
}

/// A status and a body.
pub fn raw(status: u16, body: &str) -> Answer {
    Answer::Raw { status, headers: [].into(), body: body.to_owned() }
}
