//! The real program under its own ServiceAccount.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Api;
use kube::api::PostParams;
use kube::config::Kubeconfig;
use secrecy::ExposeSecret;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::audit::Requests;
use super::controlplane::ControlPlane;
use super::rbac::Rights;
use super::tenant::Tenant;
use super::wait::{PATIENCE, eventually};

/// An operator that is going to be started.
pub struct OperatorBuilder<'a> {
    tenant: &'a Tenant<'a>,
    program: PathBuf,
    rights: Rights,
    args: Vec<String>,
    env: Vec<(String, String)>,
    /// Where it listens, for probes and for metrics; ports that are free when it starts if nothing is said.
    listens_at: Option<[SocketAddr; 2]>,
    cluster_proxy: Option<String>,
    front: Option<String>,
}

/// A running operator. It is killed when this is dropped, and when the test's process ends in whatever way. When a test fails,
/// the end of the operator's log is shown.
pub struct Operator<'a> {
    control_plane: &'a ControlPlane,
    user: String,
    log: PathBuf,
    probes: SocketAddr,
    metrics: SocketAddr,
    child: Child,
    /// Kills the operator once this process is gone. Behind `child`, so that it goes last.
    watchdog: Child,
}

impl<'a> OperatorBuilder<'a> {
    pub(super) fn new(tenant: &'a Tenant<'a>) -> Self {
        let args = vec![format!("--watch-namespace={}", tenant.namespace)];
        Self {
            tenant,
            program: env!("CARGO_BIN_EXE_migrationlink-operator").into(),
            rights: Rights::namespaced(&tenant.namespace),
            args,
            env: Vec::new(),
            listens_at: None,
            cluster_proxy: None,
            front: None,
        }
    }

    /// Adds a flag, in one word: `--allowed-origin=http://127.0.0.1:1234`.
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Sets a variable. The operator has no others of this process, so no proxy.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets `proxy-url` in the kubeconfig.
    pub fn cluster_proxy(mut self, url: &str) -> Self {
        self.cluster_proxy = Some(url.to_owned());
        self
    }

    /// Has the kubeconfig lead to this URL instead of the API server's.
    pub fn behind(mut self, url: &str) -> Self {
        self.front = Some(url.to_owned());
        self
    }

    /// Takes a right from the shipped role: `("watch", "secrets")`, `("patch", "migrationlinks/status")`.
    pub fn without(mut self, verb: &str, resource: &str) -> Self {
        self.rights.remove(verb, resource);
        self
    }

    /// Watches all namespaces, with `deploy/rbac.yaml`. Only for a control plane of the test's own: it acts on everybody's links.
    pub fn cluster_wide(mut self) -> Self {
        self.rights = Rights::cluster_wide();
        self.args.remove(0);
        self
    }

    /// As something else has installed it: under this ServiceAccount, with these arguments and no others. Grants nothing.
    #[allow(dead_code, reason = "tests/deploy has it")]
    pub fn installed(mut self, namespace: &str, account: &str, args: Vec<String>) -> Self {
        self.rights = Rights::installed(namespace, account);
        self.args = args;
        self
    }

    /// Has it listen at these addresses of this machine, for probes and for metrics.
    #[allow(dead_code, reason = "tests/deploy has it")]
    pub fn listening_at(mut self, probes: SocketAddr, metrics: SocketAddr) -> Self {
        self.listens_at = Some([probes, metrics]);
        self
    }

    /// Another build of it.
    #[allow(dead_code, reason = "tests/deploy has it")]
    pub fn program(mut self, path: PathBuf) -> Self {
        self.program = path;
        self
    }

