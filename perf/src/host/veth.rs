//! Pairs of interfaces: what goes into one end comes out of the other. The near end is the device's.

use std::fs;

use crate::error::{Doing as _, Error, Result};
use crate::host::sandbox::{ip, program};

/// A pair that is up; taken away when dropped.
#[derive(Debug)]
pub struct Veth {
    near: String,
    far: String,
}

impl Veth {
    /// The `index`-th pair. Both ends take frames by NAPI, as network cards do: a veth does so only if it has a
    /// program, or is told to merge; and an end that comes up before its peer was told takes no redirected frames.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn new(index: usize) -> Result<Veth> {
        let (near, far) = (format!("fwpd{index}"), format!("fwpg{index}"));
        ip(&format!("link add {near} type veth peer name {far}"))?;
        let veth = Veth { near, far };
        let ends = [&veth.near, &veth.far];
        ends.iter().try_for_each(|end| program("ethtool", &["-K", end, "gro", "on"]))?;
        ends.iter().try_for_each(|end| ip(&format!("link set {end} up")))?;
        Ok(veth)
    }

    /// The device's end.
    pub fn near(&self) -> &str {
        &self.near
    }

    /// The generator's.
    pub fn far(&self) -> &str {
        &self.far
    }

    /// How many frames have come out of the far end.
    ///
    /// # Errors
    /// If the kernel does not tell.
    pub fn arrived(&self) -> Result<u64> {
        let path = format!("/sys/class/net/{}/statistics/rx_packets", self.far);
        let text = fs::read_to_string(&path).doing(format!("reading {path}"))?;
        text.trim().parse().map_err(|_error| self.does_not_say("rx_packets"))
    }

    /// How many frames a program at the near end has handed to somebody who had room for them.
    ///
    /// # Errors
    /// If the kernel does not tell.
    pub fn redirected(&self) -> Result<u64> {
        const COUNTER: &str = "rx_queue_0_xdp_redirect:";
        let output = std::process::Command::new("ethtool").args(["-S", &self.near]).output();
        let output = output.doing("running ethtool")?;
        let text = String::from_utf8_lossy(&output.stdout);
        let value = text.lines().find_map(|line| line.trim().strip_prefix(COUNTER));
        value.and_then(|value| value.trim().parse().ok()).ok_or_else(|| self.does_not_say(COUNTER))
    }

    fn does_not_say(&self, counter: &str) -> Error {
        Error::Program { program: self.near.clone(), reason: format!("has no counter {counter}") }
    }
}

/// The number of an interface.
///
/// # Errors
/// If there is none of that name.
pub fn index_of(interface: &str) -> Result<u32> {
    let path = format!("/sys/class/net/{interface}/ifindex");
    let text = fs::read_to_string(&path).doing(format!("reading {path}"))?;
    text.trim().parse().map_err(|_error| Error::Program { program: path, reason: "is no number".into() })
}

impl Drop for Veth {
    fn drop(&mut self) {
        // The other end goes with it.
        let _ = ip(&format!("link del {}", self.near));
    }
}
