//! Network commands: link state, announcements, receive filters.

use crate::qmp::qapi::define::{enumeration, object};

object! {
    /// Arguments of `netdev_del`.
    pub struct NetdevDel {
        /// The netdev.
        id: String,
    }
}

object! {
    /// Arguments of `set_link`.
    pub struct SetLink {
        /// A netdev or a NIC.
        name: String,
        /// Whether the link is up from now on.
        up: bool,
    }
}

object! {
    /// Arguments of `announce-self`. No range is checked: what the numbers mean is the timer's business.
    pub struct AnnounceSelf {
        /// Delay before the second announcement, in milliseconds.
        initial: i64,
        /// The longest delay, in milliseconds.
        max: i64,
        /// How many announcements.
        rounds: i64,
        /// By how much each delay is longer than the one before, in milliseconds.
        step: i64,
        /// The NICs that announce; all if absent.
        interfaces: Option<Vec<String>>,
        /// Name of the timer.
        id: Option<String>,
    }
}

object! {
    /// Arguments of `query-rx-filter`.
    pub struct QueryRxFilter {
        /// A NIC; all that can tell if absent.
        name: Option<String>,
    }
}

enumeration! {
    /// Which frames of a class a NIC lets through.
    pub enum RxState {
        /// Those in its table.
        Normal = "normal",
        /// None.
        None = "none",
        /// All.
        All = "all",
    }
}

object! {
    /// What a guest's NIC lets through.
    pub struct RxFilterInfo {
        /// The NIC.
        name: String,
        /// Everything.
        promiscuous: bool,
        /// Group addresses.
        multicast: RxState,
        /// Single addresses.
        unicast: RxState,
        /// Tagged frames.
        vlan: RxState,
        /// Broadcasts.
        broadcast_allowed as "broadcast-allowed": bool,
        /// The guest's table of groups was too long.
        multicast_overflow as "multicast-overflow": bool,
        /// The guest's table of addresses was too long.
        unicast_overflow as "unicast-overflow": bool,
        /// The NIC's own address.
        main_mac as "main-mac": String,
        /// VLAN ids.
        vlan_table as "vlan-table": Vec<i64>,
        /// Addresses.
        unicast_table as "unicast-table": Vec<String>,
        /// Groups.
        multicast_table as "multicast-table": Vec<String>,
    }
}
