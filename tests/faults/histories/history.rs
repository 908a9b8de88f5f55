//! The steps of a history, and how one is run.

use std::time::Duration;

use migrationlink_operator::decision::decide;
use migrationlink_simulator::{Answer, ApiKeys, Behaviour, Config};
use proptest::prelude::*;
use serde_json::json;
use tokio::time::sleep;

use super::model::Model;
use crate::oracle;
use crate::run::on_a_runtime;
use crate::world::replica::Replica;
use crate::world::{ORG, PRIVATE_KEY, PUBLIC_KEY, World, log};

pub const LINK: &str = "link";
pub const TOKENS: [&str; 4] = ["token-canary-0", "token-canary-1", "token-canary-2", "token-canary-3"];
/// One that somebody else has made.
pub const FOREIGN: &str = "token-canary-of-somebody-else";
/// After so long quiet everything has to be as the model says: the lease of a process that was killed is over, and so is the grace period of
/// a deletion, and the longest wait between two attempts (an hour and a tenth: nothing tells that keys were given back).
const QUIET: Duration = Duration::from_mins(70);

/// A step.
#[derive(Clone, Debug)]
pub enum Op {
    CreateLink {
        delete: bool,
        report: bool,
    },
    DeleteLink,
    /// Changes the spec.
    Edit {
        delete: bool,
        report: bool,
        suspend: bool,
    },
    /// Sets the annotation `reconcile-at`.
    Reconcile,
    /// Sets the annotation `relink-at`.
    Relink,
    /// Gives the Secret this token; makes it if it is not there.
    Token(usize),
    DeleteSecret,
    /// Somebody removes the link at Cloud Manager.
    Unlink,
    /// Somebody else links the organization there.
    LinkElsewhere,
    /// The API keys are revoked, or given back.
    Keys(bool),
    /// The API answers 503, or works again.
    Up(bool),
    /// The operator is killed.
    Kill,
    /// The operator is told to end.
    Terminate,
    /// Whoever watches has to begin anew, some of them with a list.
    EndWatches {
        compact: bool,
    },
    Wait(Duration),
    /// Nothing happens for long, and the model is asked.
    Settle,
}

pub fn ops() -> impl Strategy<Value = Op> {
    let wait = prop_oneof![
        (0..8u64).prop_map(Duration::from_millis),
        (1..90u64).prop_map(Duration::from_secs),
        (2..20u64).prop_map(Duration::from_mins),
    ];
    prop_oneof![
        3 => any::<(bool, bool)>().prop_map(|(delete, report)| Op::CreateLink { delete, report }),
        2 => Just(Op::DeleteLink),
        2 => any::<(bool, bool)>().prop_flat_map(|(delete, report)| {
            prop::bool::weighted(0.2).prop_map(move |suspend| Op::Edit { delete, report, suspend })
        }),
        1 => Just(Op::Reconcile),
        1 => Just(Op::Relink),
        4 => (0..TOKENS.len()).prop_map(Op::Token),
        1 => Just(Op::DeleteSecret),
        2 => Just(Op::Unlink),
        1 => Just(Op::LinkElsewhere),
        1 => prop::bool::weighted(0.7).prop_map(Op::Keys),
        1 => prop::bool::weighted(0.7).prop_map(Op::Up),
        2 => Just(Op::Kill),
        1 => Just(Op::Terminate),
        1 => any::<bool>().prop_map(|compact| Op::EndWatches { compact }),
        8 => wait.prop_map(Op::Wait),
        2 => Just(Op::Settle),
    ]
}

/// Runs a history; what is wrong, if anything is.
pub fn run(ops: &[Op]) -> Result<(), String> {
    let _log = log::take_down();
    let result = on_a_runtime(async {
        let mut world = World::new(Config::default(), decide);
        world.lease = Duration::from_mins(5);
        world.create_inputs(TOKENS[0]);
        world.border.arm(&[]);
        let replica = Replica::start(&world, "a");
        sleep(Duration::from_secs(1)).await;
        let mut told = History { world, replica, model: Model::default(), marks: 0 };
        for op in ops {
            told.step(op).await;
        }
        told.heal().await;
        oracle::nothing_leaks(&told.world);
        let record = told.world.border.record();
        let mut violations = record.violations;
        let may_be = told.model.reasons_to_post + record.orphans;
        if record.effective > may_be {
            violations.push(format!("{} POSTs had an effect where {may_be} may have", record.effective));
        }
        violations
    });
    if result.is_empty() { Ok(()) } else { Err(format!("{}\n{}", result.join("\n"), log::text())) }
}

