//! The rules of this code base that no other tool keeps. Each failure names file, line and what to do.
//!
//! They are a test and not advice, because what rots first in a program like this is known: the file that everything is
//! added to, the function that grows a case at a time, the `unsafe` that spreads. Clippy keeps the rest (`make lint`).

#[path = "tidy/source.rs"]
mod source;
#[path = "tidy/tree.rs"]
mod tree;

use framewire_tests::programs::checkout;
use source::Source;
use tree::{Kind, Tree};

/// The only files that may say `unsafe`. A new one needs a reason, here, beside its name.
const UNSAFE_FILES: &[(&str, &str)] = &[
    ("shared/src/region.rs", "maps the shared regions"),
    ("shared/src/confinement.rs", "unshare"),
    ("controlplane/src/bin/framewire-well.rs", "takes over the descriptor that it was started with"),
    ("controlplane/src/host/bridge.rs", "ioctls of interfaces"),
    ("controlplane/src/host/descriptors.rs", "close_range, which no crate here wraps"),
    ("controlplane/src/host/lookup.rs", "getaddrinfo, which no crate here wraps"),
    ("controlplane/src/host/process.rs", "gives the data plane its socket between fork and exec"),
    ("controlplane/src/host/signals.rs", "signalfd, which no crate here wraps"),
    ("controlplane/src/host/socket.rs", "UDP_GRO, which no crate here wraps"),
    ("controlplane/src/host/tun.rs", "ioctls of /dev/net/tun"),
    ("controlplane/src/host/xdp.rs", "AF_XDP, which no crate here wraps"),
    ("bpf/src/calls.rs", "libbpf, on descriptors that it has not opened itself"),
    ("dataplane/src/xsk/chunks.rs", "frames lie in memory that the kernel fills"),
    ("dataplane/src/xsk/ring.rs", "rings that the kernel shares with us"),
    ("dataplane/src/xsk/ring/test.rs", "rings in a test's own memory"),
    ("dataplane/src/xsk/socket.rs", "maps them"),
    ("shared/src/stream_memory.rs", "a stream's memory, which kernel and data plane share"),
    ("dataplane/src/driver/stream/call.rs", "system calls that no crate here wraps"),
    ("dataplane/src/driver/stream/inbox.rs", "frames point into what was received"),
    ("dataplane/src/driver/stream/outbox.rs", "what is kept is sent from its memory"),
    ("dataplane/src/driver/stream/test.rs", "frames of a test's own memory"),
    ("controlplane/src/host/vhost.rs", "an ioctl of /dev/vhost-net"),
    ("controlplane/src/host/vsock.rs", "addresses that no crate here knows"),
    (
        "dataplane/src/driver/user/calls.rs",
        "system calls that take addresses, and socket options that no crate here wraps",
    ),
    ("dataplane/src/frame/burst.rs", "frames are lists of lent memory"),
    ("dataplane/src/frame/copy.rs", "the only place that copies frames"),
    ("dataplane/src/frame/segment.rs", "memory that others lend is read and written here"),
    ("dataplane/src/frame/strip.rs", "one landing strip of memory, cut into pieces"),
    ("dataplane/src/isolate.rs", "a system call that its own test makes"),
    ("dataplane/src/kernel/bytes.rs", "system calls that take addresses"),
    ("dataplane/src/kernel/datagram.rs", "system calls that take addresses"),
    ("dataplane/src/kernel/mod.rs", "the system call itself"),
    ("dataplane/src/main.rs", "takes over the descriptors that it was started with"),
    ("dataplane/src/uring.rs", "what is submitted to the kernel must stay where it is"),
    ("dataplane/src/virtqueue/area.rs", "words of rings that guests write as well"),
    ("dataplane/src/virtqueue/cut.rs", "a signal handler"),
    ("dataplane/src/virtqueue/memory.rs", "maps guests' memory"),
    ("dataplane/tests/plane/mod.rs", "gives a child its descriptors between fork and exec"),
    ("tests/conformance/allocations.rs", "a counting allocator"),
    ("tests/harness/denied.rs", "works between fork and exec"),
    ("perf/src/calls.rs", "socket options and unshare, which rustix does not wrap safely"),
    ("perf/src/bpf.rs", "system calls of bpf"),
    ("perf/tests/allocations.rs", "is an allocator"),
    ("perf/src/mmsg.rs", "sendmmsg and recvmmsg"),
    ("perf/benches/rings.rs", "reads the time stamp counter"),
    ("tests/harness/guest/memory.rs", "a fake guest's memory, shared with a device"),
    ("tests/harness/namespace.rs", "unshare"),
    ("tests/harness/packet.rs", "packet sockets, which no crate here wraps"),
    ("tests/harness/process.rs", "works between fork and exec"),
    ("tests/harness/tun.rs", "TUNSETIFF"),
    ("tests/harness/udp.rs", "socket options and poll, which no crate here wraps"),
    ("tests/models/publish.rs", "loom's cells are entered by pointer"),
];

