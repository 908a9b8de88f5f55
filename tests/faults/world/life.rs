//! Whether a process still runs. One that was killed sends nothing any more and gets no answer.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;
use tokio::time::{Duration, sleep};

pub struct Life {
    /// Its name among the candidates for the lease.
    pub name: String,
    dead: AtomicBool,
    crash: Notify,
}

impl Life {
    pub fn new(name: String) -> Arc<Self> {
        Arc::new(Self { name, dead: AtomicBool::new(false), crash: Notify::new() })
    }

    pub fn alive(&self) -> bool {
        !self.dead.load(Ordering::Relaxed)
    }

    /// It is killed now.
    pub fn crash(&self) {
        self.end();
        self.crash.notify_one();
    }

    /// It is killed in a moment, when it has taken in what it was answered.
    pub fn crash_soon(self: &Arc<Self>) {
        let life = self.clone();
        tokio::spawn(async move {
            sleep(Duration::from_millis(1)).await;
            life.crash();
        });
    }

    /// It does not run any more.
    pub fn end(&self) {
        self.dead.store(true, Ordering::Relaxed);
    }

    /// Returns when it was killed.
    pub async fn crashed(&self) {
        self.crash.notified().await;
    }

    /// Never returns for a process that is gone.
    pub async fn gone(&self) {
        if !self.alive() {
            pending::<()>().await;
        }
    }
}
