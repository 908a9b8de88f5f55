//! helm and the other programs, as a person would call them.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use serde_json::Value;

use crate::support::{ControlPlane, Output};

/// The root of the repository.
pub const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// The chart.
pub const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/chart/migrationlink-operator");

/// The path of a program of `tests/tools`, which is built the first time.
pub fn tool(name: &str) -> PathBuf {
    static FOUND: Mutex<BTreeMap<String, PathBuf>> = Mutex::new(BTreeMap::new());
    let mut found = FOUND.lock().expect("another test has failed to get a tool");
    if let Some(path) = found.get(name) {
        return path.clone();
    }
    let path = printed_path(Command::new(format!("{ROOT}/tests/tools/obtain")).arg(name));
    found.insert(name.to_owned(), path.clone());
    path
}

/// What a script prints that builds something, once, and says where it is.
pub fn printed_path(script: &mut Command) -> PathBuf {
    let output = script.stderr(Stdio::inherit()).output().expect("the script runs");
    assert!(output.status.success(), "{script:?} fails");
    PathBuf::from(String::from_utf8(output.stdout).expect("a path").trim())
}

/// helm with this command line, and nothing of this machine's own helm.
pub fn helm_command(args: &[&str]) -> Command {
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("helm");
    let mut command = Command::new(tool("helm"));
    command.args(args).env_clear();
    for (name, dir) in [("CACHE", "cache"), ("CONFIG", "config"), ("DATA", "data")] {
        command.env(format!("HELM_{name}_HOME"), home.join(dir));
    }
    command
}

/// Runs helm against the API server with these values.
pub fn helm(control_plane: &ControlPlane, args: &[&str], values: &Value) -> Output {
    let command = &mut helm_command(args);
    if values.is_null() {
        return control_plane.run(command, "");
    }
    control_plane.run(command.args(["-f", "-"]), &values.to_string())
}

/// The same, and it has to work.
pub fn helm_does(control_plane: &ControlPlane, args: &[&str], values: &Value) -> String {
    let output = helm(control_plane, args, values);
    assert!(output.success, "helm {args:?}: {}{}", output.stdout, output.stderr);
    output.stdout
}

/// Runs kubectl as the administrator, and it has to work.
pub fn kubectl_does(control_plane: &ControlPlane, args: &[&str], stdin: &str) -> String {
    let output = control_plane.kubectl(args, stdin);
    assert!(output.success, "kubectl {args:?}: {}{}", output.stdout, output.stderr);
    output.stdout
}

/// Runs a program that needs no API server.
pub fn run(command: &mut Command, stdin: &str) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut pipe = child.stdin.take().expect("piped");
    let stdin = stdin.to_owned();
    // Beside the reading: a program may print before it has read all.
    let writing = std::thread::spawn(move || pipe.write_all(stdin.as_bytes()));
    let output = child.wait_with_output().expect("the program ends");
    let _ = writing.join();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    Output { success: output.status.success(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// `helm template` of the chart as it would be installed, with these values.
pub fn template(values: &Value, more: &[&str]) -> Output {
    let args = [&["template", RELEASE, CHART, "--namespace", NAMESPACE, "-f", "-"], more].concat();
    run(&mut helm_command(&args), &values.to_string())
}

/// What `helm install` would print: the release, its manifest and its notes.
pub fn dry_install(values: &Value) -> String {
    let args = ["install", RELEASE, CHART, "--dry-run=client", "--namespace", NAMESPACE, "-f", "-"];
    let output = run(&mut helm_command(&args), &values.to_string());
    assert!(output.success, "{values}: {}", output.stderr);
    output.stdout
}

/// The objects that [`template`] gives.
pub fn rendered(values: &Value) -> Vec<Value> {
    let output = template(values, &[]);
    assert!(output.success, "{values}: {}", output.stderr);
    objects(&output.stdout)
}

/// The objects of a YAML file.
pub fn objects(yaml: &str) -> Vec<Value> {
    let objects: Vec<Value> = serde_saphyr::from_multiple(yaml).expect("YAML");
    objects.into_iter().filter(|object| !object.is_null()).collect()
}

/// The one object of this kind.
pub fn only<'a>(objects: &'a [Value], kind: &str) -> &'a Value {
    let found: Vec<_> = objects.iter().filter(|object| object["kind"] == kind).collect();
    let [one] = found[..] else { panic!("{} of kind {kind}", found.len()) };
    one
}

/// The release, and so the name of everything in it.
pub const RELEASE: &str = "migrationlink-operator";
/// Where it is installed.
pub const NAMESPACE: &str = "migrationlink-system";
