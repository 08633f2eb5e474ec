//! What a client is told without asking: every event, with its data.

use serde_json::Value;

use super::machine::ShutdownCause;
use super::socket_address::SocketAddress;
use crate::qmp::qapi::define::object;
use crate::qmp::qapi::{Nothing, QapiType, Schema};

/// Declares all events: from one table their enum, their names, their data and their entries in the schema.
macro_rules! events {
    ($( $(#[$meta:meta])* $variant:ident($data:ty) = $name:literal, )*) => {
        /// An event, ready to be sent.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Event { $( $(#[$meta])* $variant($data), )* }

        impl Event {
            /// Its name on the wire.
            #[must_use]
            pub fn name(&self) -> &'static str {
                match self { $(Self::$variant(_) => $name,)* }
            }

            /// Its data as JSON; empty for events that have none.
            #[must_use]
            pub fn data(&self) -> Value {
                match self { $(Self::$variant(data) => data.print(),)* }
            }

            /// Adds all events to the schema.
            pub fn describe_all(schema: &mut Schema) {
                $(schema.event::<$data>($name);)*
            }
        }
    };
}

events! {
    /// The guest changed what its NIC lets through.
    NicRxFilterChanged(NicRxFilterChanged) = "NIC_RX_FILTER_CHANGED",
    /// The guest knows that its NIC stands in for another one.
    FailoverNegotiated(FailoverNegotiated) = "FAILOVER_NEGOTIATED",
    /// A stream netdev has a peer.
    NetdevStreamConnected(NetdevStreamConnected) = "NETDEV_STREAM_CONNECTED",
    /// A stream netdev lost its peer.
    NetdevStreamDisconnected(NetdevStreamDisconnected) = "NETDEV_STREAM_DISCONNECTED",
    /// A vhost-user netdev has a back end.
    NetdevVhostUserConnected(NetdevVhostUserConnected) = "NETDEV_VHOST_USER_CONNECTED",
    /// A vhost-user netdev lost its back end.
    NetdevVhostUserDisconnected(NetdevVhostUserDisconnected) = "NETDEV_VHOST_USER_DISCONNECTED",
    /// A device is gone, as `device_del` asked.
    DeviceDeleted(DeviceDeleted) = "DEVICE_DELETED",
    /// The machine runs again.
    Resume(Nothing) = "RESUME",
    /// The machine is stopped.
    Stop(Nothing) = "STOP",
    /// The machine was reset.
    Reset(Halt) = "RESET",
    /// The machine ends.
    Shutdown(Halt) = "SHUTDOWN",
    /// A data plane has ended without being told to; frames stand still until `X_DATAPLANE_STARTED`.
    XDataplaneDied(XDataplaneDied) = "X_DATAPLANE_DIED",
    /// A new data plane carries all ports.
    XDataplaneStarted(XDataplaneStarted) = "X_DATAPLANE_STARTED",
    /// A queue of a netdev has stopped for good.
    XNetdevFailed(XNetdevFailed) = "X_NETDEV_FAILED",
}

object! {
    /// Data of `NIC_RX_FILTER_CHANGED`.
    pub struct NicRxFilterChanged {
        /// The NIC, if it has an id.
        name: Option<String>,
        /// Where QEMU's object tree has it.
        path: String,
    }
}

object! {
    /// Data of `FAILOVER_NEGOTIATED`.
    pub struct FailoverNegotiated {
        /// The NIC.
        device_id as "device-id": String,
    }
}

object! {
    /// Data of `NETDEV_STREAM_CONNECTED`.
    pub struct NetdevStreamConnected {
        /// The netdev.
        netdev_id as "netdev-id": String,
        /// The peer; of a unix server its own address.
        addr: SocketAddress,
    }
}

object! {
    /// Data of `NETDEV_STREAM_DISCONNECTED`.
    pub struct NetdevStreamDisconnected {
        /// The netdev.
        netdev_id as "netdev-id": String,
    }
}

object! {
    /// Data of `NETDEV_VHOST_USER_CONNECTED`.
    pub struct NetdevVhostUserConnected {
        /// The netdev.
        netdev_id as "netdev-id": String,
        /// Its character device.
        chardev_id as "chardev-id": String,
    }
}

object! {
    /// Data of `NETDEV_VHOST_USER_DISCONNECTED`.
    pub struct NetdevVhostUserDisconnected {
        /// The netdev.
        netdev_id as "netdev-id": String,
    }
}

object! {
    /// Data of `DEVICE_DELETED`.
    pub struct DeviceDeleted {
        /// The device, if it has an id.
        device: Option<String>,
        /// Where QEMU's object tree had it.
        path: String,
    }
}

object! {
    /// Data of `RESET` and `SHUTDOWN`.
    pub struct Halt {
        /// Whether the guest asked for it.
        guest: bool,
        /// Why.
        reason: ShutdownCause,
    }
}

object! {
    /// Data of `X_DATAPLANE_DIED`.
    pub struct XDataplaneDied {
        /// Which process it was.
        pid: i64,
        /// How it ended.
        reason: String,
    }
}

object! {
    /// Data of `X_DATAPLANE_STARTED`.
    pub struct XDataplaneStarted {
        /// Which process it is.
        pid: i64,
        /// How many queues it was given.
        queues: u64,
    }
}

object! {
    /// Data of `X_NETDEV_FAILED`.
    pub struct XNetdevFailed {
        /// The netdev.
        netdev_id as "netdev-id": String,
        /// What the kernel said of its descriptor.
        reason: String,
    }
}
