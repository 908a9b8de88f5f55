//! The commands of a document, typed as they stand.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::{fs, io};

use crate::support::{ControlPlane, Output, PRIVATE_KEY, PUBLIC_KEY};
use crate::tools::{ROOT, tool};

/// The shell block of a document that follows this heading, one command a paragraph.
pub fn commands(file: &str, heading: &str) -> Vec<String> {
    let text = fs::read_to_string(format!("{ROOT}/{file}")).unwrap();
    let (_, section) =
        text.split_once(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("{file} has no {heading}"));
    let (_, block) = section.split_once("```sh\n").expect("a shell block");
    let (block, _) = block.split_once("```").expect("the end of the block");
    block.split("\n\n").map(|command| command.trim().to_owned()).collect()
}

/// The command for another namespace than the document's.
pub fn in_namespace(command: &str, namespace: &str) -> String {
    assert!(command.contains(" -n payments "), "{command}");
    command.replace(" -n payments ", &format!(" -n {namespace} "))
}

/// The files that documents ask for, where commands are typed.
pub fn key_files(control_plane: &ControlPlane) {
    for (file, content) in
        [("publicKey", PUBLIC_KEY), ("privateKey", PRIVATE_KEY), ("linkToken", "a-link-token\n")]
    {
        fs::write(control_plane.dir().join(file), content).unwrap();
    }
}

/// Types a command in a folder that has `deploy` of a clone, with helm where a shell finds it.
pub fn types(control_plane: &ControlPlane, command: &str) -> String {
    let output = try_to_type(control_plane, command);
    assert!(output.success, "{command}\n{}{}", output.stdout, output.stderr);
    output.stdout
}

/// The same where it may be refused.
pub fn try_to_type(control_plane: &ControlPlane, command: &str) -> Output {
    let linked = symlink(Path::new(ROOT).join("deploy"), control_plane.dir().join("deploy"));
    assert!(linked.is_ok() || linked.is_err_and(|error| error.kind() == io::ErrorKind::AlreadyExists));
    let helm = tool("helm");
    let home = control_plane.dir().join("helm");
    let line = format!(
        "set -e; export PATH='{}':$PATH HELM_CACHE_HOME='{home}' HELM_CONFIG_HOME='{home}' HELM_DATA_HOME='{home}'; cd '{dir}'\n{command}",
        helm.parent().unwrap().display(),
        home = home.display(),
        dir = control_plane.dir().display(),
    );
    control_plane.shell(&line)
}