const CODE_LINES_MAX: usize = 400;
const FUNCTION_LINES_MAX: usize = 60;
const PARAMETERS_MAX: usize = 6;

/// Names that say nothing, and so collect everything.
const FORBIDDEN_NAMES: &[&str] = &["utils", "util", "common", "helpers", "helper", "manager", "misc"];

/// Where a program of another language is wrapped, its name may be used: the bridge helper is QEMU's own word.
const NAME_EXCEPTIONS: &[&str] = &["controlplane/src/host/helper.rs"];

#[test]
fn files_and_functions_are_short() {
    check_sources(|source, found| {
        let lines = source.code_lines();
        if lines > CODE_LINES_MAX {
            found.push(format!("{}:1: {lines} lines of code, at most {CODE_LINES_MAX}", source.path));
        }
        for function in source.functions() {
            let place = format!("{}:{}: fn {}", source.path, function.line, function.name);
            if function.lines > FUNCTION_LINES_MAX {
                found.push(format!("{place} has {} lines, at most {FUNCTION_LINES_MAX}", function.lines));
            }
            if function.parameters > PARAMETERS_MAX {
                let count = function.parameters;
                found
                    .push(format!("{place} has {count} parameters, at most {PARAMETERS_MAX}: make a struct"));
            }
        }
    });
}

#[test]
fn unsafe_is_only_where_it_is_listed() {
    check_sources(|source, found| {
        let listed = UNSAFE_FILES.iter().any(|(file, _)| *file == source.path);
        match source.line_of_word("unsafe") {
            Some(line) if !listed => found
                .push(format!("{}:{line}: unsafe outside of the files listed in tests/tidy.rs", source.path)),
            None if listed => found
                .push(format!("{}:1: listed in tests/tidy.rs as unsafe, but is not: unlist it", source.path)),
            Some(_) | None => {}
        }
    });
    for (file, _) in UNSAFE_FILES {
        assert!(checkout().join(file).is_file(), "tests/tidy.rs lists {file}, which does not exist");
    }
}

#[test]
fn every_file_begins_with_what_it_is_for() {
    check_sources(|source, found| {
        let is_trivial = source.code_lines() < 3 || source.path.ends_with("/test.rs");
        if !is_trivial && !source.text.starts_with("//! ") {
            found.push(format!(
                "{}:1: begin with module text (`//!`): problem, rejected way, chosen way",
                source.path
            ));
        }
    });
    check_files(&[Kind::Script], |path, text, found| {
        let opening: Vec<&str> = text.lines().take(3).collect();
        if !opening.iter().any(|line| line.starts_with("# ") || line.starts_with("\"\"\"")) {
            found.push(format!("{path}:1: say at the top what this is for"));
        }
    });
}

#[test]
fn names_of_files_say_something() {
    let tree = Tree::read();
    let named_badly = tree.files.iter().filter(|file| {
        let parts = file.path.split('/').map(|part| part.split('.').next().unwrap_or(part));
        let bad = parts.into_iter().any(|part| FORBIDDEN_NAMES.contains(&part));
        bad && !NAME_EXCEPTIONS.contains(&file.path.as_str())
    });
    report(named_badly.map(|file| format!("{}:1: a name that says nothing", file.path)).collect());
}

#[test]
fn lines_are_clean() {
    check_files(&[Kind::Rust, Kind::Script, Kind::Prose, Kind::Settings], |path, text, found| {
        for (number, line) in numbered(text) {
            let tab_is_meant = path.ends_with("Makefile");
            if line.contains('\t') && !tab_is_meant {
                found.push(format!("{path}:{number}: tab"));
            }
            if line.ends_with([' ', '\t']) {
                found.push(format!("{path}:{number}: blank at the end"));
            }
        }
        if !text.is_empty() && (!text.ends_with('\n') || text.ends_with("\n\n")) {
            found.push(format!("{path}: end the file with one line end"));
        }
    });
}

