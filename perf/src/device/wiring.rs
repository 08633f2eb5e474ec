//! Which netdevs make a cable of each kind, and where the generator attaches to it.
//!
//! Both devices get the same words. A cable is a hub of two ports, since that is how QEMU joins two netdevs.

use std::path::Path;

use serde_json::{Value, json};

use crate::endpoint::Address;
use crate::error::Result;
use crate::host::sandbox::ip;

/// A kind of netdev that can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Taps: the generator uses the kernel's side of them.
    Tap,
    /// UDP over loopback.
    DgramInet,
    /// Unix datagrams.
    DgramUnix,
    /// Unix streams.
    Stream,
    /// TCP over loopback.
    Socket,
    /// L2TPv3 tunnels in UDP over loopback.
    L2tpv3,
}

/// All kinds, in the order of the table.
pub const KINDS: [Kind; 6] =
    [Kind::Tap, Kind::DgramInet, Kind::DgramUnix, Kind::Stream, Kind::Socket, Kind::L2tpv3];

/// How the generator uses a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Manner {
    /// Frames are handed to the kernel many at once.
    pub segmented: bool,
    /// What leaves a tap is counted by the interface, not read.
    pub counted: bool,
}

impl Kind {
    /// Its name in tables and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Tap => "tap",
            Kind::DgramInet => "dgram-inet",
            Kind::DgramUnix => "dgram-unix",
            Kind::Stream => "stream",
            Kind::Socket => "socket",
            Kind::L2tpv3 => "l2tpv3",
        }
    }

    /// The words of the netdev `id`, the `index`-th of this device.
    pub fn netdev(self, id: &str, index: usize, folder: &Path) -> String {
        let folder = folder.display();
        match self {
            Kind::Tap => format!("tap,id={id},ifname={},script=no,downscript=no", tap_name(index)),
            Kind::DgramInet => format!(
                "dgram,id={id},local.type=inet,local.host=127.0.0.1,local.port={},\
                 remote.type=inet,remote.host=127.0.0.1,remote.port={}",
                device_port(index),
                generator_port(index)
            ),
            Kind::DgramUnix => format!(
                "dgram,id={id},local.type=unix,local.path={folder}/d{index},\
                 remote.type=unix,remote.path={folder}/g{index}"
            ),
            Kind::Stream => {
                format!("stream,id={id},server=on,addr.type=unix,addr.path={folder}/s{index}")
            }
            Kind::Socket => format!("socket,id={id},listen=127.0.0.1:{}", device_port(index)),
            Kind::L2tpv3 => format!(
                "l2tpv3,id={id},src=127.0.0.1,dst=127.0.0.1,udp=on,srcport={},dstport={},\
                 rxsession=1,txsession=1",
                device_port(index),
                generator_port(index)
            ),
        }
    }

    /// The same as arguments of `netdev_add`.
    pub fn netdev_arguments(self, id: &str, index: usize, folder: &Path) -> Value {
        let path = |letter: char| format!("{}/{letter}{index}", folder.display());
        match self {
            Kind::Tap => json!({
                "type": "tap", "id": id, "ifname": tap_name(index), "script": "no", "downscript": "no",
            }),
            Kind::DgramInet => json!({
                "type": "dgram", "id": id,
                "local": { "type": "inet", "host": "127.0.0.1", "port": device_port(index).to_string() },
                "remote": { "type": "inet", "host": "127.0.0.1", "port": generator_port(index).to_string() },
            }),
            Kind::DgramUnix => json!({
                "type": "dgram", "id": id,
                "local": { "type": "unix", "path": path('d') },
                "remote": { "type": "unix", "path": path('g') },
            }),
            Kind::Stream => json!({
                "type": "stream", "id": id, "server": true, "addr": { "type": "unix", "path": path('s') },
            }),
            Kind::Socket => json!({
                "type": "socket", "id": id, "listen": format!("127.0.0.1:{}", device_port(index)),
            }),
            Kind::L2tpv3 => json!({
                "type": "l2tpv3", "id": id, "src": "127.0.0.1", "dst": "127.0.0.1", "udp": true,
                "srcport": device_port(index).to_string(), "dstport": generator_port(index).to_string(),
                "rxsession": 1, "txsession": 1,
            }),
        }
    }

    /// Where the generator attaches to the `index`-th netdev.
    pub fn address(self, index: usize, manner: Manner, folder: &Path) -> Address {
        let path = |letter: char| format!("{}/{letter}{index}", folder.display());
        match self {
            Kind::Tap if manner.counted => Address::InterfaceCounter { interface: tap_name(index) },
            Kind::Tap => Address::Packet { interface: tap_name(index), segmented: manner.segmented },
            Kind::DgramInet | Kind::L2tpv3 => Address::Udp {
                local: format!("127.0.0.1:{}", generator_port(index)),
                remote: format!("127.0.0.1:{}", device_port(index)),
                segmented: manner.segmented,
                is_tunnel: self == Kind::L2tpv3,
            },
            Kind::DgramUnix => Address::UnixDatagram { local: path('g'), remote: path('d') },
            Kind::Stream => Address::UnixStream { path: path('s') },
            Kind::Socket => Address::Tcp { remote: format!("127.0.0.1:{}", device_port(index)) },
        }
    }

    /// Whether the kernel can be handed many of its frames as one.
    pub fn is_udp(self) -> bool {
        matches!(self, Kind::DgramInet | Kind::L2tpv3)
    }

    /// Makes what must be there before the netdevs `first..first + count`: taps that are up.
    ///
    /// # Errors
    /// If an interface cannot be made.
    pub fn prepare(self, first: usize, count: usize) -> Result<Prepared> {
        match self {
            Kind::Tap => Prepared::taps(first, count, ""),
            Kind::DgramInet | Kind::DgramUnix | Kind::Stream | Kind::Socket | Kind::L2tpv3 => {
                Ok(Prepared::default())
            }
        }
    }
}

