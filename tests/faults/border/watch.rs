//! The bodies of the API server's answers on their way, watches among them: an event may come late, twice, out of order or not at all.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame};
use migrationlink_apiserver::{Answer, failure};
use serde_json::{Value, json};
use tokio::time::{Sleep, sleep};

use super::{Fault, Point, SILENCE, SLOW};
use crate::world::World;
use crate::world::life::Life;

/// See above.
pub struct Passed {
    inner: Answer,
    /// Who reads: a process that is gone gets nothing any more.
    life: Arc<Life>,
    /// What goes wrong with the first event.
    point: Option<(World, Point)>,
    /// What comes before anything else.
    ready: VecDeque<Result<Bytes, io::Error>>,
    /// What comes after the next event, or when `until` is over.
    held: Option<Bytes>,
    until: Option<Pin<Box<Sleep>>>,
    /// After `until`: an error; else what is ready.
    breaks: bool,
}

impl Passed {
    pub fn new(inner: Answer, life: Arc<Life>, point: Option<(World, Point)>) -> Self {
        Self { inner, life, point, ready: VecDeque::new(), held: None, until: None, breaks: false }
    }

    /// Only half of it.
    pub fn cut(inner: Answer, life: Arc<Life>) -> Self {
        let mut passed = Self::new(Answer::Whole(None), life, None);
        if let Answer::Whole(Some(bytes)) = inner {
            passed.ready.push_back(Ok(bytes.slice(..bytes.len() / 2)));
        }
        passed.ready.push_back(Err(broken()));
        passed
    }

    fn go_wrong(&mut self, world: &World, point: Point, event: Bytes) {
        world.border.met(point);
        match point.fault {
            Fault::Crash => {
                self.life.crash();
                self.silence();
            }
            Fault::Timeout => self.silence(),
            Fault::Reset => self.ready.push_back(Err(broken())),
            Fault::Cut => {
                self.ready.push_back(Ok(event.slice(..event.len() / 2)));
                self.ready.push_back(Err(broken()));
            }
            Fault::Slow => {
                self.until = Some(Box::pin(sleep(SLOW)));
                self.ready.push_back(Ok(event));
            }
            Fault::Older => {
                self.ready.extend(older(world, &event).map(Ok));
                self.ready.push_back(Ok(event));
            }
            Fault::Twice => self.ready.extend([Ok(event.clone()), Ok(event)]),
            Fault::Swapped => {
                self.held = Some(event);
                self.until = Some(Box::pin(sleep(SLOW)));
            }
            Fault::Status(code) => {
                let line = format!("{}\n", json!({"type": "ERROR", "object": failure(code)}));
                self.ready.push_back(Ok(line.into()));
                self.inner = Answer::Whole(None);
            }
        }
    }

    fn silence(&mut self) {
        self.until = Some(Box::pin(sleep(SILENCE)));
        self.breaks = true;
    }
}

impl Body for Passed {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = self.get_mut();
        loop {
            if !this.life.alive() {
                return Poll::Pending;
            }
            if this.held.is_some() {
                let next = Pin::new(&mut this.inner).poll_frame(context);
                if let Poll::Ready(next) = next {
                    let next = next.and_then(Result::ok).and_then(|frame| frame.into_data().ok());
                    this.ready.extend(next.into_iter().chain(this.held.take()).map(Ok));
                    this.until = None;
                }
            }
            if let Some(until) = &mut this.until {
                std::task::ready!(until.as_mut().poll(context));
                this.until = None;
                this.ready.extend(this.held.take().map(Ok));
                if std::mem::take(&mut this.breaks) {
                    return Poll::Ready(Some(Err(broken())));
                }
            }
            if let Some(next) = this.ready.pop_front() {
                return Poll::Ready(Some(next.map(Frame::data)));
            }
            let next = std::task::ready!(Pin::new(&mut this.inner).poll_frame(context));
            let Some(Ok(frame)) = next else { return Poll::Ready(None) };
            match (this.point.take(), frame.into_data()) {
                (Some((world, point)), Ok(event)) => this.go_wrong(&world, point, event),
                (_, Ok(event)) => return Poll::Ready(Some(Ok(Frame::data(event)))),
                (_, Err(_)) => return Poll::Ready(None),
            }
        }
    }
}

/// An event that tells the version of the object before this one.
fn older(world: &World, event: &[u8]) -> Option<Bytes> {
    let event: Value = serde_json::from_slice(event).ok()?;
    let metadata = &event["object"]["metadata"];
    let text = |field: &str| metadata[field].as_str().unwrap_or_default();
    let version = text("resourceVersion").parse().ok()?;
    let mut object = world.api.version_before(text("uid"), version)?;
    if event["object"]["kind"] == "PartialObjectMetadata" {
        object = json!({
            "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"],
        });
    }
    Some(format!("{}\n", json!({"type": "MODIFIED", "object": object})).into())
}

fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "the test broke the connection")
}
