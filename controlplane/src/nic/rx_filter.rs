//! What a guest's NIC lets through, as `query-rx-filter` tells it.
//!
//! The guest sets it by its control queue. Front ends keep that queue to themselves (QEMU's vhost-user netdev does),
//! so what can be told is what QEMU tells of a NIC whose guest has set nothing: it has everything, and filters itself.

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
