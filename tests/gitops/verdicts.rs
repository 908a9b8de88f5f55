//! What each tool says of each captured state.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::table::{TABLE, letters};
use crate::tool::{captured, judge};

fn is_true(resource: &Value, kind: &str) -> bool {
    let conditions = resource["status"]["conditions"].as_array().into_iter().flatten();
    conditions.into_iter().any(|condition| condition["type"] == kind && condition["status"] == "True")
}

#[test]
fn every_tool_judges_every_state_as_the_table_says() {
    let captured = captured();
    let names: BTreeSet<_> = captured.keys().map(String::as_str).collect();
    assert_eq!(names, TABLE.iter().map(|row| row.0).collect());
    let resources: Vec<_> = TABLE.iter().map(|row| captured[row.0].clone()).collect();
    let said: Vec<_> = judge(&resources);
    let said: Vec<_> = TABLE
        .iter()
        .zip(&said)
        .map(|(row, judged)| {
            let verdicts = [&judged.argo.status, &judged.kstatus.status, &judged.flux.status];
            (row.0, verdicts.map(String::as_str), letters(&judged.actions))
        })
        .collect();
    let wanted: Vec<_> = TABLE
        .iter()
        .map(|(name, argo, kstatus, flux, _, actions)| {
            (*name, [*argo, *kstatus, *flux], (*actions).to_owned())
        })
        .collect();
    assert_eq!(said, wanted);
}

/// The rules behind the table, for every state there is.
#[test]
fn nothing_reads_done_that_is_not_and_nothing_looks_like_progress_when_a_person_must_act() {
    let captured = captured();
    let resources: Vec<_> = captured.values().cloned().collect();
    for ((name, resource), judged) in captured.iter().zip(judge(&resources)) {
        let observed = resource["status"]["observedGeneration"] == resource["metadata"]["generation"];
        let deleting = resource["metadata"].get("deletionTimestamp").is_some();
        let verdicts = [&judged.lua.status, &judged.kstatus.status, &judged.flux.status];
        let verdicts = verdicts.map(String::as_str);
        let done = observed && !deleting && (is_true(resource, "Ready") || is_true(resource, "Suspended"));
        let reads_done = ["Current", "Healthy", "Suspended"];
        assert_eq!(verdicts.map(|said| reads_done.contains(&said)), [done; 3], "{name}: {judged:?}");
        if observed && is_true(resource, "Stalled") {
            let failed = if deleting { "Terminating" } else { "Failed" };
            assert_eq!(verdicts, ["Degraded", failed, "Failed"], "{name}");
        }
        if deleting {
            assert_eq!(judged.argo.message, "Pending deletion", "{name}");
        } else {
            assert_eq!(judged.argo.status, judged.lua.status, "{name}");
        }
        // The message that says what to do is the one that Argo CD shows.
        let conditions = resource["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let shown = conditions
            .iter()
            .any(|condition| judged.lua.message.ends_with(condition["message"].as_str().expect("a message")));
        assert!(shown || judged.lua.message.contains("has not looked at this version"), "{name}: {judged:?}");
        assert_eq!(shown, observed, "{name}: {judged:?}");
    }
}

#[test]
fn a_status_that_somebody_emptied_is_waited_for() {
    let mut emptied = captured()["Synced"].clone();
    emptied["status"] = json!({});
    let mut without_generation = captured()["Synced"].clone();
    without_generation["status"].as_object_mut().unwrap().remove("observedGeneration");
    let mut without_conditions = captured()["Synced"].clone();
    without_conditions["status"] = json!({"observedGeneration": 1});
    for (resource, flux) in
        [(emptied, "InProgress"), (without_generation, "Current"), (without_conditions, "InProgress")]
    {
        let judged = judge(&[resource]).remove(0);
        assert_eq!(judged.argo.status, "Progressing", "{judged:?}");
        assert_eq!(judged.flux.status, flux, "{judged:?}");
        // Without conditions kstatus takes anything for done: that is what the expressions are for.
        assert_eq!(judged.kstatus.status, "Current", "{judged:?}");
    }
}
