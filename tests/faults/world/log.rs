//! What the operator logs in a run.

use std::cell::RefCell;
use std::io::{self, Write};

use tracing::Level;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;

thread_local! {
    static TEXT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Takes down what this thread logs, until the guard is dropped.
pub fn take_down() -> DefaultGuard {
    TEXT.with_borrow_mut(Vec::clear);
    let layer = tracing_subscriber::fmt::layer().with_ansi(false).without_time().with_writer(Writer);
    let wanted = Targets::new()
        .with_target("migrationlink_operator", Level::DEBUG)
        .with_target("border", Level::DEBUG);
    tracing::subscriber::set_default(tracing_subscriber::registry().with(layer.with_filter(wanted)))
}

/// What was logged.
pub fn text() -> String {
    TEXT.with_borrow(|text| String::from_utf8_lossy(text).into_owned())
}

struct Writer;

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        TEXT.with_borrow_mut(|text| text.extend_from_slice(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Writer {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        Self
    }
}
