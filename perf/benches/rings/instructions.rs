//! Instructions a frame, counted by valgrind: what a change costs, whatever else the machine does meanwhile.
//!
//! The bench starts itself under callgrind, which counts only while our side carries ([`Cable::carry`]). Instructions are
//! not cycles: cache misses do not show here. But work that creeps in does, to the tenth of an instruction.

use std::process::Command;

use super::{Cable, Nic, cases, load};

/// Turns that are counted: enough that the first ones, with cold caches of ours, do not matter.
const TURNS: usize = 300;

/// Instructions a frame, at most: what was counted when it was last looked at, and two of a hundred more.
const LIMITS: [(&str, f64); 4] =
    [("split 64", 315.0), ("split in-order 64", 299.0), ("packed 64", 389.0), ("packed in-order 64", 360.0)];

/// Counts for each of [`LIMITS`], and fails if one is passed.
pub(super) fn report() {
    let mut has_passed = false;
    for (name, limit) in LIMITS {
        let Some(count) = count(name) else {
            println!("{name:26} not counted: valgrind does not run");
            continue;
        };
        let verdict = if count > limit { "PASSED" } else { "kept" };
        has_passed |= count > limit;
        println!("{name:26} {count:>8.1} instructions a frame, limit {limit:.1}: {verdict}");
    }
    if has_passed {
        std::process::exit(1);
    }
}

fn count(name: &str) -> Option<f64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--collect-atstart=no"])
        .arg("--toggle-collect=*Cable*carry*")
        .arg(std::env::current_exe().ok()?)
        .arg("counted")
        .args(name.split(' '))
        .output()
        .ok()?;
    let frames: f64 = String::from_utf8_lossy(&output.stdout).trim().parse().ok()?;
    let said = String::from_utf8_lossy(&output.stderr);
    let collected: f64 =
        said.lines().find_map(|line| line.split("Collected : ").nth(1))?.trim().parse().ok()?;
    Some(collected / frames)
}

/// Under valgrind: carries, and prints how many frames that were.
pub(super) fn counted(name: &str) {
    let Some((_name, shape, frame_bytes)) = cases().find(|(other, ..)| other == name) else {
        println!("no such ring");
        return;
    };
    let mut nics = [(); 2].map(|()| Nic::new(shape, frame_bytes));
    let mut cable = Cable::new([nics[0].device(shape), nics[1].device(shape)]);
    for _turn in 0..TURNS {
        load(&mut nics, 64);
        cable.carry();
    }
    println!("{}", cable.frames());
}
