//! Waiting for what becomes true by itself.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// So long everything may take that nobody wants to measure: the machine may be busy with other tests.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Asks `probe` every 50 ms until it is Ok, and gives that. Fails the test when it stays Err for 30 s, with the last Err.
pub async fn eventually<T>(what: &str, mut probe: impl AsyncFnMut() -> Result<T, String>) -> T {
    let begin = Instant::now();
    loop {
        match probe().await {
            Ok(found) => return found,
            Err(last) if begin.elapsed() > PATIENCE => {
                panic!("{what}: not within {PATIENCE:?}. In the end: {last}")
            }
            Err(_) => sleep(Duration::from_millis(50)).await,
        }
    }
}
