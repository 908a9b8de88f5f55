//! The tools, what is shipped for them, and the captured resources.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;
use serde_json::{Value, json};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// A file or folder of the repository.
pub fn at(path: &str) -> PathBuf {
    Path::new(ROOT).join(path)
}

/// What a tool says of a resource.
#[derive(Debug, Deserialize)]
pub struct Verdict {
    pub status: String,
    pub message: String,
}

/// What all of them say of it.
#[derive(Debug, Deserialize)]
pub struct Judged {
    /// Argo CD.
    pub argo: Verdict,
    /// Our script; Argo CD does not ask it about what is being deleted.
    pub lua: Verdict,
    /// kstatus.
    pub kstatus: Verdict,
    /// Our expressions in Flux.
    pub flux: Verdict,
    /// The actions, and whether each can be taken.
    pub actions: BTreeMap<String, bool>,
    /// What each of them writes: a merge patch.
    pub patches: BTreeMap<String, Value>,
}

/// Builds a tool of `tests/tools` once, and gives its program.
pub fn obtain(name: &str) -> PathBuf {
    output(Command::new(at("tests/tools/obtain")).arg(name), "")
}

/// The folder with the CRDs of others.
pub fn crds_of_others() -> PathBuf {
    output(&mut Command::new(at("tests/gitops/crds")), "")
}

fn output(command: &mut Command, stdin: &str) -> PathBuf {
    let (success, stdout, _) = run(command.stderr(Stdio::inherit()), stdin);
    assert!(success, "{command:?} fails");
    PathBuf::from(stdout.trim())
}

/// Runs a program to its end: whether it succeeds, its stdout and its stderr.
pub fn run(command: &mut Command, stdin: &str) -> (bool, String, String) {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it can be run");
    let mut pipe = child.stdin.take().expect("piped");
    let text = stdin.to_owned();
    let writer = std::thread::spawn(move || pipe.write_all(text.as_bytes()));
    let output = child.wait_with_output().expect("it ends");
    let written = writer.join().expect("a writer");
    assert!(stdin.is_empty() || written.is_ok() || !output.status.success(), "stdin is read");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (output.status.success(), text(output.stdout), text(output.stderr))
}

/// The documents of a YAML file.
pub fn documents(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_saphyr::from_multiple(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The captured resources by the names of their files.
pub fn captured() -> BTreeMap<String, Value> {
    let files = fs::read_dir(at("tests/gitops/captured")).unwrap().map(|file| file.unwrap().path());
    files
        .map(|path| {
            let resource = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
            (path.file_stem().unwrap().to_str().unwrap().to_owned(), resource)
        })
        .collect()
}

/// Has these resources judged with the scripts and expressions under `deploy`.
pub fn judge(resources: &[Value]) -> Vec<Judged> {
    let config = documents(&at("deploy/argocd/argocd-cm.yaml")).remove(0);
    let script = |key: &str| {
        let key = format!("resource.customizations.{key}.migrationlink.dev_MigrationLink");
        config["data"][&key].as_str().unwrap_or_else(|| panic!("there is no {key}")).to_owned()
    };
    // Argo CD reads the actions as YAML within the YAML.
    let actions: Value = serde_saphyr::from_str(&script("actions")).unwrap();
    let definitions: BTreeMap<_, _> = actions["definitions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|action| (action["name"].as_str().unwrap(), action["action.lua"].as_str().unwrap()))
        .collect();
    let kustomizations = documents(&at("deploy/flux/kustomizations.yaml"));
    let expressions = kustomizations.iter().find_map(|one| one["spec"]["healthCheckExprs"].as_array());
    let [expressions] = expressions.unwrap().as_slice() else { panic!("not one entry of healthCheckExprs") };
    assert_eq!(
        (&expressions["apiVersion"], &expressions["kind"]),
        (&json!("migrationlink.dev/v1alpha1"), &json!("MigrationLink"))
    );
    let question = json!({
        "health": script("health"),
        "discovery": actions["discovery.lua"],
        "actions": definitions,
        "expressions": expressions,
        "resources": resources,
    });
    let mut tool = Command::new(obtain("gitops"));
    let (success, stdout, stderr) = run(tool.stderr(Stdio::piped()), &question.to_string());
    assert!(success, "{stderr}");
    serde_json::from_str(&stdout).unwrap()
}
