//! The control plane: one for all tests of this process, or one of a test's own.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/controlplane");
const CRD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/crds/migrationlinks.yaml");

/// A running etcd and kube-apiserver that serve the shipped CRD.
pub struct ControlPlane {
    dir: PathBuf,
    bin: PathBuf,
    /// While this is open it lives. It closes with this process, whatever ends it.
    stdin: Option<ChildStdin>,
    supervisor: Child,
}

/// What a run of kubectl left.
#[derive(Debug)]
pub struct Output {
    /// Whether its exit code was 0.
    pub success: bool,
    /// What it printed.
    pub stdout: String,
    /// Its warnings and errors.
    pub stderr: String,
}

impl ControlPlane {
    /// The one that all tests share. Where it cannot be had every test fails that wants it, each with the reason.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Result<ControlPlane, String>> = OnceLock::new();
        match SHARED.get_or_init(Self::try_start) {
            Ok(running) => running,
            Err(why) => panic!("{why}"),
        }
    }

    /// One of the test's own, which ends when this is dropped: for what would disturb other tests. Takes about 5 s.
    pub fn start() -> Self {
        Self::try_start().unwrap_or_else(|why| panic!("{why}"))
    }

    fn try_start() -> Result<Self, String> {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let bin = match std::env::var_os("MIGRATIONLINK_CONTROLPLANE_BIN") {
            Some(bin) => PathBuf::from(bin),
            None => obtain()?,
        };
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!(
            "cluster-{}-{}",
            std::process::id(),
            STARTED.fetch_add(1, Ordering::Relaxed)
        ));
        fs::create_dir_all(&dir).map_err(|error| format!("{} cannot be made: {error}", dir.display()))?;
        // The folder is of no use without the servers: it goes with them. Ctrl-C reaches this shell, too; it has to see the end.
        let mut supervisor = Command::new("sh")
            .args(["-c", r#"trap : INT TERM HUP; "$0/up" "$1"; rm -rf "$1""#, SCRIPTS])
            .arg(&dir)
            .env("MIGRATIONLINK_CONTROLPLANE_BIN", &bin)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("a shell is needed for the control plane: {error}"))?;
        let said = pass_on(supervisor.stderr.take().expect("piped"));
        let mut line = String::new();
        let read = BufReader::new(supervisor.stdout.take().expect("piped")).read_line(&mut line);
        if read.is_err() || line.trim() != "ready" {
            drop(supervisor.stdin.take());
            return Err(format!("the control plane does not start:\n{}", said.join().unwrap_or_default()));
        }
        let stdin = supervisor.stdin.take();
        let running = Self { dir, bin, stdin, supervisor };
        running.serve_crd()?;
        Ok(running)
    }

    /// As a user installs it.
    fn serve_crd(&self) -> Result<(), String> {
        for args in [
            &["apply", "-f", CRD][..],
            &["wait", "--for=condition=Established", "--timeout=30s", "-f", CRD],
            // Established comes a moment before requests are served.
            &["get", "migrationlinks", "-A"],
        ] {
            let mut tries = 50;
            loop {
                let output = self.kubectl(args, "");
                if output.success {
                    break;
                }
                tries -= 1;
                if args[0] != "get" || tries == 0 {
                    return Err(format!(
                        "the CRD cannot be installed, kubectl {}: {}",
                        args[0], output.stderr
                    ));
                }
                thread::sleep(std::time::Duration::from_millis(100));
            }
        }
        Ok(())
    }

    /// Where the control plane has its logs, and room for a test's own files.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Sends kube-apiserver a signal: `STOP` lets every request hang until `CONT`. Only for a control plane of the test's own.
    pub fn signal_api_server(&self, signal: &str) {
        let pid = fs::read_to_string(self.dir.join("kube-apiserver.pid")).expect("up has written it");
        let sent = Command::new("sh").args(["-c", &format!("kill -{signal} {}", pid.trim())]).status();
        assert!(sent.expect("a shell sends signals").success(), "{signal}");
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> Kubeconfig {
        Kubeconfig::read_from(self.dir.join("kubeconfig")).expect("up has written it")
    }

    /// A client of the administrator. A client belongs to the runtime that it is made on, so every test makes its own.
    pub async fn client(&self) -> Client {
        let mut config = Config::from_custom_kubeconfig(self.kubeconfig(), &KubeConfigOptions::default())
            .await
            .expect("up has written it");
        // The environment's proxy is not meant for this server.
        config.proxy_url = None;
        Client::try_from(config).expect("a client of the administrator")
    }

    /// Runs kubectl as the administrator, with `stdin` for its `-f -`.
    pub fn kubectl<S: AsRef<OsStr>>(&self, args: &[S], stdin: &str) -> Output {
        self.run(Command::new(self.bin.join("kubectl")).args(args).env_clear(), stdin)
    }

    /// Runs a command line as the administrator would type it into a shell.
    pub fn shell(&self, line: &str) -> Output {
        let path = format!("{}:/usr/local/bin:/usr/bin:/bin", self.bin.display());
        self.run(Command::new("sh").args(["-c", line]).env_clear().env("PATH", path), "")
    }

    /// Runs a program as the administrator.
    pub fn run(&self, command: &mut Command, stdin: &str) -> Output {
        let mut child = command
            .env("KUBECONFIG", self.dir.join("kubeconfig"))
            .env("KUBECACHEDIR", self.dir.join("kubectl-cache"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("kubectl came with the control plane");
        let written = child.stdin.take().expect("piped").write_all(stdin.as_bytes());
        assert!(stdin.is_empty() || written.is_ok(), "kubectl reads its stdin");
        let output = child.wait_with_output().expect("kubectl ends");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("kubectl prints UTF-8");
        Output { success: output.status.success(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let _ = self.supervisor.wait();
    }
}

/// The folder with the binaries. The first time on a machine this takes minutes, and tells how far it is.
fn obtain() -> Result<PathBuf, String> {
    let mut child = Command::new(format!("{SCRIPTS}/obtain"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("tests/controlplane/obtain does not run: {error}"))?;
    let said = pass_on(child.stderr.take().expect("piped"));
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    let said = said.join().unwrap_or_default();
    if !output.status.success() {
        return Err(format!(
            "these tests need etcd, kube-apiserver and kubectl, and tests/controlplane/obtain cannot get them:\n{said}"
        ));
    }
    Ok(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()))
}

/// Shows what a script says while it says it, past the test harness, and gives it all at the end.
fn pass_on(stderr: impl std::io::Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut said = String::new();
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            let _ = writeln!(std::io::stderr(), "{line}");
            said += &line;
            said.push('\n');
        }
        said
    })
}
