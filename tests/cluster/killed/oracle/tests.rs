//! The oracle on invented journals: it can fail, and for each cause by itself.

use std::time::Duration;

use super::{Account, Death, Demand, History, Post, Record, judge};

fn at(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

fn demand(token: &str, from: f64, until: f64) -> Demand {
    Demand { token: token.to_owned(), from: at(from), until: at(until), must: true }
}

fn post(token: &str, time: f64, nonce: u64) -> Post {
    Post { at: at(time), token: token.to_owned(), nonce: Some(nonce) }
}

fn record(token: &str, time: f64) -> Record {
    Record { at: at(time), token: token.to_owned() }
}

fn death(time: f64, led: bool) -> Death {
    Death { from: at(time), until: at(time + 0.01), led }
}

/// A link that is new at 1 s, and settled at 20 s.
fn history(posts: Vec<Post>, records: Vec<Record>) -> History {
    History { demands: vec![demand("a", 1.0, 20.0)], posts, records }
}

#[track_caller]
fn explained(history: &History, deaths: &[Death], needed: usize, between: &[usize]) {
    let account = judge(history, deaths);
    let between = between.iter().copied().collect();
    assert_eq!(account, Account { needed, made: history.posts.len(), between, faults: Vec::new() });
}

#[track_caller]
fn faulty(history: &History, deaths: &[Death], fault: &str) {
    let faults = judge(history, deaths).faults;
    assert!(faults.len() == 1 && faults[0].contains(fault), "{faults:#?}");
}

#[test]
fn one_post_for_each_demand_is_all_right() {
    let mut history = history(vec![post("a", 2.0, 1)], vec![record("a", 2.5)]);
    explained(&history, &[], 1, &[]);
    // A relink of the same token, and a rotation.
    history.demands.extend([demand("a", 30.0, 40.0), demand("b", 50.0, 60.0)]);
    history.posts.extend([post("a", 31.0, 1), post("b", 51.0, 1)]);
    history.records.extend([record("a", 32.0), record("b", 52.0)]);
    explained(&history, &[death(5.0, true), death(35.0, true)], 3, &[]);
    // And back again.
    history.demands.push(demand("a", 70.0, 80.0));
    history.posts.push(post("a", 71.0, 1));
    history.records.push(record("a", 72.0));
    explained(&history, &[death(65.0, true)], 4, &[]);
}

#[test]
fn a_kill_between_a_post_and_its_record_explains_one_more() {
    let twice = history(vec![post("a", 2.0, 1), post("a", 8.0, 2)], vec![record("a", 9.0)]);
    explained(&twice, &[death(2.1, true)], 1, &[0]);
    // What the simulator had not read yet when its sender died.
    explained(&twice, &[death(1.9, true)], 1, &[0]);
    let thrice = [post("a", 2.0, 1), post("a", 8.0, 2), post("a", 15.0, 3)];
    let thrice = history(thrice.into(), vec![record("a", 16.0)]);
    explained(&thrice, &[death(2.1, true), death(5.0, false), death(8.1, true)], 1, &[0, 2]);
}

#[test]
fn a_kill_whose_post_was_recorded_all_the_same_explains_none() {
    // The write was on its way.
    let once = history(vec![post("a", 2.0, 1)], vec![record("a", 2.2)]);
    explained(&once, &[death(2.1, true)], 1, &[0]);
    let again = history(vec![post("a", 2.0, 1), post("a", 8.0, 2)], vec![record("a", 2.2)]);
    faulty(&again, &[death(2.1, true)], "though");
    let recorded_again = history(again.posts, vec![record("a", 2.2), record("a", 9.0)]);
    let faults = judge(&recorded_again, &[death(2.1, true)]).faults;
    assert!(faults.iter().any(|fault| fault.contains("recorded more than once")), "{faults:#?}");
}

#[test]
fn without_a_kill_there_is_no_second_post() {
    let twice = history(vec![post("a", 2.0, 1), post("a", 8.0, 2)], vec![record("a", 9.0)]);
    faulty(&twice, &[], "no kill between");
    faulty(&twice, &[death(10.0, true)], "no kill between");
    faulty(&twice, &[death(0.5, true)], "no kill between");
    // Nothing was lost with a copy that only waited.
    faulty(&twice, &[death(2.1, false)], "no kill between");
}

#[test]
fn each_kill_explains_one_post_only() {
    let thrice = [post("a", 2.0, 1), post("a", 2.3, 2), post("a", 8.0, 3)];
    let thrice = history(thrice.into(), vec![record("a", 9.0)]);
    faulty(&thrice, &[death(1.9, true)], "no kill between");
    explained(&thrice, &[death(1.9, true), death(2.4, true)], 1, &[0, 1]);
}

#[test]
fn a_process_never_repeats_what_it_did() {
    let twice = history(vec![post("a", 2.0, 1), post("a", 8.0, 1)], vec![record("a", 9.0)]);
    faulty(&twice, &[death(2.1, true)], "by the process");
}

#[test]
fn what_nobody_wants_is_not_sent() {
    let late = history(vec![post("a", 2.0, 1), post("a", 21.0, 2)], vec![record("a", 22.0)]);
    faulty(&late, &[death(2.1, true)], "after all was settled");
    let early = history(vec![post("a", 0.5, 1), post("a", 2.0, 1)], vec![record("a", 3.0)]);
    faulty(&early, &[], "nobody wanted");
    let other = history(vec![post("a", 2.0, 1), post("b", 3.0, 1)], vec![record("a", 2.5)]);
    faulty(&other, &[], "nobody wanted");
}

#[test]
fn what_is_wanted_is_sent_and_recorded() {
    let sent = history(vec![post("a", 2.0, 1)], vec![]);
    faulty(&sent, &[death(2.1, true)], "nothing was recorded");
    let faults = judge(&history(vec![], vec![]), &[]).faults;
    assert!(faults.iter().any(|fault| fault.contains("nothing was sent")), "{faults:#?}");
    let mut made_up = history(vec![], vec![record("a", 3.0)]);
    made_up.demands[0].must = false;
    faulty(&made_up, &[], "more was recorded");
}

#[test]
fn a_token_that_was_given_up_takes_one_post_or_none() {
    let mut history = history(vec![], vec![]);
    history.demands[0].must = false;
    history.demands.push(demand("b", 5.0, 20.0));
    history.posts.push(post("b", 6.0, 1));
    history.records.push(record("b", 7.0));
    explained(&history, &[], 1, &[]);
    history.posts.insert(0, post("a", 2.0, 1));
    explained(&history, &[], 2, &[]);
    explained(&history, &[death(2.1, true)], 2, &[0]);
    history.posts.insert(1, post("a", 3.0, 2));
    faulty(&history, &[], "no kill between");
}

#[test]
fn a_token_that_is_taken_back_takes_one_post_or_none() {
    let mut history = history(vec![post("a", 2.0, 1)], vec![record("a", 2.5)]);
    history.demands.extend([demand("b", 30.0, 40.0), demand("a", 31.0, 40.0)]);
    for given_up in &mut history.demands[1..] {
        given_up.must = false;
    }
    // The other one was never sent.
    explained(&history, &[], 1, &[]);
    history.posts.extend([post("b", 30.5, 1), post("a", 33.5, 1)]);
    history.records.push(record("a", 34.0));
    explained(&history, &[], 3, &[]);
    // A kill hit the POST of the other one, and explains no second of this one.
    explained(&history, &[death(30.6, true)], 3, &[0]);
    history.posts.insert(2, post("a", 33.0, 2));
    faulty(&history, &[death(30.6, true)], "no kill between");
}
