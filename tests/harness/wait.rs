//! Waiting for something that another process does.
//!
//! A fixed sleep is either too short on a busy machine or too long on an idle one; so every wait here is a question
//! asked again and again until a deadline, and the failure says what was waited for.

use std::time::{Duration, Instant};

/// How long a test waits for something that should take milliseconds, on a machine that is busy with other tests.
pub const PATIENCE: Duration = Duration::from_secs(10);

const PAUSE: Duration = Duration::from_millis(2);

/// Asks `question` until it has an answer, and returns that. Panics at the deadline.
#[track_caller]
pub fn wait_for<T>(what: &str, patience: Duration, mut question: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + patience;
    loop {
        if let Some(answer) = question() {
            return answer;
        }
        assert!(Instant::now() < end, "waited {patience:?} in vain for {what}");
        std::thread::sleep(PAUSE);
    }
}

/// Asks until `question` holds. Panics at the deadline.
#[track_caller]
pub fn wait_until(what: &str, mut question: impl FnMut() -> bool) {
    wait_for(what, PATIENCE, || question().then_some(()));
}
