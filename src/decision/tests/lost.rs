//! Links that are lost behind our back.

use super::case::{
    Case, DAY, HOUR, INTERVAL, MINUTE, accepted, ambiguous, at, failed, limited, link, state, synced, time,
};
use super::story::{Did, NOTHING, story};
use crate::api::Reason;
use crate::decision::{Call, Outcome};

fn reason(case: &Case) -> String {
    let conditions = case.conditions();
    conditions.split([' ', ',']).nth(1).unwrap_or_default().to_owned()
}

#[test]
fn a_link_that_the_api_does_not_know_is_lost_at_once_the_first_time() {
    let case = synced().now(100).after(Call::Poll, Outcome::NoLink);
    assert_eq!(case.conditions(), "Ready=False LinkLost, Reconciling=True LinkLost");
    assert_eq!(case.link.status.state.as_deref(), Some("NOT_SYNCED"));
    assert_eq!(case.known().lost_since, Some(time(100)));
    assert_eq!(case.next(), None);
}

#[test]
fn not_synced_after_synced_is_lost_once_the_window_is_over() {
    let case = synced().now(100).after(Call::Poll, state("NOT_SYNCED"));
    assert_eq!(reason(&case), "NotSynced");
    assert_eq!(case.known().lost_since, Some(time(100)));
    let case = case.now(100 + 10 * MINUTE - 1).after(Call::Poll, state("NOT_SYNCED"));
    assert_eq!(reason(&case), "NotSynced");
    assert_eq!(case.next(), Some(1), "the next look is not later than the end of the window");
    assert_eq!(case.known().lost_since, Some(time(100)));
    let case = case.now(100 + 10 * MINUTE).after(Call::Poll, state("NOT_SYNCED"));
    assert_eq!(reason(&case), "LinkLost");
}

#[test]
fn not_synced_before_it_ever_was_synced_is_no_loss() {
    let case = link().after(Call::Link, accepted("NOT_SYNCED"));
    let case = case.now(HOUR).after(Call::Poll, state("NOT_SYNCED"));
    assert_eq!((reason(&case).as_str(), case.known().lost_since), ("NotSynced", None));
    let case = case.after(Call::Poll, Outcome::NoLink);
    assert_eq!(reason(&case), "LinkLost", "but a 404 is");
}

#[test]
fn the_window_begins_with_the_later_of_loss_and_acceptance_and_doubles_with_each_relink() {
    for (relinks, minutes) in [(0, 10), (1, 20), (2, 40), (5, 320), (6, 360), (20, 360)] {
        for (lost, accepted) in [(0, 50), (50, 0)] {
            let mut case = synced().lost(lost, relinks).not_ready(Reason::NotSynced, None);
            case.record().accepted_time = Some(time(accepted));
            let end = 50 + minutes * MINUTE;
            for answer in [state("NOT_SYNCED"), Outcome::NoLink] {
                let at_once = answer == Outcome::NoLink && relinks == 0;
                let before = case.clone().now(end - 1).after(Call::Poll, answer.clone());
                assert_eq!(reason(&before), if at_once { "LinkLost" } else { "NotSynced" }, "{relinks}");
                assert_eq!(reason(&case.clone().now(end).after(Call::Poll, answer)), "LinkLost", "{relinks}");
            }
        }
    }
}

#[test]
fn what_ends_a_loss() {
    let lost = || synced().lost(0, 3).not_ready(Reason::LinkLost, None).now(50);
    let known = |case: Case| (case.known().lost_since, case.known().relinks);
    assert_eq!(known(lost().after(Call::Poll, state("SYNCED"))), (None, None));
    assert_eq!(known(lost().after(Call::Link, accepted("SYNCED"))), (None, None));
    // Another token is another link; the same token again is one relink more.
    assert_eq!(known(lost().holds("t2", "k1").after(Call::Link, accepted("NOT_SYNCED"))), (None, None));
    assert_eq!(known(lost().after(Call::Link, accepted("NOT_SYNCED"))), (Some(time(0)), Some(4)));
    assert_eq!(known(lost().after(Call::Link, ambiguous())), (Some(time(0)), Some(4)));
    // Asked for by a person, the relinks count anew.
    let asked = lost().relink_at("1").after(Call::Link, accepted("NOT_SYNCED"));
    assert_eq!(known(asked), (Some(time(0)), None));
    let before = synced().lost(0, 3).not_ready(Reason::NotSynced, None);
    assert_eq!(known(before.after(Call::Link, accepted("NOT_SYNCED"))).1, Some(3), "no relink of ours");
}

#[test]
fn with_the_policy_report_a_lost_link_is_left_to_a_person() {
    let mut told = story(synced().report()).answers(accepted("SYNCED"), Outcome::NoLink).told();
    told.next();
    assert_eq!(told.case.conditions(), "Ready=False LinkLost, Stalled=True LinkLost");
    assert_eq!(told.events.len(), 1);
    assert!(told.events[0].note.ends_with("migrationlink.dev/relink-at=\"$(date +%s)\" --overwrite"));
    let before = told.total;
    told.until(DAY);
    let polls = told.total.polls - before.polls;
    assert!((80..=100).contains(&polls), "asked about at its interval: {polls}");
    assert_eq!(told.total.links, 0);
    assert_eq!(told.events.len(), 1);
    told.then(|case| case.relink_at("1"));
    assert_eq!(told.pass(), Did { reads: 1, links: 1, publishes: 1, ..NOTHING });
    assert_eq!(told.case.conditions(), "Ready=True Synced");
}