    /// Starts it, and waits until it is ready.
    pub async fn start(self) -> Operator<'a> {
        let mut operator = self.spawn().await;
        operator.wait_until_ready().await;
        operator
    }

    /// Starts it, and waits only until it listens: for one that is not going to be ready.
    pub async fn spawn(self) -> Operator<'a> {
        self.rights.grant(&self.tenant.client).await;
        let (dir, kubeconfig) = self.kubeconfig().await;
        for attempt in 1.. {
            let mut operator = self.run(&dir, &kubeconfig);
            match operator.listens().await {
                Ok(()) => return operator,
                // Somebody else took a port since we looked.
                Err(()) if attempt < 5 && operator.log().contains("in use") => {}
                Err(()) => panic!("the operator ended at its start"),
            }
        }
        unreachable!("the fifth attempt returns or panics")
    }

    fn run(&self, dir: &Path, kubeconfig: &Path) -> Operator<'a> {
        let [probes, metrics] = self.listens_at.unwrap_or_else(|| [free_port(), free_port()]);
        let log = dir.join("log");
        let stdout = OpenOptions::new().create(true).append(true).open(&log).expect("the operator's log");
        let mut child = Command::new(&self.program)
            .args(&self.args)
            .arg(format!("--health-probe-bind-address={probes}"))
            .arg(format!("--metrics-bind-address={metrics}"))
            .env_clear()
            .env("KUBECONFIG", kubeconfig)
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stderr(stdout.try_clone().expect("the operator's log"))
            .stdout(stdout)
            .kill_on_drop(true)
            .spawn()
            .expect("the operator starts");
        let pid = child.id().expect("it has only just started").to_string();
        // The pipe closes with this process. In a process group of its own, so that Ctrl-C leaves it.
        let watchdog = Command::new("sh")
            .args(["-c", r#"read -r _; kill -KILL "$0" 2>/dev/null"#, &pid])
            .stdin(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn();
        let watchdog = watchdog.unwrap_or_else(|error| {
            let _ = child.start_kill();
            panic!("a shell is needed to watch the operator: {error}")
        });
        let user = self.rights.user();
        let control_plane = self.tenant.control_plane;
        Operator { control_plane, user, log, probes, metrics, child, watchdog }
    }

    /// A folder for this operator, and in it a kubeconfig with a token of its ServiceAccount.
    async fn kubeconfig(&self) -> (PathBuf, PathBuf) {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let accounts: Api<ServiceAccount> = Api::namespaced(self.tenant.client.clone(), &self.rights.home);
        let ask = TokenRequest { spec: TokenRequestSpec::default(), ..TokenRequest::default() };
        let answer = accounts.create_token_request(&self.rights.account, &PostParams::default(), &ask).await;
        let token = answer.expect("a token").status.expect("a token").token;
        let control_plane = self.tenant.control_plane;
        let mut cluster = control_plane.kubeconfig().clusters[0].cluster.clone().expect("a cluster");
        cluster.proxy_url.clone_from(&self.cluster_proxy);
        if let Some(front) = &self.front {
            cluster.server = Some(front.clone());
        }
        let content = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": "operator", "user": {"token": token}}],
            "contexts": [{"name": "test", "context":
                {"cluster": "test", "user": "operator", "namespace": self.rights.home}}],
            "current-context": "test",
        });
        let dir = control_plane.dir().join(format!("operator-{}", MADE.fetch_add(1, Ordering::Relaxed)));
        fs::create_dir(&dir).expect("a folder for the operator");
        let path = dir.join("kubeconfig");
        let mut file =
            OpenOptions::new().create_new(true).write(true).mode(0o600).open(&path).expect("a file");
        file.write_all(content.to_string().as_bytes()).expect("the kubeconfig is written");
        (dir, path)
    }
}

