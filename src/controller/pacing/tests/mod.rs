//! Links at the gates: one after the other, a thousand at once, and in any order.

mod crowd;
mod links;
mod properties;
mod shares;

use std::time::Duration;

use tokio::time::Instant;

use super::*;
use crate::remote::{ApiKeys, CredentialIds};

/// No rates, and four calls to an origin at once.
const FOUR: Pacing =
    Pacing { concurrency: 64, origin_concurrency: 4, api_rate: Rate::OFF, origin_rate: Rate::OFF };

fn pacer(pacing: Pacing) -> Pacer {
    Pacer::with_jitter(pacing, || 1.0)
}

fn key<T: ToString + ?Sized>(name: &T) -> Key {
    Key { namespace: "n".into(), name: name.to_string() }
}

fn origin(name: &str) -> Origin {
    format!("https://{name}").parse().unwrap()
}

/// The ids of the credentials with these numbers.
fn credentials<const N: usize>(origin: &Origin) -> [CredentialId; N] {
    let ids = CredentialIds::default();
    std::array::from_fn(|n| {
        ids.of(origin, &ApiKeys { public: n.to_string().into(), private: "private".into() })
    })
}

fn rate(text: &str) -> Rate {
    text.parse().unwrap()
}

fn granted(admission: Admission) -> Permit {
    match admission {
        Admission::Granted(permit) => permit,
        Admission::Held(held) => panic!("{held:?}"),
    }
}

fn held(admission: &Admission) -> Held {
    match admission {
        Admission::Granted(_) => panic!("it may go"),
        Admission::Held(held) => *held,
    }
}

impl Pacer {
    /// The names of the links that are woken now.
    fn wakes(&self, now: Instant) -> Vec<String> {
        self.lock().turn(now).into_iter().map(|(key, _)| key.name).collect()
    }
}
