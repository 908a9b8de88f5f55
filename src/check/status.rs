//! What the operator has said of a link so far.

use crate::api::{ConditionType, Conditions, RECONCILE_AT, RELINK_AT};
use crate::decision::Link;

use super::findings::{Finding, Level};

const CHECK: &str = "status";

/// The status of a link that is in the cluster.
pub fn findings(link: &Link) -> Vec<Finding> {
    let mut findings = Vec::new();
    if link.deleting {
        findings.push(Finding::warning(CHECK, "The resource is being deleted"));
    }
    findings.push(ready(link));
    let status = &link.status;
    if status.conditions.is_some() && status.observed_generation != Some(link.generation) {
        findings.push(
            Finding::warning(
                CHECK,
                "The status is about an earlier spec: the operator has not acted on the last change",
            )
            .with_fix("Wait; if it lasts, check that the operator runs"),
        );
    }
    if let Some(next) = &status.next_attempt_time {
        let attempts = status.attempts.unwrap_or_default();
        findings.push(Finding::ok(
            CHECK,
            format!("The next attempt is at {}; {attempts} in a row have failed", next.0),
        ));
    }
    for (annotation, asked, handled) in [
        (RECONCILE_AT, &link.reconcile_at, &status.last_handled_reconcile_at),
        (RELINK_AT, &link.relink_at, &status.last_handled_relink_at),
    ] {
        if let Some(asked) = asked {
            let handled =
                if Some(asked) == handled.as_ref() { "was acted on" } else { "was not acted on yet" };
            findings.push(Finding::ok(CHECK, format!("{annotation}={asked} {handled}")));
        }
    }
    findings
}

fn ready(link: &Link) -> Finding {
    let none = Vec::new();
    let conditions = link.status.conditions.as_ref().unwrap_or(&none);
    if let Some(suspended) =
        conditions.of(ConditionType::Suspended).filter(|suspended| suspended.status == "True")
    {
        return Finding::said(CHECK, Level::Ok, &suspended.reason, &suspended.message);
    }
    let Some(ready) = conditions.of(ConditionType::Ready) else {
        return Finding::warning(CHECK, "No operator has looked at it yet").with_fix(format!(
            "Check that an operator runs and that it watches namespace {}",
            link.namespace
        ));
    };
    if ready.status == "True" {
        return Finding::said(CHECK, Level::Ok, &ready.reason, &ready.message);
    }
    let stalled = conditions.of(ConditionType::Stalled).filter(|stalled| stalled.status == "True");
    let beside = stalled.or_else(|| conditions.of(ConditionType::Reconciling));
    let beside = beside.map_or_else(String::new, |beside| {
        format!(", {} since {}", beside.type_, beside.last_transition_time.0)
    });
    let message = format!("Ready is {}{beside}: {}", ready.status, ready.message);
    Finding::said(
        CHECK,
        if stalled.is_some() { Level::Problem } else { Level::Warning },
        &ready.reason,
        &message,
    )
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn found(status: &Value) -> Vec<(Level, String)> {
        let resource = json!({
            "apiVersion": "migrationlink.dev/v1alpha1", "kind": "MigrationLink", "status": status,
            "metadata": {
                "name": "link", "namespace": "n", "uid": "u", "resourceVersion": "1", "generation": 2,
                "annotations": {"migrationlink.dev/reconcile-at": "7"},
            },
            "spec": {"orgId": "5f0d1e2a3b4c5d6e7f801234", "secretRef": {"name": "keys"}},
        });
        let link = Link::observe(serde_json::from_value(resource).unwrap()).unwrap();
        findings(&link).into_iter().map(|finding| (finding.level, finding.message)).collect()
    }

    #[test]
    fn a_link_that_no_operator_has_looked_at_is_told_from_one_that_is_at_work() {
        let new = found(&json!({"observedGeneration": -1}));
        assert_eq!(new[0], (Level::Warning, "No operator has looked at it yet".to_owned()));
        let condition = |kind: &str, status: &str| {
            json!({
                "type": kind, "status": status, "reason": "EndpointUnavailable", "message": "It is away. Wait.",
                "lastTransitionTime": "2026-11-23T12:00:00Z",
            })
        };
        let working = found(&json!({
            "observedGeneration": 1, "attempts": 3, "nextAttemptTime": "2026-11-23T12:05:00Z",
            "lastHandledReconcileAt": "7", "conditions": [condition("Ready", "False"), condition("Reconciling", "True")],
        }));
        let said: Vec<_> = working.iter().map(|(level, message)| (*level, message.as_str())).collect();
        assert_eq!(
            said,
            [
                (Level::Warning, "Ready is False, Reconciling since 2026-11-23T12:00:00Z: It is away"),
                (
                    Level::Warning,
                    "The status is about an earlier spec: the operator has not acted on the last change"
                ),
                (Level::Ok, "The next attempt is at 2026-11-23T12:05:00Z; 3 in a row have failed"),
                (Level::Ok, "migrationlink.dev/reconcile-at=7 was acted on"),
            ]
        );
    }
}