/// Interfaces that were made for a device; taken away when dropped.
#[derive(Debug, Default)]
pub struct Prepared {
    taps: Vec<String>,
}

impl Prepared {
    /// Makes taps that stay, and brings them up; `options` are further words of `ip tuntap add`, each after a blank.
    ///
    /// # Errors
    /// If one cannot be made.
    pub fn taps(first: usize, count: usize, options: &str) -> Result<Prepared> {
        let mut prepared = Prepared::default();
        for name in (first..first + count).map(tap_name) {
            ip(&format!("tuntap add {name} mode tap{options}"))?;
            prepared.taps.push(name.clone());
            ip(&format!("link set {name} up"))?;
        }
        Ok(prepared)
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        for name in &self.taps {
            // One that was moved to another network is gone with it.
            let _ = ip(&format!("link del {name}"));
        }
    }
}

/// The netdev words of a cable of two netdevs of `kind`, the `index`-th and the next.
pub fn cable(kind: Kind, index: usize, folder: &Path) -> Vec<String> {
    let ends = [index, index + 1];
    ends.iter()
        .flat_map(|end| {
            let hubport = format!("hubport,id=h{end},hubid={index},netdev=n{end}");
            [kind.netdev(&format!("n{end}"), *end, folder), hubport]
        })
        .collect()
}

/// The arguments of `netdev_add` that make the same cable, in order.
pub fn cable_arguments(kind: Kind, index: usize, folder: &Path) -> Vec<Value> {
    let ends = [index, index + 1];
    ends.iter()
        .flat_map(|end| {
            let netdev = format!("n{end}");
            let hubport =
                json!({ "type": "hubport", "id": format!("h{end}"), "hubid": index, "netdev": netdev });
            [kind.netdev_arguments(&netdev, *end, folder), hubport]
        })
        .collect()
}

/// The interface of the `index`-th netdev, if it is a tap.
pub fn tap_name(index: usize) -> String {
    format!("fwp{index}")
}

fn device_port(index: usize) -> usize {
    10_000 + 2 * index
}

fn generator_port(index: usize) -> usize {
    10_001 + 2 * index
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn cable_is_two_netdevs_on_one_hub() {
        let words = cable(Kind::DgramUnix, 4, Path::new("/run/x"));
        assert_eq!(
            words,
            [
                "dgram,id=n4,local.type=unix,local.path=/run/x/d4,remote.type=unix,remote.path=/run/x/g4",
                "hubport,id=h4,hubid=4,netdev=n4",
                "dgram,id=n5,local.type=unix,local.path=/run/x/d5,remote.type=unix,remote.path=/run/x/g5",
                "hubport,id=h5,hubid=4,netdev=n5",
            ]
        );
    }

    #[test]
    fn arguments_say_the_same_as_the_words() {
        let arguments = cable_arguments(Kind::DgramInet, 0, Path::new("/run/x"));
        assert_eq!(arguments[0]["local"]["port"], "10000");
        assert_eq!(arguments[2]["remote"]["port"], "10003");
        assert_eq!(arguments[3], json!({ "type": "hubport", "id": "h1", "hubid": 0, "netdev": "n1" }));
    }
}
