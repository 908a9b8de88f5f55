//! `versions.env` says every version: what cannot read it says the same. Needs no control plane.
#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn read(path: impl AsRef<Path>) -> String {
    let path = Path::new(ROOT).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The variable of `versions.env`.
fn pinned(name: &str) -> String {
    let text = read("versions.env");
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name}=")).map(str::to_owned));
    line.unwrap_or_else(|| panic!("versions.env has no {name}"))
}

/// The lines of `GO_MODULES`: module and version.
fn pinned_modules() -> BTreeSet<(String, String)> {
    let text = read("versions.env");
    let (_, list) = text.split_once("GO_MODULES='\n").expect("versions.env has GO_MODULES");
    let (list, _) = list.split_once('\'').expect("the end of GO_MODULES");
    let line = |line: &str| {
        let (module, version) = line.split_once(' ').unwrap_or_else(|| panic!("no version: {line}"));
        (module.to_owned(), version.to_owned())
    };
    list.lines().map(line).collect()
}

/// Every go.mod under tests/.
fn go_mods(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("a folder").map(|entry| entry.expect("an entry").path()) {
        if entry.is_dir() {
            go_mods(&entry, found);
        } else if entry.file_name().is_some_and(|name| name == "go.mod") {
            found.push(entry);
        }
    }
}

/// The modules that a go.mod is there for: those of its tools, and those that its own program imports.
fn direct(go_mod: &str) -> BTreeSet<(String, String)> {
    let mut block = "";
    let (mut tools, mut required) = (Vec::new(), BTreeMap::new());
    let mut direct = BTreeSet::new();
    for line in go_mod.lines().map(str::trim).filter(|line| !line.starts_with("//")) {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match (block, word, rest) {
            (_, ")", _) => block = "",
            ("", "tool", "(") => block = "tool",
            ("", "require", "(") => block = "require",
            ("", "replace" | "exclude", "(") => block = "other",
            ("", "tool", package) | ("tool", package, _) => tools.push(package.to_owned()),
            ("", "require", rest) | ("require", _, rest) => {
                let requirement = if block.is_empty() { rest } else { line };
                let (requirement, comment) = requirement.split_once(" // ").unwrap_or((requirement, ""));
                let (module, version) = requirement.split_once(' ').expect("module and version");
                required.insert(module.to_owned(), version.to_owned());
                if comment != "indirect" {
                    direct.insert((module.to_owned(), version.to_owned()));
                }
            }
            _ => {}
        }
    }
    for tool in tools.iter().filter(|tool| !tool.is_empty()) {
        let of = |(module, _): &(&String, &String)| {
            tool.strip_prefix(module.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let longest = required.iter().filter(of).max_by_key(|(module, _)| module.len());
        let (module, version) = longest.unwrap_or_else(|| panic!("{tool} is of no required module"));
        direct.insert((module.clone(), version.clone()));
    }
    direct
}

#[test]
fn the_go_modules_are_those_that_are_pinned() {
    let mut files = Vec::new();
    for folder in ["tests", "deploy"] {
        go_mods(&Path::new(ROOT).join(folder), &mut files);
    }
    let mut used = BTreeSet::new();
    for file in &files {
        let text = read(file);
        let go = text.lines().find_map(|line| line.strip_prefix("go ")).expect("a go line");
        assert!(go.starts_with(&format!("{}.", pinned("GO_VERSION"))), "{}: go {go}", file.display());
        let direct = direct(&text);
        assert!(!direct.is_empty(), "{} names no module", file.display());
        used.extend(direct);
    }
    let mut pinned_ones = pinned_modules();
    pinned_ones.insert(("k8s.io/kubernetes".to_owned(), pinned("KUBERNETES_VERSION")));
    pinned_ones.insert(("go.etcd.io/etcd/server/v3".to_owned(), pinned("ETCD_VERSION")));
    assert_eq!(used, pinned_ones, "left: the go.mod files under tests/, right: versions.env");
}

#[test]
fn rust_is_what_is_pinned() {
    let rust = pinned("RUST_VERSION");
    assert!(read("rust-toolchain.toml").contains(&format!("channel = \"{rust}\"")));
    let minimum = rust.rsplit_once('.').expect("three numbers").0;
    assert!(read("Cargo.toml").contains(&format!("rust-version = \"{minimum}\"")));
}

#[test]
fn the_documents_name_what_is_tested() {
    let modules = pinned_modules();
    let (_, helm) = modules.iter().find(|(module, _)| module.starts_with("helm.sh/helm/")).expect("helm");
    let document = read("docs/versions.md");
    for (name, version) in [("Kubernetes", &pinned("KUBERNETES_VERSION")), ("helm", helm)] {
        let row = format!("| {name} | {} |", version.trim_start_matches('v'));
        assert!(document.contains(&row), "{row}");
    }
    let spdx = format!("spdx-tools=={}", pinned("SPDX_TOOLS_VERSION"));
    assert!(read("tests/image/spdx.txt").split_whitespace().any(|word| word == spdx), "{spdx}");
}

/// Every script in this folder.
fn scripts(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("a folder").map(|entry| entry.expect("an entry").path()) {
        if entry.is_dir() {
            scripts(&entry, found);
        } else if fs::read(&entry).expect("a file").starts_with(b"#!") {
            found.push(entry);
        }
    }
}

/// Three numbers with dots between them. An address has four.
fn versions(text: &str) -> Vec<&str> {
    let words = text.split(|c: char| !c.is_ascii_digit() && c != '.').map(|word| word.trim_matches('.'));
    let is_version =
        |word: &&str| word.split('.').count() == 3 && word.split('.').all(|part| !part.is_empty());
    words.filter(is_version).collect()
}

/// A script that names a version of its own would be forgotten at the next change.
#[test]
fn no_script_has_a_version_of_its_own() {
    let mut found = Vec::new();
    for folder in [".ci", "tests", "deploy", "demo"] {
        scripts(&Path::new(ROOT).join(folder), &mut found);
    }
    let names: Vec<_> = read("versions.env")
        .lines()
        .filter_map(|line| line.split_once('='))
        .filter(|(name, _)| name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_'))
        .map(|(name, _)| format!("${name}"))
        .collect();
    let mut readers = 0;
    for script in &found {
        let text = read(script);
        assert_eq!(versions(&text), [""; 0], "{}", script.display());
        if names.iter().any(|name| text.contains(name)) {
            assert!(text.contains("source") && text.contains("versions.env"), "{}", script.display());
            readers += 1;
        }
    }
    assert!(readers >= 5, "{readers} of {found:?}");
    // So that it can fail.
    assert_eq!(versions("audit_info=0.5.4; go1.26, 127.0.0.1:80 v1.36.3-rc.1 .."), ["0.5.4", "1.36.3"]);
}
