//! Finds the programs under test: those that cargo built from this checkout, and no others.
//!
//! Cargo tells an integration test only the path of its own package's programs, and these belong to other packages.
//! So they are built here once, which costs a fraction of a second when nothing changed; `make test` builds them
//! before and says where they are, so that no test waits for another's build.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The directory of the checkout.
#[must_use]
pub fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests crate lies in the checkout")
}

/// The control plane's program.
#[must_use]
pub fn framewire() -> PathBuf {
    directory().join("framewire")
}

/// The Python that has the packages of `tests/python.txt`; `make packages` makes it.
#[must_use]
pub fn python() -> PathBuf {
    checkout().join("target/python/bin/python")
}

/// What guests boot; `make packages` makes it.
#[must_use]
pub fn guests() -> PathBuf {
    checkout().join("target/guests")
}

/// Where both programs are.
#[must_use]
pub fn directory() -> &'static Path {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    DIRECTORY.get_or_init(|| match std::env::var_os("FRAMEWIRE_BIN_DIR") {
        Some(given) => PathBuf::from(given),
        None => build(),
    })
}

/// Builds both programs with the profile that the test itself was built with.
fn build() -> PathBuf {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(checkout());
    cargo.args(["build", "--quiet", "--package", "framewire", "--package", "framewire-dataplane"]);
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    let status = cargo.status().expect("cargo runs");
    assert!(status.success(), "the programs under test do not build");
    target_directory()
}

/// `target/debug` or what stands for it: this test runs from its subdirectory `deps`.
fn target_directory() -> PathBuf {
    let me = std::env::current_exe().expect("a test knows its own path");
    let deps = me.parent().expect("a program lies in a directory");
    deps.parent().expect("cargo puts tests into target/PROFILE/deps").to_path_buf()
}