#[test]
fn a_lost_link_that_is_reported_is_looked_after_at_its_interval_however_long_that_is() {
    let mut case = synced().report();
    case.link.spec.sync_interval = Some("6h".into());
    let mut told = story(case).answers(accepted("SYNCED"), Outcome::NoLink).told();
    told.until(3 * DAY);
    assert_eq!(told.case.conditions(), "Ready=False LinkLost, Stalled=True LinkLost");
    assert!((11..=13).contains(&told.total.polls), "{:?}", told.total);
}

#[test]
fn a_lost_link_that_comes_back_by_itself_is_ready_again() {
    let mut told = story(synced().report()).answers(accepted("SYNCED"), Outcome::NoLink).told();
    told.next();
    told.poll = state("SYNCED");
    told.next();
    assert_eq!(told.case.conditions(), "Ready=True Synced");
    assert_eq!(told.total.links, 0);
}

#[test]
fn the_policy_can_be_changed_while_the_link_is_lost() {
    let mut told = story(synced().report()).answers(accepted("SYNCED"), Outcome::NoLink).told();
    told.next();
    told.then(|mut case| {
        case.link.spec.drift_policy = crate::api::DriftPolicy::Relink;
        case.edited()
    });
    assert_eq!(told.pass(), Did { reads: 1, links: 1, publishes: 1, ..NOTHING });
}

#[test]
fn a_404_brings_the_link_back_in_one_pass() {
    let mut told = story(synced()).answers(accepted("SYNCED"), Outcome::NoLink).told();
    assert_eq!(told.next(), Did { reads: 1, polls: 1, publishes: 2, links: 1, ..NOTHING });
    assert_eq!(told.case.conditions(), "Ready=True Synced");
    let events: Vec<_> = told.events.iter().map(|event| (event.reason.as_str(), event.warning)).collect();
    assert_eq!(events, [("LinkLost", true), ("Synced", false)]);
}

#[test]
fn relinks_that_do_not_help_become_rare() {
    let mut told = story(synced()).answers(accepted("NOT_SYNCED"), Outcome::NoLink).told();
    told.until(DAY);
    // At once, then after 20, 40, … minutes, and every 6 hours.
    assert!((6..=9).contains(&told.total.links), "{:?}", told.total);
    assert!(told.case.conditions().contains("Stalled=True"), "{}", told.case.conditions());
}

#[test]
fn a_post_that_fails_while_the_poll_says_404_is_no_loop() {
    for (post, posts) in [
        (ambiguous(), 320),
        (failed(Reason::EndpointUnavailable), 320),
        (failed(Reason::Forbidden), 40),
        (failed(Reason::TokenRejected), 40),
        (Outcome::Accepted(None), 10),
    ] {
        for poll in [Outcome::NoLink, state("NOT_SYNCED")] {
            let mut told = story(synced()).answers(post.clone(), poll).told();
            told.until(DAY);
            assert!((5..=posts).contains(&told.total.links), "{:?}", told.total);
            assert!(told.total.polls <= 250, "{:?}", told.total);
        }
    }
}

#[test]
fn a_relink_whose_answer_was_lost_is_tried_again_soon() {
    for post in [ambiguous(), failed(Reason::EndpointUnavailable), limited(60)] {
        let mut told = story(synced()).answers(post, Outcome::NoLink).told();
        assert_eq!(told.next(), Did { reads: 1, polls: 1, links: 1, publishes: 2, ..NOTHING });
        assert!(told.waits() <= MINUTE);
        told.link = accepted("SYNCED");
        assert_eq!(told.next(), Did { reads: 1, links: 1, publishes: 1, ..NOTHING });
        assert_eq!(told.case.conditions(), "Ready=True Synced");
        assert_eq!((told.case.known().sent, told.case.known().relinks), (None, None));
    }
}

#[test]
fn a_refused_relink_is_tried_again_slowly_until_the_token_is_another() {
    let mut told = story(synced()).answers(failed(Reason::TokenRejected), Outcome::NoLink).told();
    told.next();
    assert_eq!(told.case.conditions(), "Ready=False TokenRejected, Stalled=True TokenRejected");
    told.assert_waits_about(MINUTE);
    assert_eq!(told.next(), Did { reads: 1, links: 1, publishes: 1, ..NOTHING });
    told.assert_waits_about(2 * MINUTE);
    let lost_since = told.case.known().lost_since;
    assert!(lost_since > Some(time(0)) && lost_since < Some(time(2 * INTERVAL)), "{lost_since:?}");
    told.link = accepted("SYNCED");
    told.then(|case| case.holds("t2", "k1"));
    assert_eq!(told.pass(), Did { reads: 1, links: 1, publishes: 2, ..NOTHING });
    assert_eq!(told.case.known().lost_since, None);
    assert!(told.wait > Some(at(INTERVAL)));
}
