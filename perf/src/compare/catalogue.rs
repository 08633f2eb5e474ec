//! All cases, and the words that select them.

use super::af_xdp::AfXdp;
use super::case::Case;
use super::commands::Commands;
use super::idle::Idle;
use super::kill::Kill;
use super::multiqueue::Multiqueue;
use super::netdev_add::NetdevAdd;
use super::nic::Nic;
use super::rate::Rate;
use super::reconfigure::Reconfigure;
use super::round_trip::{RoundTrip, WakeUp};
use super::tcp::Tcp;
use super::vde::Vde;
use crate::device::wiring::{KINDS, Kind};
use crate::error::{Error, Result};
use crate::frame::{SIZE_MAX, Shape};

/// What is run when nothing is selected: everything that has a floor.
const DEFAULT: &[&str] = &[
    "tap",
    "dgram-inet",
    "dgram-unix",
    "stream",
    "socket",
    "l2tpv3",
    "vde",
    "tap:tcp",
    "tap:tcp:work",
    "multiqueue",
    "idle",
    "tap:wake",
    "dgram-inet:wake",
    "dgram-unix:wake",
    "tap:add",
    "dgram-unix:add",
    "dgram-unix:commands",
    "tap:reconfigure",
    "dgram-unix:reconfigure",
    "tap:kill",
    "dgram-unix:kill",
];

/// The cases that `words` select, in their order: `KIND`, `KIND:SIZE`, `KIND:SIZE:gso`, `KIND:rtt`, `KIND:wake`,
/// `KIND:add`, `KIND:commands`, `KIND:reconfigure`, `KIND:kill`, `tap:tcp`, `tap:tcp:work`, `tap:tcp:free`, `multiqueue`, `idle`, `af-xdp[:receive|:transmit|:forward|:redirect]`, `vde[:64|:1500|:64:rtt]`,
/// `nic[:64|:64:packed|:1518|:1518:packed|:64:rtt]`. A kind alone stands for its rates at 64 and
/// 1500 bytes and its round trip.
///
/// # Errors
/// If a word selects nothing.
pub fn cases(words: &[String]) -> Result<Vec<Box<dyn Case>>> {
    if words.is_empty() {
        return DEFAULT.iter().map(|word| selected(word)).collect::<Result<Vec<_>>>().map(flat);
    }
    words.iter().map(|word| selected(word)).collect::<Result<Vec<_>>>().map(flat)
}

fn flat(cases: Vec<Vec<Box<dyn Case>>>) -> Vec<Box<dyn Case>> {
    cases.into_iter().flatten().collect()
}

fn selected(word: &str) -> Result<Vec<Box<dyn Case>>> {
    let unknown = || Error::Usage(format!("'{word}' is no case"));
    match word {
        "idle" => return Ok(vec![Box::new(Idle)]),
        "multiqueue" => return Ok(vec![Box::new(Multiqueue)]),
        "tap:tcp" => return Ok(vec![Box::new(Tcp::Rate)]),
        "tap:tcp:work" => return Ok(vec![Box::new(Tcp::Work)]),
        "tap:tcp:free" => return Ok(vec![Box::new(Tcp::Free)]),
        _ => {}
    }
    match word.split(':').next() {
        Some("af-xdp") => return named(word, AfXdp::ALL).ok_or_else(unknown),
        Some("nic") => return named(word, Nic::ALL).ok_or_else(unknown),
        Some("vde") => return named(word, Vde::ALL).ok_or_else(unknown),
        _ => {}
    }
    let parts: Vec<&str> = word.split(':').collect();
    let kind = KINDS.into_iter().find(|kind| kind.name() == parts[0]).ok_or_else(unknown)?;
    Ok(match parts[1..] {
        [] => whole_kind(kind),
        ["rtt"] => vec![Box::new(RoundTrip { kind })],
        ["wake"] => vec![Box::new(WakeUp { kind })],
        ["add"] => vec![Box::new(NetdevAdd { kind })],
        ["commands"] => vec![Box::new(Commands { kind })],
        ["reconfigure"] => vec![Box::new(Reconfigure { kind })],
        ["kill"] => vec![Box::new(Kill { kind })],
        [size] => vec![Box::new(Rate { kind, size: sized(size)?, segmented: false })],
        [size, "gso"] if kind.is_udp() => {
            vec![Box::new(Rate { kind, size: sized(size)?, segmented: true })]
        }
        [size, "rtt"] if sized(size)? == 64 => vec![Box::new(RoundTrip { kind })],
        _ => return Err(unknown()),
    })
}

/// The case of this name, or all if it is their kind's alone.
fn named<C: Case + 'static>(word: &str, all: impl IntoIterator<Item = C>) -> Option<Vec<Box<dyn Case>>> {
    let is_meant = |case: &C| !word.contains(':') || case.name() == word;
    let cases = all.into_iter().filter(is_meant).map(|case| Box::new(case) as Box<dyn Case>);
    Some(cases.collect::<Vec<_>>()).filter(|cases| !cases.is_empty())
}

fn whole_kind(kind: Kind) -> Vec<Box<dyn Case>> {
    let mut cases: Vec<Box<dyn Case>> = Vec::new();
    let manners: &[bool] = if kind.is_udp() { &[false, true] } else { &[false] };
    for segmented in manners {
        for size in [64, 1500] {
            cases.push(Box::new(Rate { kind, size, segmented: *segmented }));
        }
    }
    cases.push(Box::new(RoundTrip { kind }));
    cases
}

fn sized(text: &str) -> Result<usize> {
    let range = Shape::udp(0, 1).size_min()..=SIZE_MAX;
    let size = text.parse().ok().filter(|size| range.contains(size));
    size.ok_or_else(|| {
        Error::Usage(format!("'{text}' is no frame size from {} to {}", range.start(), range.end()))
    })
}

#[cfg(test)]
mod test {
    use super::*;

    fn names(words: &[&str]) -> Vec<String> {
        let words: Vec<String> = words.iter().map(ToString::to_string).collect();
        cases(&words).unwrap().iter().map(|case| case.name()).collect()
    }

    #[test]
    fn kind_alone_stands_for_its_rates_and_round_trip() {
        assert_eq!(names(&["tap"]), ["tap:64", "tap:1500", "tap:64:rtt"]);
        assert_eq!(names(&["dgram-inet"]).len(), 5);
        assert_eq!(names(&["l2tpv3"])[2], "l2tpv3:64:gso");
        assert_eq!(names(&["af-xdp"]).len(), 4);
        assert_eq!(names(&["nic:64:packed"]), ["nic:64:packed"]);
        assert_eq!(names(&["vde"]), ["vde:64", "vde:1500", "vde:64:rtt"]);
        assert_eq!(names(&["af-xdp:forward"]), ["af-xdp:forward"]);
    }

    #[test]
    fn every_name_selects_its_case() {
        for name in names(&[]) {
            assert_eq!(names(&[&name]), std::slice::from_ref(&name));
        }
    }

    #[test]
    fn words_that_select_nothing_are_refused() {
        for word in [
            "",
            "tip",
            "af-xdp:",
            "af-xdpx",
            "tap:gso",
            "tap:64:gso",
            "dgram-inet:64:gso:x",
            "tap:10",
            "tap:100000",
        ] {
            assert!(matches!(cases(&[word.to_owned()]), Err(Error::Usage(_))), "{word}");
        }
    }
}