#[test]
fn nothing_is_put_off() {
    // In pieces, so that this file may name what it forbids.
    let words = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X"), concat!("HA", "CK")];
    let calls = [concat!("to", "do!("), concat!("unimpl", "emented!(")];
    check_files(&[Kind::Rust, Kind::Script, Kind::Prose, Kind::Settings], |path, text, found| {
        for (number, line) in numbered(text) {
            let word = line.split(|c: char| !c.is_ascii_alphanumeric()).find(|word| words.contains(word));
            let call = calls.iter().find(|call| line.contains(**call)).copied();
            if let Some(what) = word.or(call) {
                found.push(format!("{path}:{number}: {what}: do it now, or say plainly what is not there"));
            }
        }
    });
}

/// A path of the machine on which something was written means nothing on another.
#[test]
fn no_file_knows_the_machine_it_was_written_on() {
    let paths =
        [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/"), concat!("../sh", "ared/")];
    check_files(&[Kind::Rust, Kind::Script, Kind::Prose, Kind::Settings, Kind::Data], |path, text, found| {
        for (number, line) in numbered(text) {
            if let Some(hit) = paths.iter().find(|hit| line.contains(**hit)) {
                found.push(format!("{path}:{number}: {hit} exists only where this was written"));
            }
        }
    });
}

#[test]
fn every_dependency_has_its_reason() {
    let text = read("Cargo.toml");
    let mut found = Vec::new();
    let (mut inside, mut reason) = (false, false);
    for (number, line) in numbered(&text) {
        if line.starts_with('[') {
            inside = line == "[workspace.dependencies]";
        } else if line.starts_with('#') {
            reason = true;
        } else if inside && line.contains('=') {
            // Our own crates explain themselves.
            if !reason && !line.contains("path =") {
                found
                    .push(format!("Cargo.toml:{number}: say in a comment above why this dependency is here"));
            }
            reason = false;
        }
    }
    report(found);
}

#[test]
fn members_take_their_dependencies_from_the_workspace() {
    check_files(&[Kind::Settings], |path, text, found| {
        if path == "Cargo.toml" || !path.ends_with("/Cargo.toml") || text.contains("[workspace]") {
            return;
        }
        let mut inside = false;
        for (number, line) in numbered(text) {
            if line.starts_with('[') {
                inside = line.contains("dependencies");
            } else if inside
                && line.contains('=')
                && !line.contains("workspace = true")
                && !line.starts_with('#')
            {
                found.push(format!("{path}:{number}: declare it in the root Cargo.toml, with a reason"));
            }
        }
        if !text.contains("[lints]\nworkspace = true") {
            found.push(format!("{path}:1: take the workspace's lints"));
        }
    });
    assert!(checkout().join("Cargo.lock").is_file(), "Cargo.lock is part of the source");
}

/// A kind without a test of its own is a kind that nobody has seen working.
#[test]
fn every_kind_that_is_built_has_its_test() {
    const TABLE: &str = "controlplane/src/kind/mod.rs";
    let (tree, text) = (Tree::read(), read(TABLE));
    let lines = numbered(&text).filter(|(_, line)| line.contains("driver: Built;"));
    let built: Vec<(usize, String)> = lines
        .filter_map(|(number, line)| Some((number, line.split('"').nth(1)?.replace('-', "_"))))
        .collect();
    assert!(
        !built.is_empty(),
        "no line of {TABLE} says `driver: Built;`: this rule looks for the wrong thing"
    );
    let has_test = |kind: &str| {
        tree.has(&format!("tests/kinds/{kind}.rs")) || tree.has(&format!("tests/kinds/{kind}/mod.rs"))
    };
    let untested = built.iter().filter(|(_, kind)| !has_test(kind));
    report(untested.map(|(line, kind)| format!("{TABLE}:{line}: no tests/kinds/{kind}.rs")).collect());
}

fn check_sources(mut check: impl FnMut(&Source, &mut Vec<String>)) {
    check_files(&[Kind::Rust], |path, text, found| check(&Source::new(path, text), found));
}

fn check_files(kinds: &[Kind], mut check: impl FnMut(&str, &str, &mut Vec<String>)) {
    let mut found = Vec::new();
    let tree = Tree::read();
    for file in tree.files.iter().filter(|file| kinds.contains(&file.kind)) {
        check(&file.path, &read(&file.path), &mut found);
    }
    report(found);
}

fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(index, line)| (index + 1, line))
}

fn read(path: &str) -> String {
    let bytes = std::fs::read(checkout().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"));
    String::from_utf8(bytes).unwrap_or_else(|e| panic!("{path}: {e}"))
}

#[track_caller]
#[expect(clippy::needless_pass_by_value, reason = "takes what its callers have just collected")]
fn report(found: Vec<String>) {
    assert!(found.is_empty(), "{} untidy places:\n{}\n", found.len(), found.join("\n"));
}
