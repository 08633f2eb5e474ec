//! Addresses of sockets, in the two forms that QAPI has for historical reasons.
//!
//! Newer commands take the flat form (`{"type": "unix", "path": "/x"}`), character devices the wrapped form
//! (`{"type": "unix", "data": {"path": "/x"}}`). A client that mixes them up must be told so in QEMU's words, so
//! they are two types here as well; behind the border there is only the flat one.

use crate::qmp::qapi::define::{enumeration, object, union};

enumeration! {
    /// How a peer's address was given; part of events.
    pub enum NetworkAddressFamily {
        /// IPv4.
        Ipv4 = "ipv4",
        /// IPv6.
        Ipv6 = "ipv6",
        /// A path or an abstract name.
        Unix = "unix",
        /// Between virtual machine and host.
        Vsock = "vsock",
        /// None of these.
        Unknown = "unknown",
    }
}

union! {
    /// Where a socket is or leads.
    pub enum SocketAddress by "type" {
        /// Host and port.
        Inet(InetSocketAddress) = "inet",
        /// A path, or an abstract name.
        Unix(UnixSocketAddress) = "unix",
        /// Context and port of a virtual machine.
        Vsock(VsockSocketAddress) = "vsock",
        /// A descriptor that is open already.
        Fd(Text) = "fd",
    }
}

object! {
    /// Host and port, and how to resolve them.
    #[derive(Default)]
    pub struct InetSocketAddress {
        /// Name or number.
        host: String,
        /// Service name or number.
        port: String,
        /// Neither is a name.
        numeric: Option<bool>,
        /// A server takes the first free port up to this one.
        to: Option<u16>,
        /// Whether IPv4 may be used.
        ipv4: Option<bool>,
        /// Whether IPv6 may be used.
        ipv6: Option<bool>,
        /// Whether the connection is kept alive; for clients only.
        keep_alive as "keep-alive": Option<bool>,
        /// Whether to use multipath TCP.
        mptcp: Option<bool>,
    }
}

object! {
    /// A unix socket.
    pub struct UnixSocketAddress {
        /// Where it is.
        path: String,
        /// Whether the path is a name outside of the file system.
        is_abstract as "abstract": Option<bool>,
        /// Whether an abstract name ends with its text (else zeros fill the address).
        tight: Option<bool>,
    }
}

object! {
    /// A virtual machine's socket.
    pub struct VsockSocketAddress {
        /// Context.
        cid: String,
        /// Port.
        port: String,
    }
}

object! {
    /// A text where QAPI wants an object.
    pub struct Text {
        /// The text.
        str: String,
    }
}

union! {
    /// Where a socket is or leads, each variant wrapped.
    pub enum SocketAddressLegacy by "type" {
        /// Host and port.
        Inet(InetSocketAddressWrapper) = "inet",
        /// A path, or an abstract name.
        Unix(UnixSocketAddressWrapper) = "unix",
        /// Context and port of a virtual machine.
        Vsock(VsockSocketAddressWrapper) = "vsock",
        /// A descriptor that is open already.
        Fd(TextWrapper) = "fd",
    }
}

object! {
    /// Wrapping.
    pub struct InetSocketAddressWrapper {
        /// What is wrapped.
        data: InetSocketAddress,
    }
}

object! {
    /// Wrapping.
    pub struct UnixSocketAddressWrapper {
        /// What is wrapped.
        data: UnixSocketAddress,
    }
}

object! {
    /// Wrapping.
    pub struct VsockSocketAddressWrapper {
        /// What is wrapped.
        data: VsockSocketAddress,
    }
}

object! {
    /// Wrapping.
    pub struct TextWrapper {
        /// What is wrapped.
        data: Text,
    }
}

impl From<SocketAddressLegacy> for SocketAddress {
    fn from(wrapped: SocketAddressLegacy) -> Self {
        match wrapped {
            SocketAddressLegacy::Inet(wrapper) => Self::Inet(wrapper.data),
            SocketAddressLegacy::Unix(wrapper) => Self::Unix(wrapper.data),
            SocketAddressLegacy::Vsock(wrapper) => Self::Vsock(wrapper.data),
            SocketAddressLegacy::Fd(wrapper) => Self::Fd(wrapper.data),
        }
    }
}
