//! Lets a test that measures time go before everything ordinary on the machine.
//!
//! **Problem.** A bound such as "within 100 ms" is one of the product; on a machine that is busy with something else a
//! test would measure for how long that something else kept the processor. **Rejected.** Wider bounds: a product that is
//! slow would pass. Niceness: the kernel weighs it within a session only (autogroup), and the data plane has a session of
//! its own. **Chosen.** The round-robin class, which threads and processes inherit. It is not for tests that keep a
//! processor busy: there, the slices of 100 ms would be what is measured.

use std::process::{Command, Stdio};

/// The calling thread, and all that it starts from now on, go before ordinary threads. Where the machine does not allow
/// that, the test goes on without, and says so.
pub fn take_precedence() {
    let me = rustix::thread::gettid().as_raw_nonzero();
    let mut chrt = Command::new("chrt");
    chrt.args(["--rr", "--pid", "1", &me.to_string()]).stdout(Stdio::null()).stderr(Stdio::null());
    if !chrt.status().is_ok_and(|status| status.success()) {
        crate::need::note_skip(
            "precedence over other programs",
            "round-robin scheduling is not allowed here",
        );
    }
}
