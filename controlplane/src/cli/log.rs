//! Log lines: to the standard error, where a service manager collects them and adds the time.

use std::io::Write as _;

use log::{LevelFilter, Log, Metadata, Record};

struct Stderr;

impl Log for Stderr {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let level = record.level().as_str().to_lowercase();
            // Nobody is left to tell if this fails.
            let _ = writeln!(std::io::stderr(), "framewire: {level}: {}", record.args());
        }
    }

    fn flush(&self) {}
}

/// From now on lines of this level and above are written.
pub fn begin(level: LevelFilter) {
    // Somebody else may have begun, in a test.
    let _ = log::set_logger(&Stderr);
    log::set_max_level(level);
}
