//! What a guest's NIC lets through, as `query-rx-filter` tells it, and when clients hear that it has changed.
//!
//! The guest sets it by its control queue. Most front ends keep that queue to themselves (QEMU's vhost-user netdev
//! does); then what can be told is what QEMU tells of a NIC whose guest has set nothing: it has everything, and filters
//! itself. Where the data plane has the queue, it is asked.
//!
//! `NIC_RX_FILTER_CHANGED` comes once, and then not until somebody has asked for the filter. The data plane keeps that
//! rule for each session, so that no guest can drown what else is told; here it is kept for the NIC's whole life.

use std::collections::BTreeSet;

use framewire_shared::rx_filter::{RxFilter, mode};

use crate::kind::mac::Mac;
use crate::qmp::types::net::{RxFilterInfo, RxState};

/// The highest VLAN id.
const VLAN_LAST: i64 = 4095;

/// Of a NIC whose guest has set nothing.
#[must_use]
pub fn fresh(name: &str, mac: Mac) -> RxFilterInfo {
    RxFilterInfo {
        name: name.to_owned(),
        promiscuous: true,
        multicast: RxState::Normal,
        unicast: RxState::Normal,
        vlan: RxState::All,
        // As QEMU has it: it tells whether broadcasts are kept away.
        broadcast_allowed: false,
        multicast_overflow: false,
        unicast_overflow: false,
        main_mac: mac.to_string(),
        vlan_table: (0..=VLAN_LAST).rev().collect(),
        unicast_table: Vec::new(),
        multicast_table: Vec::new(),
    }
}

/// Of a NIC of which the data plane has told this.
#[must_use]
pub fn told(name: &str, mac: Mac, filter: &RxFilter) -> RxFilterInfo {
    let fresh = fresh(name, mac);
    if !filter.has(mode::HEARD) {
        return fresh;
    }
    let state = |none, all| match (filter.has(none), filter.has(all)) {
        (true, _) => RxState::None,
        (false, true) => RxState::All,
        (false, false) => RxState::Normal,
    };
    // QEMU tells the newest first.
    let table = |macs: &[[u8; 6]]| macs.iter().rev().map(|mac| Mac(*mac).to_string()).collect();
    let vlans: Vec<i64> = filter.vlans().rev().map(i64::from).collect();
    let (vlan, vlan_table) = match (filter.has(mode::HAS_VLANS), vlans.is_empty()) {
        (false, _) => (fresh.vlan, fresh.vlan_table),
        (true, true) => (RxState::None, vlans),
        (true, false) => (RxState::Normal, vlans),
    };
    RxFilterInfo {
        name: fresh.name,
        promiscuous: filter.has(mode::PROMISCUOUS),
        multicast: state(mode::NO_MULTICAST, mode::ALL_MULTICAST),
        unicast: state(mode::NO_UNICAST, mode::ALL_UNICAST),
        vlan,
        broadcast_allowed: filter.has(mode::NO_BROADCAST),
        multicast_overflow: filter.has(mode::MULTICAST_OVERFLOW),
        unicast_overflow: filter.has(mode::UNICAST_OVERFLOW),
        main_mac: Mac(filter.mac).to_string(),
        vlan_table,
        unicast_table: table(filter.unicast()),
        multicast_table: table(filter.multicast()),
    }
}

/// NICs, by their ports' numbers, of whose filters clients know that they have changed, and have not asked since.
#[derive(Debug, Default)]
pub struct Changed {
    ports: BTreeSet<u64>,
}

impl Changed {
    /// A filter has changed. Whether that is to be told.
    pub fn note(&mut self, port: u64) -> bool {
        self.ports.insert(port)
    }

    /// Somebody has asked, or the NIC is gone.
    pub fn forget(&mut self, port: u64) {
        self.ports.remove(&port);
    }
}
