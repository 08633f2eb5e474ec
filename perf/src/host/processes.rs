//! Finding and looking at other processes by `/proc`.

use std::fs;
use std::path::Path;

/// What a process holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holdings {
    /// Open descriptors.
    pub descriptors: usize,
    /// Threads.
    pub threads: usize,
    /// Resident memory.
    pub resident_kib: u64,
}

/// `root` and all processes below it that are alive.
pub fn family(root: u32) -> Vec<u32> {
    let parents: Vec<(u32, u32)> = all().filter_map(|process| Some((process, parent(process)?))).collect();
    let mut found = vec![root];
    let mut looked_at = 0;
    while looked_at < found.len() {
        let parent = found[looked_at];
        found.extend(parents.iter().filter(|(_, above)| *above == parent).map(|(process, _)| *process));
        looked_at += 1;
    }
    found
}

/// The processes of `among` that run a program whose file is called `name`.
pub fn running(among: &[u32], name: &str) -> Vec<u32> {
    let runs = |process: &u32| {
        let program = fs::read_link(format!("/proc/{process}/exe"));
        program.is_ok_and(|path| path.file_name().is_some_and(|file| file == name))
    };
    among.iter().copied().filter(runs).collect()
}

/// What `process` holds now; nothing is known of one that has ended.
pub fn holdings(process: u32) -> Option<Holdings> {
    let folder = format!("/proc/{process}");
    let status = fs::read_to_string(format!("{folder}/status")).ok()?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(Holdings {
        descriptors: fs::read_dir(format!("{folder}/fd")).ok()?.count(),
        threads: fs::read_dir(format!("{folder}/task")).ok()?.count(),
        resident_kib: resident.split_ascii_whitespace().next()?.parse().ok()?,
    })
}

/// Whether `process` has a TCP socket that listens on `port`.
pub fn listens_on_tcp(process: u32, port: u16) -> bool {
    const LISTENING: &str = "0A";
    let wanted = format!("{port:04X}");
    ["tcp", "tcp6"].iter().any(|table| {
        let text = fs::read_to_string(format!("/proc/{process}/net/{table}")).unwrap_or_default();
        text.lines().skip(1).any(|line| {
            let mut columns = line.split_ascii_whitespace().skip(1);
            let local = columns.next().unwrap_or_default();
            local.ends_with(&format!(":{wanted}")) && columns.nth(1) == Some(LISTENING)
        })
    })
}

fn all() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

/// The parent of a process that is not a zombie.
fn parent(process: u32) -> Option<u32> {
    let stat = fs::read_to_string(Path::new("/proc").join(process.to_string()).join("stat")).ok()?;
    // The name is in parentheses and may contain anything; state and parent follow the last one.
    let mut columns = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = columns.next()?;
    if state == "Z" { None } else { columns.next()?.parse().ok() }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn child_belongs_to_the_family_until_it_is_gone() {
        let mut child = std::process::Command::new("sleep").arg("30").spawn().unwrap();
        let me = std::process::id();
        let family_now = family(me);
        assert!(family_now.contains(&child.id()) && family_now[0] == me);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!family(me).contains(&child.id()));
        assert_eq!(holdings(child.id()), None);
    }

    #[test]
    fn holdings_count_an_open_file() {
        let me = std::process::id();
        let before = holdings(me).unwrap();
        assert!(before.descriptors > 2 && before.threads > 0 && before.resident_kib > 0);
    }

    #[test]
    fn listening_socket_is_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(listens_on_tcp(std::process::id(), port));
        drop(listener);
        assert!(!listens_on_tcp(std::process::id(), port));
    }
}
