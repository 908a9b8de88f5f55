//! What may stand between the operator and the API server: it passes everything on, and can hold back what the watch of the links
//! tells, slow down writes of a status, and answer them itself.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::{pending, poll_fn};
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use kube::config::{AuthInfo, KubeConfigOptions};
use kube::{Client, Config};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;

use super::controlplane::ControlPlane;

/// Time between two events once they were held back.
const APART: Duration = Duration::from_secs(1);

/// What becomes of a write of a status.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// It is answered so, and not done.
    Refused(u16),
    /// It is done, and answered so.
    Lost(u16),
    /// It is not done, and never answered.
    Hang,
}

/// A running front. It speaks plain HTTP; whoever asks brings its own credentials. It ends when this is dropped.
pub struct Front {
    address: SocketAddr,
    state: Arc<State>,
    task: JoinHandle<()>,
}

struct State {
    api_server: Client,
    /// Whether events of the links pass.
    passes: watch::Sender<bool>,
    faults: Mutex<HashMap<String, (Fault, usize)>>,
    /// What each write of a status takes longer, on the way there and on the way back.
    delay: Mutex<Option<[Duration; 2]>>,
}

impl Front {
    /// Listens on a loopback port.
    pub async fn start(control_plane: &ControlPlane) -> Self {
        let mut kubeconfig = control_plane.kubeconfig();
        for user in &mut kubeconfig.auth_infos {
            user.auth_info = Some(AuthInfo::default());
        }
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
        let mut config = config.expect("the kubeconfig");
        // The environment's proxy is not meant for this server.
        config.proxy_url = None;
        let api_server = Client::try_from(config).expect("a client without credentials");
        let passes = watch::Sender::new(true);
        let state = State { api_server, passes, faults: Mutex::default(), delay: Mutex::default() };
        let state = Arc::new(state);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let task = tokio::spawn(serve(listener, state.clone()));
        Self { address, state, task }
    }

    /// What a kubeconfig's `server` takes.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on the operator hears of no link; what happens is kept until [`Front::release`].
    pub fn hold_watch(&self) {
        self.state.passes.send_replace(false);
    }

    /// Lets the operator hear of everything that was held back, one event after the other.
    pub fn release(&self) {
        self.state.passes.send_replace(true);
    }

    /// The next `times` writes of the status of the link with this name go wrong.
    pub fn script(&self, name: &str, fault: Fault, times: usize) {
        self.state.faults.lock().unwrap().insert(name.to_owned(), (fault, times));
    }

    /// From now on each write of a status is held for so long before it is passed on, and its answer for so long after it.
    pub fn slow_writes(&self, delay: [Duration; 2]) {
        *self.state.delay.lock().unwrap() = Some(delay);
    }

    /// How many of the faults of this link are still to come.
    pub fn left(&self, name: &str) -> usize {
        self.state.faults.lock().unwrap().get(name).map_or(0, |(_, left)| *left)
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, state: Arc<State>) {
    // Aborted with the task.
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let state = state.clone();
        let service = service_fn(move |request| answer(state.clone(), request));
        connections.spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

async fn answer(state: Arc<State>, request: Request<Incoming>) -> Result<Response<Passed>, Infallible> {
    let fault = state.fault(&request);
    match fault {
        Some(Fault::Refused(code)) => return Ok(status(code)),
        Some(Fault::Hang) => pending().await,
        Some(Fault::Lost(_)) | None => {}
    }
    let gated = is_watch_of_links(&request);
    let delay = state.delay(&request);
    if let Some([before, _]) = delay {
        sleep(before).await;
    }
    let (parts, mut body) = request.into_parts();
    let mut content = Vec::new();
    while let Some(Ok(frame)) = next(&mut body).await {
        content.extend(frame.into_data().unwrap_or_default());
    }
    let answered = state.api_server.send(Request::from_parts(parts, content.into())).await;
    if let Some([_, after]) = delay {
        sleep(after).await;
    }
    let (parts, body) = match (fault, answered) {
        (Some(Fault::Lost(code)), Ok(_)) => return Ok(status(code)),
        (_, Ok(response)) => response.into_parts(),
        (_, Err(_)) => return Ok(status(502)),
    };
    let (frames, come) = mpsc::channel(16);
    let (mut gate, mut late) = (state.passes.subscribe(), false);
    tokio::spawn(async move {
        let mut body = Box::pin(body);
        while let Some(Ok(frame)) = next(&mut body).await {
            if gated && !*gate.borrow() {
                late = true;
                // The sender lives as long as the front.
                if gate.wait_for(|passes| *passes).await.is_err() {
                    return;
                }
            }
            if late {
                // What is old is all that is known for a while.
                sleep(APART).await;
            }
            if frames.send(frame).await.is_err() {
                return;
            }
        }
    });
    Ok(Response::from_parts(parts, Passed(come)))
}

impl State {
    /// What is to become of this request, counted down.
    fn fault(&self, request: &Request<Incoming>) -> Option<Fault> {
        let name = written_status(request)?;
        let mut faults = self.faults.lock().unwrap();
        let (fault, left) = faults.get_mut(name.rsplit('/').next()?).filter(|(_, left)| *left > 0)?;
        *left -= 1;
        Some(*fault)
    }

    /// How much longer this request takes.
    fn delay(&self, request: &Request<Incoming>) -> Option<[Duration; 2]> {
        written_status(request).and_then(|_| *self.delay.lock().unwrap())
    }
}

/// The path of the link whose status a request writes.
fn written_status(request: &Request<Incoming>) -> Option<&str> {
    request.uri().path().strip_suffix("/status").filter(|_| request.method() == "PATCH")
}

fn is_watch_of_links(request: &Request<Incoming>) -> bool {
    let watches = request.uri().query().is_some_and(|query| query.contains("watch=true"));
    watches && request.uri().path().ends_with("/migrationlinks")
}

async fn next<B: Body + Unpin>(body: &mut B) -> Option<Result<Frame<B::Data>, B::Error>> {
    poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await
}

/// An answer as the API server gives it.
fn status(code: u16) -> Response<Passed> {
    let reason = if code == 409 { "Conflict" } else { "InternalError" };
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": reason, "code": code,
        "message": "as the test wants it",
    });
    let (frames, passed) = mpsc::channel(1);
    frames.try_send(Frame::data(body.to_string().into())).expect("room for one");
    let response = Response::builder().status(code).header("Content-Type", "application/json");
    response.body(Passed(passed)).expect("a response")
}

/// A body that comes frame by frame.
struct Passed(mpsc::Receiver<Frame<Bytes>>);

impl Body for Passed {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|frame| frame.map(Ok))
    }
}
