//! The targets stand in several places: what the fuzzers build and feed is what is tested here.

use std::fs;
use std::path::PathBuf;

use crate::TARGETS;

fn fuzz(path: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "fuzz", path].iter().collect()
}

/// The names in a directory of `fuzz/`, without their endings, in order.
fn names(directory: &str) -> Vec<String> {
    let files = fs::read_dir(fuzz(directory)).unwrap().map(|file| file.unwrap().path());
    let mut names: Vec<_> =
        files.map(|file| file.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

#[test]
fn the_fuzzers_targets_are_the_ones_that_are_tested() {
    let manifest = fs::read_to_string(fuzz("Cargo.toml")).unwrap();
    let binaries = manifest.split("[[bin]]\n").skip(1).map(|entry| entry.split("\n\n").next().unwrap());
    let named: Vec<_> = binaries
        .map(|entry| {
            let value = |key: &str| {
                let line = entry.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = \""));
                line.and_then(|line| line.strip_suffix('"')).unwrap_or_default().to_owned()
            };
            (value("name"), value("path"))
        })
        .collect();
    let expected: Vec<_> =
        TARGETS.iter().map(|name| ((*name).to_owned(), format!("fuzz_targets/{name}.rs"))).collect();
    assert_eq!(named, expected, "the [[bin]] entries of fuzz/Cargo.toml");
    assert_eq!(names("fuzz_targets"), TARGETS, "fuzz/fuzz_targets");
    for name in TARGETS {
        let called = fs::read_to_string(fuzz(&format!("fuzz_targets/{name}.rs"))).unwrap();
        assert!(called.contains(&format!("migrationlink_fuzz::{name}(input)")), "{name}.rs calls {called}");
    }
    for kept in ["corpus", "dictionaries"] {
        assert_eq!(names(kept), TARGETS, "fuzz/{kept}");
    }
}
