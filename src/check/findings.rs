//! What was found, and how it is printed: one line each, or JSON. Both forms are described in `docs/check.md`.

use serde::Serialize;

use crate::api::Reason;

/// The longest text of one finding, in bytes.
const LONGEST: usize = 2000;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be, or for information.
    Ok,
    /// Worth a look.
    Warning,
    /// The link cannot work like this, or it could not be found out whether it can.
    Problem,
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// What was looked at: a word that stays the same.
    pub check: &'static str,
    /// The link that it is about, `NAMESPACE/NAME`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    /// The reason that the status would have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What was found.
    pub message: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

/// All that was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// In the order in which it was found.
    pub findings: Vec<Finding>,
}

impl Finding {
    /// As it should be.
    pub fn ok(check: &'static str, message: impl Into<String>) -> Self {
        Self { level: Level::Ok, check, link: None, reason: None, message: clean(&message.into()), fix: None }
    }

    /// Worth a look.
    pub fn warning(check: &'static str, message: impl Into<String>) -> Self {
        Self { level: Level::Warning, ..Self::ok(check, message) }
    }

    /// A problem, and what to do.
    pub fn problem(check: &'static str, message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { level: Level::Problem, ..Self::ok(check, message) }.with_fix(fix)
    }

    /// Trouble in the words of the status. These say in their first sentence what is wrong, and then what to do.
    pub fn of(check: &'static str, reason: Reason, message: &str) -> Self {
        let found = Self::problem_said(check, message);
        Self { reason: Some(reason.to_string()), ..found }
    }

    /// What a status says, under a reason that may be of another version of the operator.
    pub fn said(check: &'static str, level: Level, reason: &str, message: &str) -> Self {
        let found = Self::problem_said(check, message);
        Self { level, reason: Some(clean(reason)), ..found }
    }

    fn problem_said(check: &'static str, message: &str) -> Self {
        match message.split_once(". ") {
            Some((what, fix)) => Self::problem(check, what, fix),
            None => Self { level: Level::Problem, ..Self::ok(check, message.trim_end_matches('.')) },
        }
    }

    /// The same, with what to do.
    #[must_use]
    pub fn with_fix(self, fix: impl Into<String>) -> Self {
        Self { fix: Some(clean(&fix.into())), ..self }
    }

    /// The finding as a line.
    fn line(&self) -> String {
        let level = match self.level {
            Level::Ok => "ok",
            Level::Warning => "warning",
            Level::Problem => "problem",
        };
        let link = self.link.as_ref().map_or_else(String::new, |link| format!("{link} "));
        let reason = self.reason.as_ref().map_or_else(String::new, |reason| format!("{reason}: "));
        let fix = self.fix.as_ref().map_or_else(String::new, |fix| format!(": {fix}"));
        format!("{level:<8}{link}{}: {reason}{}{fix}\n", self.check, self.message)
    }
}

impl Report {
    /// Adds what was found of a link.
    pub fn add(&mut self, link: &str, findings: Vec<Finding>) {
        let link = clean(link);
        self.findings
            .extend(findings.into_iter().map(|finding| Finding { link: Some(link.clone()), ..finding }));
    }

    /// Whether there is no problem.
    pub fn is_ok(&self) -> bool {
        self.findings.iter().all(|finding| finding.level != Level::Problem)
    }

    /// One line for each finding.
    pub fn to_text(&self) -> String {
        self.findings.iter().map(Finding::line).collect()
    }

    /// `{"ok": …, "findings": […]}`.
    ///
    /// # Errors
    /// None is known.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        #[derive(Serialize)]
        struct Object<'a> {
            ok: bool,
            findings: &'a [Finding],
        }
        let json = serde_json::to_string_pretty(&Object { ok: self.is_ok(), findings: &self.findings })?;
        Ok(format!("{json}\n"))
    }
}

/// One line, whatever a manifest or a status holds: nothing in it moves a terminal's cursor.
fn clean(text: &str) -> String {
    let text = crate::decision::truncated(text, LONGEST);
    text.chars().map(|c| if c.is_control() || is_invisible(c) { ' ' } else { c }).collect()
}

/// Characters that turn the direction of what follows, or break a line.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn report() -> Report {
        let mut report = Report::default();
        report.findings.push(Finding::ok("cluster", "none"));
        report.add(
            "payments/payments",
            vec![
                Finding::warning("manifest", "unknown field spec.x"),
                Finding::of(
                    "api",
                    Reason::Unauthorized,
                    "The key is refused (HTTP 401). Check the key. Then the role.",
                ),
            ],
        );
        report
    }

    #[test]
    fn each_finding_is_a_line_with_its_mark_and_what_to_do() {
        let lines = "\
            ok      cluster: none\n\
            warning payments/payments manifest: unknown field spec.x\n\
            problem payments/payments api: Unauthorized: The key is refused (HTTP 401): Check the key. Then the role.\n";
        assert_eq!(report().to_text(), lines);
    }

    #[test]
    fn the_json_has_the_same_and_says_whether_all_is_well() {
        let shown: Value = serde_json::from_str(&report().to_json().unwrap()).unwrap();
        let expected = json!({
            "ok": false,
            "findings": [
                {"level": "ok", "check": "cluster", "message": "none"},
                {"level": "warning", "check": "manifest", "link": "payments/payments", "message": "unknown field spec.x"},
                {
                    "level": "problem", "check": "api", "link": "payments/payments", "reason": "Unauthorized",
                    "message": "The key is refused (HTTP 401)", "fix": "Check the key. Then the role.",
                },
            ],
        });
        assert_eq!(shown, expected);
        assert!(Report::default().is_ok());
        let mut warned = Report::default();
        warned.findings.push(Finding::warning("api", "slow"));
        assert!(warned.is_ok() && !report().is_ok());
    }

    #[test]
    fn what_somebody_wrote_into_a_status_breaks_no_line_and_moves_no_cursor() {
        let finding = Finding::said("status", Level::Problem, "A\nB", "one\r\ntwo\u{1b}[2J. \u{202e}three");
        assert_eq!(finding.line(), "problem status: A B: one  two [2J:  three\n");
    }
}
