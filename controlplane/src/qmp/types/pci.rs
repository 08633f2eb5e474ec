//! Devices on PCI, as `query-pci` would list them.
//!
//! There is no PCI here: a NIC's bus is its front end's, which alone knows where on it the NIC is. So the list is
//! empty, which is what QEMU answers of a machine without PCI. The types are those that clients find in the schema.

use crate::qmp::qapi::define::object;

object! {
    /// A bus with its devices.
    pub struct PciInfo {
        /// Its number.
        bus: i64,
        /// What is on it.
        devices: Vec<PciDeviceInfo>,
    }
}

object! {
    /// A device.
    pub struct PciDeviceInfo {
        /// The bus that it is on.
        bus: i64,
        /// Its slot there.
        slot: i64,
        /// Its function in the slot.
        function: i64,
        /// What it is.
        class_info: PciDeviceClass,
        /// Who made it.
        id: PciDeviceId,
        /// Its interrupt.
        irq: Option<i64>,
        /// Its pin.
        irq_pin: i64,
        /// What `device_add` called it.
        qdev_id: String,
        /// What is behind it.
        pci_bridge: Option<PciBridgeInfo>,
        /// Its windows.
        regions: Vec<PciMemoryRegion>,
    }
}

object! {
    /// What a device is.
    pub struct PciDeviceClass {
        /// In words.
        desc: Option<String>,
        /// As a number.
        class: i64,
    }
}

object! {
    /// Who made a device.
    pub struct PciDeviceId {
        /// Which one.
        device: i64,
        /// Whose.
        vendor: i64,
        /// Which one, for drivers.
        subsystem: Option<i64>,
        /// Whose, for drivers.
        subsystem_vendor as "subsystem-vendor": Option<i64>,
    }
}

object! {
    /// A bridge.
    pub struct PciBridgeInfo {
        /// The bus behind it.
        bus: PciBusInfo,
        /// What is on that.
        devices: Option<Vec<PciDeviceInfo>>,
    }
}

object! {
    /// A bus behind a bridge.
    pub struct PciBusInfo {
        /// Of the bus that the bridge is on.
        number: i64,
        /// Its own number.
        secondary: i64,
        /// The highest behind it.
        subordinate: i64,
        /// Ports.
        io_range: PciMemoryRange,
        /// Memory.
        memory_range: PciMemoryRange,
        /// Memory that may be read ahead.
        prefetchable_range: PciMemoryRange,
    }
}

object! {
    /// A range of addresses.
    pub struct PciMemoryRange {
        /// The first.
        base: i64,
        /// The last.
        limit: i64,
    }
}

object! {
    /// A window of a device.
    pub struct PciMemoryRegion {
        /// Its number.
        bar: i64,
        /// `io` or `memory`.
        sort as "type": String,
        /// Where it is.
        address: i64,
        /// Its bytes.
        size: i64,
        /// Whether it may be read ahead.
        prefetch: Option<bool>,
        /// Whether its address has 64 bits.
        mem_type_64: Option<bool>,
    }
}
