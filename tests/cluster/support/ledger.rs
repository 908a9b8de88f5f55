//! What is asked of both APIs from a moment on, to the last request.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::sleep;

use super::audit::Requests;
use super::cloud::{Calls, Cloud};
use super::eventually;
use super::operator::Operator;

/// One read of a Secret.
pub const READ_SECRET: (&str, usize) = ("get secrets", 1);
/// One write of a status.
pub const WRITE_STATUS: (&str, usize) = ("patch migrationlinks/status", 1);
/// What a token that replaces another one takes: the word that it is going to be sent, and the outcome.
pub const ANNOUNCE_AND_WRITE: (&str, usize) = ("patch migrationlinks/status", 2);
/// One event.
pub const EVENT: (&str, usize) = ("create events", 1);

/// So long nothing more may come once what is expected has come.
const QUIET: Duration = Duration::from_secs(3);

/// The requests of an operator since [`Ledger::open`].
pub struct Ledger<'a> {
    operator: &'a Operator<'a>,
    cloud: &'a Cloud,
    before: Requests,
}

impl<'a> Ledger<'a> {
    /// Begins to count. Empties the simulator's journal.
    pub fn open(operator: &'a Operator<'a>, cloud: &'a Cloud) -> Self {
        cloud.simulator.clear_journal();
        Self { operator, cloud, before: operator.requests() }
    }

    /// Waits until exactly this was asked of both APIs, and sees that nothing more comes. Lists, watches and the lease do not count.
    pub async fn expect(&self, kubernetes: &[(&str, usize)], calls: Calls) {
        let wanted: BTreeMap<String, usize> =
            kubernetes.iter().map(|(request, count)| ((*request).to_owned(), *count)).collect();
        let wanted = (wanted, calls);
        eventually(&format!("{wanted:?} is asked"), async || {
            let found = self.counts();
            if found == wanted { Ok(()) } else { Err(format!("{found:?}")) }
        })
        .await;
        sleep(QUIET).await;
        assert_eq!(
            self.counts(),
            wanted,
            "asked for more than was needed: {:?}, {:?}",
            self.operator.requests().since(&self.before),
            self.cloud.simulator.journal()
        );
    }

    /// Sees that nothing is asked.
    pub async fn expect_nothing(&self) {
        self.expect(&[], Calls::default()).await;
    }

    fn counts(&self) -> (BTreeMap<String, usize>, Calls) {
        (self.operator.requests().since(&self.before).counts(), self.cloud.calls())
    }
}
