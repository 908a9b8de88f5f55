//! Two resources for one organization (rule 8).

use super::case::{Case, MINUTE, link, published, shown, synced};
use super::story::{Did, NOTHING, story};
use crate::api::{ConditionType, Conditions, Reason};
use crate::decision::{Holder, Step};

#[test]
fn rule_8_whoever_does_not_hold_the_organization_is_told_and_forgets_what_it_had() {
    for case in
        [link(), synced(), synced().not_ready(Reason::EndpointUnavailable, Some(60)), synced().lost(5, 2)]
    {
        let mut told = story(case.held_by_another());
        assert_eq!(told.pass(), Did { publishes: 1, ..NOTHING });
        let status = &told.case.link.status;
        assert_eq!(shown(status), "Ready=False DuplicateOrganization, Stalled=True DuplicateOrganization");
        assert_eq!((&status.link, &status.inputs, &status.state), (&None, &None, &None));
        assert_eq!((status.attempts, &status.next_attempt_time), (None, &None));
        assert_eq!(told.wait, None);
        // When the holder goes, it is decided anew.
        told.case.holder = None;
        assert_eq!(told.pass(), Did { reads: 1, links: 1, publishes: 1, ..NOTHING });
        assert_eq!(told.case.conditions(), "Ready=True Synced");
    }
}

#[test]
fn the_holder_is_named_only_to_its_own_namespace() {
    let message = |case: Case| {
        let status = published(case.step());
        status.conditions.unwrap().of(ConditionType::Ready).unwrap().message.clone()
    };
    assert!(message(link().held_by_another()).starts_with("MigrationLink first in this namespace holds"));
    let mut elsewhere = link().held_by_another();
    elsewhere.holder = Some(Holder { namespace: "secret-project".into(), name: "hidden".into() });
    let said = message(elsewhere);
    assert!(said.starts_with("A MigrationLink in another namespace holds"), "{said}");
    assert!(!said.contains("secret-project") && !said.contains("hidden"), "{said}");
}

#[test]
fn what_comes_before_it_wins() {
    let suspended = link().held_by_another().suspend();
    assert_eq!(shown(&published(suspended.step())), "Suspended=True Suspended");
    let refused = link().held_by_another().base_url("https://evil.example");
    assert!(shown(&published(refused.step())).contains("EndpointNotAllowed"));
    let mut unfinalized = link().held_by_another().delete();
    unfinalized.link.finalizers.clear();
    assert_eq!(unfinalized.step(), Step::AddFinalizer);
}

#[test]
fn a_request_for_a_check_is_acknowledged() {
    let mut told = story(link().held_by_another()).told();
    told.then(|case| case.reconcile_at("1").now(MINUTE));
    assert_eq!(told.pass(), Did { publishes: 1, ..NOTHING });
    assert_eq!(told.case.link.status.last_handled_reconcile_at.as_deref(), Some("1"));
}
