//! The files of the checkout, sorted by what rules apply to them.

use std::path::Path;

use framewire_tests::programs::checkout;

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Rust.
    Rust,
    /// Shell and Python.
    Script,
    /// Markdown.
    Prose,
    /// TOML, Makefile, units and the like.
    Settings,
    /// Recorded or generated; nobody writes it by hand.
    Data,
    /// Licences, lock file, binaries.
    Other,
}

/// One file.
#[derive(Debug)]
pub(crate) struct File {
    /// Relative to the checkout, with `/`.
    pub(crate) path: String,
    /// What it is.
    pub(crate) kind: Kind,
}

/// All files that belong to the project.
#[derive(Debug)]
pub(crate) struct Tree {
    /// In no particular order.
    pub(crate) files: Vec<File>,
}

impl Tree {
    /// Walks the checkout. `git ls-files` would do, but a source archive has no git.
    pub(crate) fn read() -> Self {
        let mut files = Vec::new();
        walk(checkout(), &mut files);
        assert!(files.len() > 20, "only {} files found: this looks at the wrong place", files.len());
        Self { files }
    }

    /// Is there such a file?
    pub(crate) fn has(&self, path: &str) -> bool {
        self.files.iter().any(|file| file.path == path)
    }
}

/// Directories that hold no source: what cargo and Python make, and git's own.
const SKIPPED: &[&str] = &["target", ".git", "__pycache__", "corpus", "artifacts"];

fn walk(folder: &Path, files: &mut Vec<File>) {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    for entry in entries {
        let path = entry.expect("a folder can be listed").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            if !SKIPPED.contains(&name.as_str()) {
                walk(&path, files);
            }
        } else if path.is_file() && name != ".git" {
            let relative = path.strip_prefix(checkout()).expect("below the checkout");
            let path = relative.to_string_lossy().into_owned();
            let kind = kind_of(&path);
            files.push(File { path, kind });
        }
    }
}

fn kind_of(path: &str) -> Kind {
    let name = path.rsplit('/').next().unwrap_or(path);
    let (stem, extension) = name.rsplit_once('.').unwrap_or((name, ""));
    match extension {
        "rs" => Kind::Rust,
        "py" | "sh" => Kind::Script,
        "md" => Kind::Prose,
        "toml" | "service" | "txt" | "c" | "h" | "gitignore" => Kind::Settings,
        "jsonl" | "json" => Kind::Data,
        _ if stem == "Makefile" => Kind::Settings,
        _ if path == ".ci/run" => Kind::Script,
        _ => Kind::Other,
    }
}
