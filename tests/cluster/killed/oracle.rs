//! What POSTs were needed, and whether each of the others has a kill that explains it.
//!
//! *Needed.* Whoever changes something for a link waits until it is settled before the next change, and notes a [`Demand`] for
//! each that takes a POST: a resource that is new or whose token was rotated, a new `relink-at`, a link that was removed behind the
//! back and then asked for. Each takes exactly one POST with the token that is wanted. Where a token is given up before it was
//! settled (rotated again, or the resource deleted), it takes one or none; so does the token before it if that one is taken back
//! then, as the other may never have been sent. All else (`reconcile-at`, a Secret that says the same, an interval, the deletion
//! policy) takes none, so nothing is noted for it. A POST belongs to the demand for its token that came last before it; no token
//! is wanted for two resources.
//!
//! *Extra.* Every further POST of a demand must stand behind a kill: a kill of the copy that led, after the POST before it had left
//! that copy and before anything was recorded of it. That is at most one for each link whose POST a kill hit; a kill may hit the
//! POSTs of several links at once. So it is a fault, even if there were enough kills elsewhere, when a POST is repeated without a
//! kill, after the kill of a copy that only waited, twice for one kill, though the first was recorded, by the process that made
//! the first, or when it comes after all was settled.

use std::collections::BTreeSet;
use std::time::Duration;

#[cfg(test)]
mod tests;

/// So long after the death of a process its last request may still arrive at the simulator. The next copy begins to work four
/// seconds after it at the earliest, when the lease has expired.
pub const IN_FLIGHT: Duration = Duration::from_secs(1);

/// What makes a POST necessary. Times are counted from the beginning of the test.
#[derive(Clone, Debug)]
pub struct Demand {
    /// The token to be sent.
    pub token: String,
    /// Just before it was made.
    pub from: Duration,
    /// When it was seen to be settled, or that it cannot be any more.
    pub until: Duration,
    /// False if it was given up before it was settled.
    pub must: bool,
}

/// An authenticated POST that arrived.
#[derive(Clone, Debug)]
pub struct Post {
    /// When.
    pub at: Duration,
    /// The token in it.
    pub token: String,
    /// The number of its nonce. No nonce expires here, so it is one for each process and key.
    pub nonce: Option<u64>,
}

/// A status that says that this token was accepted, whenever that was news.
#[derive(Clone, Debug)]
pub struct Record {
    /// When it was seen: a moment after the API server had it.
    pub at: Duration,
    /// The token, by its fingerprint.
    pub token: String,
}

/// The end of a process that was not told to end.
#[derive(Clone, Debug)]
pub struct Death {
    /// It was alive then.
    pub from: Duration,
    /// It was dead then.
    pub until: Duration,
    /// Whether it was the copy that worked.
    pub led: bool,
}

/// All that happened to one link, each list in the order of time.
#[derive(Clone, Debug, Default)]
pub struct History {
    pub demands: Vec<Demand>,
    pub posts: Vec<Post>,
    pub records: Vec<Record>,
}

/// What it comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// POSTs that were needed.
    pub needed: usize,
    /// POSTs that were made.
    pub made: usize,
    /// Deaths (their places in the list) that fell between a POST of this link and its record.
    pub between: BTreeSet<usize>,
    /// What cannot be explained.
    pub faults: Vec<String>,
}

/// Sums up what happened to one link.
pub fn judge(history: &History, deaths: &[Death]) -> Account {
    let mut account = Account { made: history.posts.len(), ..Account::default() };
    for post in &history.posts {
        if demand_of(history, &post.token, post.at).is_none() {
            account.faults.push(format!("nobody wanted {post:?}"));
        }
    }
    for record in &history.records {
        if demand_of(history, &record.token, record.at).is_none() {
            account.faults.push(format!("nobody wanted what {record:?} tells of"));
        }
    }
    for (number, demand) in history.demands.iter().enumerate() {
        let mine = |token: &str, at: Duration| demand_of(history, token, at) == Some(number);
        let posts: Vec<_> = history.posts.iter().filter(|post| mine(&post.token, post.at)).collect();
        let records: Vec<_> =
            history.records.iter().filter(|record| mine(&record.token, record.at)).collect();
        account.needed += posts.len().min(1);
        served(demand, &posts, &records, deaths, &mut account);
    }
    account
}

/// The demand that a POST of this token at this time belongs to.
fn demand_of(history: &History, token: &str, at: Duration) -> Option<usize> {
    history.demands.iter().rposition(|demand| demand.token == token && demand.from <= at)
}

fn served(demand: &Demand, posts: &[&Post], records: &[&Record], deaths: &[Death], account: &mut Account) {
    let faults = &mut account.faults;
    if demand.must && posts.is_empty() {
        faults.push(format!("nothing was sent for {demand:?}"));
    }
    if demand.must && records.is_empty() {
        faults.push(format!("nothing was recorded for {demand:?}"));
    }
    if records.len() > 1 {
        faults.push(format!("recorded more than once: {records:?} of {demand:?}"));
    }
    if records.len() > posts.len() {
        faults.push(format!("more was recorded than was sent: {records:?} of {demand:?}"));
    }
    if let Some(late) = posts.iter().find(|post| post.at > demand.until) {
        faults.push(format!("{late:?} came after all was settled: {demand:?}"));
    }
    let recorded = records.first().map(|record| record.at);
    let mut deaths = deaths.iter().enumerate().filter(|(_, death)| death.led).peekable();
    for (n, post) in posts.iter().enumerate() {
        let next = posts.get(n + 1);
        if let Some(next) = next {
            if next.nonce == post.nonce {
                faults.push(format!("{next:?} was made by the process that made {post:?}"));
            }
            if recorded.is_some_and(|recorded| recorded < next.at) {
                faults.push(format!("{next:?} was made though {records:?} was there: {demand:?}"));
            }
        }
        // The first that may be the end of the process that made it. Each explains one POST only.
        while deaths.next_if(|(_, death)| death.until + IN_FLIGHT < post.at).is_some() {}
        let end = next.map_or(demand.until, |next| next.at);
        let death = deaths.next_if(|(_, death)| death.from < end);
        // Whether anything came of this POST, and when: the last one's is what is recorded.
        let settled = recorded.filter(|_| next.is_none());
        match death {
            Some((place, death)) if settled.is_none_or(|settled| death.from < settled) => {
                account.between.insert(place);
            }
            _ if next.is_some() => {
                faults.push(format!("no kill between {post:?} and {next:?} explains the second: {demand:?}"));
            }
            _ => {}
        }
    }
}