/// A history under way.
struct History {
    world: World,
    replica: Replica,
    model: Model,
    /// How many values the annotations have had.
    marks: u32,
}

impl History {
    async fn step(&mut self, op: &Op) {
        tracing::debug!(target: "border", "--- {op:?}");
        let exists = self.world.link(LINK).is_some();
        match *op {
            Op::CreateLink { delete, report } if !exists => {
                self.world.create_link(LINK, policy(delete));
                self.world.edit_link(LINK, &json!({"spec": {"driftPolicy": drift(report)}}));
            }
            Op::DeleteLink if exists => self.world.delete_link(LINK),
            Op::Edit { delete, report, suspend } if exists => {
                let spec = json!({
                    "deletionPolicy": policy(delete), "driftPolicy": drift(report), "suspend": suspend,
                });
                self.world.edit_link(LINK, &json!({"spec": spec}));
            }
            Op::Reconcile if exists => self.mark("reconcile-at"),
            Op::Relink if exists => self.mark("relink-at"),
            Op::Token(token) if self.model.secret.is_some() => self.world.rotate(TOKENS[token]),
            Op::Token(token) => self.world.create_secret(TOKENS[token]),
            Op::DeleteSecret if self.model.secret.is_some() => self.world.delete_secret(),
            Op::Unlink => _ = self.world.cloud.unlink_behind_the_back(ORG),
            Op::LinkElsewhere => _ = self.world.cloud.link_behind_the_back(ORG, FOREIGN),
            Op::Keys(good) => {
                let private = if good { PRIVATE_KEY } else { "another-canary" };
                self.world.cloud.set_keys(ORG, [ApiKeys::new(PUBLIC_KEY, private)]);
            }
            Op::Up(up) => {
                self.world.cloud.clear_scripts();
                if !up {
                    self.world.cloud.script(Behaviour::new(Answer::Html { status: 503 }));
                }
            }
            Op::Kill => self.replica.kill(),
            Op::Terminate => self.replica.terminate(),
            Op::EndWatches { compact } => {
                if compact {
                    self.world.api.compact();
                }
                self.world.api.end_watches();
            }
            Op::Wait(time) => sleep(time).await,
            Op::Settle => {
                self.settle().await;
                return;
            }
            _ => return,
        }
        self.model.take_in(op);
    }

    async fn settle(&mut self) {
        sleep(QUIET).await;
        for wrong in self.model.settled(&self.world) {
            self.world.border.violation(wrong);
        }
    }

    /// Everything that could be wrong is put right, and so it has to be in the end.
    async fn heal(&mut self) {
        for op in [Op::Keys(true), Op::Up(true), Op::Token(1)] {
            self.step(&op).await;
        }
        if self.world.link(LINK).is_some_and(|link| link["metadata"]["deletionTimestamp"].is_string()) {
            self.step(&Op::Settle).await;
        }
        for op in [
            Op::CreateLink { delete: true, report: false },
            Op::Edit { delete: true, report: false, suspend: false },
            Op::Relink,
            Op::Reconcile,
        ] {
            self.step(&op).await;
        }
        self.settle().await;
        for wrong in self.model.healed(&self.world) {
            self.world.border.violation(wrong);
        }
    }

    fn mark(&mut self, annotation: &str) {
        self.marks += 1;
        let annotation = format!("migrationlink.dev/{annotation}");
        self.world
            .edit_link(LINK, &json!({"metadata": {"annotations": {annotation: self.marks.to_string()}}}));
    }
}

fn policy(delete: bool) -> &'static str {
    if delete { "Delete" } else { "Retain" }
}

fn drift(report: bool) -> &'static str {
    if report { "Report" } else { "Relink" }
}
