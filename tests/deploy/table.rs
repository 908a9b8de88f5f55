//! The chart's README: what a person wrote, and the table of values, which is made from the chart.

use std::fmt::Write;
use std::fs;

use serde_json::Value;

use crate::tools::CHART;

const BEGIN: &str =
    "<!-- Made by `make generate` from values.yaml and values.schema.json; do not edit. -->\n";
const END: &str = "<!-- end of what is made -->\n";

/// One value of the chart.
pub struct Setting {
    /// Where it stands: `leaderElection.leaseName`.
    pub path: String,
    /// What it means.
    pub description: String,
    /// What it is where nobody sets it.
    pub default: Value,
    /// The flag of the operator that it sets.
    pub flag: Option<String>,
}

/// Every value, in the order of `values.schema.json`'s text.
pub fn settings() -> Vec<Setting> {
    let schema: Value = serde_json::from_str(&read("values.schema.json")).expect("JSON");
    let values: Value = serde_saphyr::from_str(&read("values.yaml")).expect("YAML");
    let mut settings = Vec::new();
    collect(&schema, Some(&values), "", &mut settings);
    settings
}

fn collect(schema: &Value, value: Option<&Value>, path: &str, settings: &mut Vec<Setting>) {
    if let Some(properties) = schema["properties"].as_object() {
        for (name, schema) in properties {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            collect(schema, value.and_then(|value| value.get(name)), &path, settings);
        }
        return;
    }
    let text = |key: &str| schema[key].as_str().map(str::to_owned);
    settings.push(Setting {
        path: path.to_owned(),
        description: text("description").unwrap_or_default(),
        default: value.cloned().unwrap_or_default(),
        flag: text("x-flag"),
    });
}

/// The README with the table that the chart says.
pub fn readme() -> String {
    let readme = read("README.md");
    let (before, rest) = readme.split_once(BEGIN).expect("README.md has the beginning of the table");
    let (_, after) = rest.split_once(END).expect("README.md has the end of the table");
    let mut table = "| value | default | flag | |\n|---|---|---|---|\n".to_owned();
    for Setting { path, description, default, flag } in settings() {
        let flag = flag.map(|flag| format!("`--{flag}`")).unwrap_or_default();
        let description = description.replace('|', "\\|");
        writeln!(table, "| `{path}` | {} | {flag} | {description} |", shown(&default)).expect("text");
    }
    format!("{before}{BEGIN}{table}{END}{after}")
}

fn shown(default: &Value) -> String {
    match default {
        Value::Null => String::new(),
        Value::String(text) if text.is_empty() => String::new(),
        Value::String(text) => format!("`{text}`"),
        other => format!("`{other}`"),
    }
}

fn read(file: &str) -> String {
    fs::read_to_string(format!("{CHART}/{file}")).expect("a file of the chart")
}

#[test]
fn every_value_has_a_description_and_every_default_is_described() {
    let settings = settings();
    for setting in &settings {
        assert!(!setting.description.is_empty(), "{} has no description", setting.path);
    }
    // values.yaml has nothing that the schema does not know: additionalProperties is false, and `helm lint` of the test beside reads both.
    assert!(settings.iter().any(|setting| setting.path == "leaderElection.leaseDuration"));
}