impl Operator<'_> {
    /// Waits until `/readyz` says so.
    pub async fn wait_until_ready(&mut self) {
        eventually("the operator is ready", async || {
            self.must_run();
            match get(self.probes, "/readyz").await {
                Ok((200, _)) => Ok(()),
                other => Err(format!("/readyz: {other:?}")),
            }
        })
        .await;
    }

    /// Status code and body of `/livez` or `/readyz`.
    pub async fn probe(&self, path: &str) -> (u16, String) {
        get(self.probes, path).await.expect("the operator answers probes")
    }

    /// What `/metrics` says.
    pub async fn metrics(&self) -> String {
        let (status, body) = get(self.metrics, "/metrics").await.expect("the operator answers /metrics");
        assert_eq!(status, 200, "{body}");
        body
    }

    /// All that it has printed, stdout and stderr.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).expect("the operator's log")).into_owned()
    }

    /// The file of its kubeconfig, which is good after its end, too.
    pub fn kubeconfig(&self) -> PathBuf {
        self.log.with_file_name("kubeconfig")
    }

    /// The token of its ServiceAccount.
    pub fn bearer_token(&self) -> String {
        let kubeconfig = Kubeconfig::read_from(self.kubeconfig()).expect("its kubeconfig");
        let user = kubeconfig.auth_infos.into_iter().next().and_then(|user| user.auth_info).expect("a user");
        user.token.expect("a token").expose_secret().to_owned()
    }

    /// What its ServiceAccount has asked of the API server; an earlier operator of the same namespace included.
    pub fn requests(&self) -> Requests {
        Requests::of(self.control_plane, &self.user)
    }

    /// Whether it is the copy that works.
    pub async fn leads(&self) -> bool {
        self.metrics().await.contains("migrationlink_leader 1\n")
    }

    /// Waits until it is the copy that works.
    pub async fn wait_until_it_leads(&self) {
        eventually("it leads", async || if self.leads().await { Ok(()) } else { Err(self.log()) }).await;
    }

    /// Asks it to end (SIGTERM), and gives its exit code; None if a signal ended it.
    pub async fn stop(&mut self) -> Option<i32> {
        self.signal("TERM").await;
        self.wait().await
    }

    /// Sends it a signal: `STOP` freezes it until `CONT`.
    pub async fn signal(&self, signal: &str) {
        let pid = self.pid();
        let sent = Command::new("sh").args(["-c", &format!("kill -{signal} {pid}")]).status().await;
        assert!(sent.expect("a shell sends signals").success());
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id().expect("the operator runs")
    }

    /// Ends it as a crash does (SIGKILL).
    pub async fn kill(&mut self) {
        self.child.start_kill().expect("the operator runs");
        self.wait().await;
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("a child of ours").is_some()
    }

    /// Waits until it has ended by itself, and gives its exit code; None if a signal ended it.
    pub async fn wait(&mut self) -> Option<i32> {
        let _ = self.watchdog.kill().await;
        let ended = timeout(PATIENCE, self.child.wait()).await;
        ended.expect("the operator ends within 30 s").expect("the operator's exit code").code()
    }

    /// Waits until it answers on both ports. Err when it ended.
    async fn listens(&mut self) -> Result<(), ()> {
        let (probes, metrics) = (self.probes, self.metrics);
        let child = &mut self.child;
        eventually("the operator listens", async || {
            if child.try_wait().expect("a child of ours").is_some() {
                return Ok(Err(()));
            }
            for address in [probes, metrics] {
                TcpStream::connect(address).await.map_err(|error| format!("{address}: {error}"))?;
            }
            Ok(Ok(()))
        })
        .await
    }

    fn must_run(&mut self) {
        if let Some(status) = self.child.try_wait().expect("a child of ours") {
            panic!("the operator has ended: {status}");
        }
    }
}

impl Drop for Operator<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let skip = log.lines().count().saturating_sub(40);
            let end: Vec<_> = log.lines().skip(skip).collect();
            eprintln!("the end of the operator's log:\n{}", end.join("\n"));
        }
    }
}

/// A port that nobody has now. Below the range from which the kernel gives ports to outgoing connections, and apart from that of
/// the control plane.
pub fn free_port() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let offset = u16::try_from(std::process::id() % 100).expect("below 100") * 90;
    loop {
        let port = 10_000 + (offset + NEXT.fetch_add(1, Ordering::Relaxed)) % 9_000;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

/// One GET in HTTP/1.0: the answer ends with the connection.
async fn get(address: SocketAddr, path: &str) -> Result<(u16, String), String> {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = timeout(PATIENCE, exchange).await.map_err(|_| "no answer".to_owned())?;
    let answer = answer.map_err(|error| error.to_string())?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("no HTTP")?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or("no HTTP")?;
    Ok((status, body.to_owned()))
}
