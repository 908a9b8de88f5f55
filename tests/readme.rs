//! The README's tables say what the program does: its reasons and its flags. Needs no control plane.
#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panic")]

use std::collections::BTreeMap;

use migrationlink_operator::api::{Beside, Pace, Reason};
use migrationlink_operator::config;

const README: &str = include_str!("../README.md");

/// The cells of the table that begins with this header, row by row, without the header and the line under it.
fn table(header: &str) -> Vec<Vec<&'static str>> {
    let mut lines = README.lines().skip_while(|line| *line != header);
    assert!(lines.next().is_some(), "README.md has no table {header}");
    lines
        .skip(1)
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect()
}

fn beside(reason: Reason) -> &'static str {
    match reason.beside() {
        Beside::Nothing => "–",
        Beside::Reconciling => "Reconciling",
        Beside::Stalled => "Stalled",
    }
}

fn pace(reason: Reason) -> &'static str {
    match reason.pace() {
        Pace::Check => "the check interval",
        Pace::Settle => "5 s to the check interval",
        Pace::BackOff => "2 s to 10 min",
        Pace::Slow => "1 min to 1 h",
        Pace::AtOnce => "at once",
        Pace::OnChange => "a change",
        Pace::LiveExport => "1 min to 10 min",
        Pace::AsCause => "as its cause",
    }
}

#[test]
fn the_table_of_reasons_is_that_of_the_code() {
    let rows = table("| reason | beside | tried again after | what to do |");
    let said: Vec<_> = rows
        .iter()
        .map(|row| match row.as_slice() {
            [reason, beside, pace, advice] if !advice.is_empty() => {
                (reason.trim_matches('`').to_owned(), *beside, *pace)
            }
            _ => panic!("not four cells: {row:?}"),
        })
        .collect();
    let true_ones: Vec<_> =
        Reason::ALL.iter().map(|reason| (reason.to_string(), beside(*reason), pace(*reason))).collect();
    assert_eq!(said, true_ones);
}

#[test]
fn the_table_of_flags_is_that_of_the_program() {
    let help = config::parse(["run".into(), "--help".into()], |_| None).expect_err("a call for help");
    let help = help.to_string();
    let mut flags = BTreeMap::new();
    let mut current = None;
    for line in help.lines().map(str::trim) {
        if let Some(flag) = line.strip_prefix("--") {
            let flag = flag.split(' ').next().unwrap_or(flag);
            flags.insert(format!("`--{flag}`"), None);
            current = Some(format!("`--{flag}`"));
        } else if let (Some(flag), Some(rest)) = (&current, line.strip_prefix("[default: ")) {
            flags.insert(flag.clone(), Some(format!("`{}`", rest.trim_end_matches(']'))));
        }
    }
    let said = table("| flag | default | |");
    let mut named: Vec<_> = said.iter().filter_map(|row| row.first().copied()).collect();
    named.sort_unstable();
    assert_eq!(named, flags.keys().collect::<Vec<_>>());
    for row in &said {
        let [flag, default, _] = row.as_slice() else { panic!("not three cells: {row:?}") };
        match flags.get(*flag) {
            Some(Some(true_one)) => assert_eq!(default, true_one, "{flag}"),
            _ => assert!(!default.starts_with('`'), "{flag} has no default"),
        }
    }
}

/// Also in the running text: a flag that was renamed must not live on in the README.
#[test]
fn every_flag_of_the_operator_in_the_text_exists() {
    let help =
        config::parse(["run".into(), "--help".into()], |_| None).expect_err("a call for help").to_string();
    // Of kubectl, helm and cargo.
    let others = [
        "bin",
        "create-namespace",
        "duration",
        "flatten",
        "field-selector",
        "for",
        "from-file",
        "help",
        "json",
        "kubeconfig",
        "locked",
        "minify",
        "namespace",
        "no-fail-fast",
        "overwrite",
        "release",
        "set",
        "timeout",
        "type",
        "current",
        "user",
        "wait",
        "watch",
        "workspace",
    ];
    for word in README.split(|c: char| !c.is_ascii_alphanumeric() && c != '-') {
        let Some(flag) =
            word.strip_prefix("--").filter(|flag| flag.starts_with(|c: char| c.is_ascii_lowercase()))
        else {
            continue;
        };
        assert!(
            others.contains(&flag) || help.contains(&format!("--{flag} ")),
            "--{flag} is no flag of the operator; if it is one of another program, name it in this test"
        );
    }
}
