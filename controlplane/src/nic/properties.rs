//! QEMU's properties of a virtio-net device: which there are, what they may be, what they mean here.
//!
//! `device_add` is outside of QAPI: values are texts, whatever they came as, and each property reads its own. A
//! property that says something about the network takes effect; one about buses, slots, ROMs or how QEMU moves frames
//! is read, checked and means nothing, so that clients need not be changed. An unknown one is refused.

use framewire_shared::session::feature;
use serde_json::{Map, Value};

use super::Model;
use super::socket::Wanted;
use crate::kind::mac::Mac;
use crate::qmp::answer::QmpError;
use crate::qmp::json;
use crate::qmp::qapi::number::{Base, whole_integer};

/// The device that has the properties of all models; the others hand them on to it.
const OWNER: &str = "virtio-net-device";

/// Who else might be asked for: devices that need a machine around them.
const OTHER_MODELS: [&str; 14] = [
    "e1000",
    "e1000e",
    "e1000-82544gc",
    "e1000-82545em",
    "igb",
    "rtl8139",
    "vmxnet3",
    "ne2k_pci",
    "ne2k_isa",
    "pcnet",
    "i82550",
    "i82551",
    "i82559er",
    "tulip",
];

/// Rings that QEMU allows.
const RING_MIN: u64 = 256;
const RX_RING_MAX: u64 = 1024;
const TX_RING_MAX: u64 = 1024;

/// What a NIC is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Properties {
    /// Its model.
    pub model: Model,
    /// Its id.
    pub id: Option<String>,
    /// The netdev that it is to face.
    pub netdev: Option<String>,
    /// Its address.
    pub mac: Option<Mac>,
    /// What it offers.
    pub features: u64,
    /// Whether several queue pairs are wanted.
    pub mq: Option<bool>,
    /// How many queue pairs, whatever the netdev has.
    pub queues: Option<u16>,
    /// Interrupts of its device: two for each pair, one for its control queue, one for its configuration.
    pub vectors: Option<u32>,
    /// The guest's MTU.
    pub mtu: Option<u16>,
    /// Where its front end attaches.
    pub socket: Wanted,
    /// Why it cannot be made though each value is one of its kind. QEMU finds that out last, after the netdev.
    pub fault: Option<QmpError>,
}

/// What a property is.
#[derive(Debug, Clone, Copy)]
enum Property {
    /// A feature that may be switched off.
    Feature(u64),
    /// A switch without a meaning here.
    Switch,
    /// A switch that may be `auto`, without a meaning here.
    OnOffAuto,
    /// A number up to this one, without a meaning here.
    Number(u64),
    /// A number of 32 bits with a sign, without a meaning here.
    Signed,
    /// One that tells and cannot be told.
    ReadOnly,
    /// A text without a meaning here.
    Text,
    /// One that means something.
    Own(fn(&mut Properties, &str, &str) -> Result<(), QmpError>),
}

use Property::{Feature, Number, OnOffAuto, Own, ReadOnly, Signed, Switch, Text};

const U16: u64 = u16::MAX as u64;
const U32: u64 = u32::MAX as u64;

/// All that there are.
const PROPERTIES: &[(&str, Property)] = &[
    (
        "netdev",
        Own(|properties, _name, value| {
            properties.netdev = Some(value.to_owned());
            Ok(())
        }),
    ),
    (
        "mac",
        Own(|properties, name, value| {
            let mac = whole_mac(value).ok_or_else(|| not_taken(name, value))?;
            properties.mac = Some(mac);
            Ok(())
        }),
    ),
    (
        "mq",
        Own(|properties, name, value| {
            properties.mq = Some(switch(name, value)?);
            Ok(())
        }),
    ),
    ("queues", Own(queues)),
    (
        "vectors",
        Own(|properties, name, value| {
            properties.vectors = Some(u32::try_from(number(name, value, U32)?).unwrap_or_default());
            Ok(())
        }),
    ),
    (
        "chardev",
        Own(|properties, _name, value| {
            properties.socket.chardev = Some(value.to_owned());
            Ok(())
        }),
    ),
    (
        "socket",
        Own(|properties, _name, value| {
            properties.socket.path = Some(value.to_owned());
            Ok(())
        }),
    ),
    ("socket-mode", Own(socket_mode)),
    (
        "socket-group",
        Own(|properties, _name, value| {
            properties.socket.group = Some(value.to_owned());
            Ok(())
        }),
    ),
    (
        "socket-server",
        Own(|properties, name, value| {
            properties.socket.is_server = Some(switch(name, value)?);
            Ok(())
        }),
    ),
    (
        "socket-reconnect-ms",
        Own(|properties, name, value| {
            properties.socket.reconnect_ms = Some(number(name, value, U32)?);
            Ok(())
        }),
    ),
    (
        "host_mtu",
        Own(|properties, name, value| {
            let mtu = u16::try_from(number(name, value, U16)?).unwrap_or_default();
            properties.mtu = Some(mtu).filter(|mtu| *mtu > 0);
            Ok(())
        }),
    ),
    (
        "failover",
        Own(|properties, name, value| {
            properties.offer(feature::STANDBY, switch(name, value)?);
            Ok(())
        }),
    ),
    ("rx_queue_size", Own(|properties, name, value| ring(properties, name, value, RX_RING_MAX, "."))),
    ("tx_queue_size", Own(|properties, name, value| ring(properties, name, value, TX_RING_MAX, ""))),
    ("duplex", Own(duplex)),
    ("speed", Own(speed)),
    ("csum", Feature(feature::CSUM)),
    ("guest_csum", Feature(feature::GUEST_CSUM)),
    ("guest_tso4", Feature(feature::GUEST_TSO4)),
    ("guest_tso6", Feature(feature::GUEST_TSO6)),
    ("guest_ecn", Feature(feature::GUEST_ECN)),
    ("guest_uso4", Feature(feature::GUEST_USO4)),
    ("guest_uso6", Feature(feature::GUEST_USO6)),
    ("host_tso4", Feature(feature::HOST_TSO4)),
    ("host_tso6", Feature(feature::HOST_TSO6)),
    ("host_ecn", Feature(feature::HOST_ECN)),
    ("host_uso", Feature(feature::HOST_USO)),
    ("gso", Feature(feature::HOST_TSO4 | feature::HOST_TSO6 | feature::HOST_ECN)),
    ("mrg_rxbuf", Feature(feature::MRG_RXBUF)),
    ("status", Feature(feature::STATUS)),
    ("ctrl_vq", Feature(feature::CTRL_VQ)),
    ("ctrl_rx", Feature(feature::CTRL_RX)),
    ("ctrl_vlan", Feature(feature::CTRL_VLAN)),
    ("ctrl_rx_extra", Feature(feature::CTRL_RX_EXTRA)),
    ("ctrl_mac_addr", Feature(feature::CTRL_MAC_ADDR)),
    ("guest_announce", Feature(feature::GUEST_ANNOUNCE)),
    ("indirect_desc", Feature(feature::INDIRECT_DESC)),
    ("event_idx", Feature(feature::EVENT_IDX)),
    ("notify_on_empty", Feature(feature::NOTIFY_ON_EMPTY)),
    ("any_layout", Feature(feature::ANY_LAYOUT)),
    ("packed", Feature(feature::RING_PACKED)),
    ("in_order", Feature(feature::IN_ORDER)),
    ("guest_ufo", Switch),
    ("host_ufo", Switch),
    ("ctrl_guest_offloads", Switch),
    ("rss", Switch),
    ("hash", Switch),
    ("guest_rsc_ext", Switch),
    ("queue_reset", Switch),
    ("iommu_platform", Switch),
    ("ioeventfd", Switch),
    ("vhost", Switch),
    ("multifunction", Switch),
    ("ats", Switch),
    ("aer", Switch),
    ("page-per-vq", Switch),
    ("disable-modern", Switch),
    ("disable-legacy", OnOffAuto),
    ("use-started", Switch),
    ("use-disabled-flag", Switch),
    ("x-mtu-bypass-backend", Switch),
    ("x-ats-page-aligned", Switch),
    ("x-disable-legacy-check", Switch),
    ("x-disable-pcie", Switch),
    ("x-ignore-backend-features", Switch),
    ("x-pcie-deverr-init", Switch),
    ("x-pcie-extcap-init", Switch),
    ("x-pcie-flr-init", Switch),
    ("x-pcie-lnkctl-init", Switch),
    ("x-pcie-lnksta-dllla", Switch),
    ("x-pcie-pm-init", Switch),
    ("x-pcie-pm-no-soft-reset", Switch),
    ("migrate-extra", Switch),
    ("virtio-pci-bus-master-bug-migration", Switch),
    ("modern-pio-notify", Switch),
    ("acpi-index", Number(U32)),
    ("romsize", Number(U32)),
    ("rombar", Number(U32)),
    ("bootindex", Signed),
    ("rsc_interval", Number(U32)),
    ("x-txtimer", Number(U32)),
    ("x-txburst", Signed),
    ("romfile", Text),
    ("bus", Text),
    ("addr", Own(slot)),
    ("tx", Text),
    ("failover_pair_id", Text),
    ("hotplugged", ReadOnly),
    ("parent_bus", ReadOnly),
    ("type", ReadOnly),
];

impl Properties {
    /// Of a NIC that nothing is said about. What a guest gets is what its front end offers of this, so everything is
    /// offered but what is wrong if nobody has asked for it.
    #[must_use]
    pub fn new(model: Model) -> Self {
        let features = feature::SERVED & !(feature::STANDBY | feature::MQ | feature::MTU | feature::MAC);
        Properties {
            model,
            id: None,
            netdev: None,
            mac: None,
            features,
            mq: None,
            queues: None,
            vectors: None,
            mtu: None,
            socket: Wanted::default(),
            fault: None,
        }
    }

    /// Reads the arguments of `device_add`, in the order that they were given in.
    ///
    /// # Errors
    /// The first that is wrong, in QEMU's words.
    pub fn read(arguments: &Map<String, Value>) -> Result<Self, QmpError> {
        check_id(arguments)?;
        let id = arguments.get("id").and_then(Value::as_str);
        let mut properties = Properties { id: id.map(str::to_owned), ..Properties::new(driver(arguments)?) };
        for (name, value) in arguments.iter().filter(|(name, _value)| !matches!(&***name, "driver" | "id")) {
            if let Some(value) = text(value) {
                properties.set(name, &value)?;
            }
        }
        Ok(properties)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), QmpError> {
        let known = PROPERTIES.iter().find(|(known, _property)| *known == name);
        let unknown = || QmpError::generic(format!("Property '{}.{name}' not found", self.model.name()));
        match known.ok_or_else(unknown)?.1 {
            Feature(mask) => self.offer(mask, switch(name, value)?),
            Switch => drop(switch(name, value)?),
            OnOffAuto if matches!(value, "on" | "off" | "auto") => {}
            OnOffAuto => return Err(QmpError::not_accepted(name, value)),
            Number(max) => drop(number(name, value, max)?),
            Signed => drop(signed(name, value)?),
            ReadOnly => {
                let whose = self.model.name();
                return Err(QmpError::generic(format!("Property '{whose}.{name}' is not writable")));
            }
            Text => {}
            Own(set) => set(self, name, value)?,
        }
        Ok(())
    }

    /// Notes the first reason why it cannot be made.
    fn note(&mut self, fault: String) {
        self.fault.get_or_insert_with(|| QmpError::generic(fault));
    }

    fn offer(&mut self, mask: u64, on: bool) {
        self.features = if on { self.features | mask } else { self.features & !mask };
    }

    /// How many queue pairs it has beside a netdev with so many queues. Who says `mq=on` and gives vectors for more
    /// pairs gets those: a front end must not ask for more than there are, and the wire takes any number.
    #[must_use]
    pub fn pairs(&self, netdev_queues: usize) -> usize {
        if let Some(asked) = self.queues {
            return if self.mq == Some(false) { 1 } else { asked.into() };
        }
        let vectors = self.vectors.unwrap_or(0).min(2 * u32::from(PAIRS_OF_VECTORS_MAX) + 2);
        let with_vectors = vectors.saturating_sub(2) as usize / 2;
        match self.mq {
            Some(false) => 1,
            Some(true) => netdev_queues.max(with_vectors).max(1),
            None => netdev_queues.max(1),
        }
    }
}

/// The id, before anything else is looked at.
///
/// # Errors
/// If it cannot be one.
pub fn check_id(arguments: &Map<String, Value>) -> Result<(), QmpError> {
    let id = arguments.get("id").and_then(Value::as_str);
    id.map_or(Ok(()), |id| crate::kind::check_identifier("id", id))
}

/// Which model the arguments of `device_add` ask for.
///
/// # Errors
/// If it is none of a NIC, or one that cannot be served.
pub fn driver(arguments: &Map<String, Value>) -> Result<Model, QmpError> {
    let driver = arguments.get("driver").ok_or_else(|| QmpError::missing("driver"))?;
    let driver = &*text(driver).ok_or_else(|| QmpError::missing("driver"))?;
    let refused = || {
        if OTHER_MODELS.contains(&driver) {
            return QmpError::generic(format!(
                "Device model '{driver}' cannot be served to a guest over vhost-user: use virtio-net-pci"
            ));
        }
        QmpError::generic(format!("'{driver}' is not a valid device model name"))
    };
    Model::find(driver).ok_or_else(refused)
}

/// A value as QEMU's options carry it; what they cannot carry is not there.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(on) => Some(if *on { "on" } else { "off" }.to_owned()),
        Value::Number(_) => Some(json::print(value)),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn switch(name: &str, value: &str) -> Result<bool, QmpError> {
    match value {
        "on" | "yes" | "true" | "y" => Ok(true),
        "off" | "no" | "false" | "n" => Ok(false),
        _other => Err(QmpError::expects(name, "'on' or 'off'")),
    }
}

fn number(name: &str, value: &str, max: u64) -> Result<u64, QmpError> {
    let number = whole_integer(value, Base::Prefixed).ok_or_else(|| QmpError::expects(name, "integer"))?;
    let kind = if max == U16 { "uint16_t" } else { "uint32_t" };
    u64::try_from(number).ok().filter(|number| *number <= max).ok_or_else(|| QmpError::expects(name, kind))
}

fn signed(name: &str, value: &str) -> Result<i32, QmpError> {
    let number = whole_integer(value, Base::Prefixed).ok_or_else(|| QmpError::expects(name, "integer"))?;
    i32::try_from(number).map_err(|_wide| QmpError::expects(name, "int32_t"))
}

/// A place on a bus, slot and perhaps function, which means nothing here but has to be one.
fn slot(properties: &mut Properties, name: &str, value: &str) -> Result<(), QmpError> {
    const SLOT_MAX: u8 = 31;
    const FUNCTION_MAX: u8 = 7;
    let number = |text: &str| u8::from_str_radix(text.strip_prefix("0x").unwrap_or(text), 16).ok();
    let (slot, function) = value.split_once('.').unwrap_or((value, "0"));
    let is_place = number(slot).is_some_and(|slot| slot <= SLOT_MAX)
        && number(function).is_some_and(|function| function <= FUNCTION_MAX);
    let whose = properties.model.name();
    let refused = || QmpError::generic(format!("Property '{whose}.{name}' doesn't take value '{value}'"));
    is_place.then_some(()).ok_or_else(refused)
}

fn queues(properties: &mut Properties, name: &str, value: &str) -> Result<(), QmpError> {
    let queues = u16::try_from(number(name, value, U16)?).unwrap_or_default();
    if !(1..=PAIRS_MAX).contains(&queues) {
        return Err(QmpError::generic(format!(
            "Invalid number of queue pairs (= {queues}), must be a positive integer less than {}.",
            PAIRS_MAX + 1
        )));
    }
    properties.queues = Some(queues);
    Ok(())
}

fn socket_mode(properties: &mut Properties, name: &str, value: &str) -> Result<(), QmpError> {
    let mode = u32::from_str_radix(value, 8).ok().filter(|mode| *mode <= 0o777);
    properties.socket.mode = Some(mode.ok_or_else(|| QmpError::expects(name, "an octal number up to 777"))?);
    Ok(())
}

/// As QEMU: a virtio device has 1024 rings, and one of a NIC's is for control.
const PAIRS_MAX: u16 = 511;

/// Nobody means more by the number of vectors; who does, says `queues`.
const PAIRS_OF_VECTORS_MAX: u16 = 16;

fn ring(properties: &mut Properties, name: &str, value: &str, max: u64, stop: &str) -> Result<(), QmpError> {
    let size = number(name, value, U16)?;
    if !size.is_power_of_two() || !(RING_MIN..=max).contains(&size) {
        properties.note(format!(
            "Invalid {name} (= {size}), must be a power of 2 between {RING_MIN} and {max}{stop}"
        ));
    }
    Ok(())
}

fn duplex(properties: &mut Properties, _name: &str, value: &str) -> Result<(), QmpError> {
    if !matches!(value, "half" | "full") {
        properties.note("'duplex' must be 'half' or 'full'".to_owned());
    }
    Ok(())
}

fn speed(properties: &mut Properties, name: &str, value: &str) -> Result<(), QmpError> {
    // QEMU's "unknown" is -1.
    if signed(name, value)? < -1 {
        properties.note("'speed' must be between 0 and INT_MAX".to_owned());
    }
    Ok(())
}

fn not_taken(name: &str, value: &str) -> QmpError {
    QmpError::generic(format!("Property '{OWNER}.{name}' doesn't take value '{value}'"))
}

/// There is no netdev of that name.
#[must_use]
pub fn netdev_not_found(id: &str) -> QmpError {
    QmpError::generic(format!("Property '{OWNER}.netdev' can't find value '{id}'"))
}

/// The netdev of that name has a peer already.
#[must_use]
pub fn netdev_in_use(id: &str) -> QmpError {
    QmpError::generic(format!("Property '{OWNER}.netdev' can't take value '{id}', it's in use"))
}

/// There is no character device of that name.
#[must_use]
pub fn chardev_not_found(id: &str) -> QmpError {
    QmpError::generic(format!("Property '{OWNER}.chardev' can't find value '{id}'"))
}

/// The character device of that name is somebody else's already.
#[must_use]
pub fn chardev_in_use(id: &str) -> QmpError {
    QmpError::generic(format!("Property '{OWNER}.chardev' can't take value '{id}', it's in use"))
}

/// A property takes fewer spellings of an address than an option does: two digits for each byte.
fn whole_mac(text: &str) -> Option<Mac> {
    let is_in_place = |(place, byte): (usize, u8)| {
        if place % 3 == 2 { matches!(byte, b':' | b'-') } else { byte.is_ascii_hexdigit() }
    };
    let is_whole = text.len() == 17 && text.bytes().enumerate().all(is_in_place);
    is_whole.then(|| Mac::parse(text).ok())?
}

#[cfg(test)]
mod test {
    use super::*;
    use serde_json::json;

    fn read(arguments: &Value) -> Result<Properties, String> {
        let properties = Properties::read(arguments.as_object().unwrap()).map_err(|error| error.desc)?;
        match properties.fault {
            Some(fault) => Err(fault.desc),
            None => Ok(properties),
        }
    }

    #[test]
    fn what_orchestrators_send_is_understood() {
        let properties = read(&json!({
            "driver": "virtio-net-pci", "id": "net0", "netdev": "hostnet0", "mac": "52:54:00:aa:bb:01", "mq": true,
            "vectors": 10, "bus": "pci.1", "addr": "0x0", "romfile": "", "rx_queue_size": 1024, "host_mtu": 9000,
            "failover": "on", "guest_tso4": "off", "disable-legacy": "auto", "csum": false, "bootindex": 1,
        }));
        let properties = properties.unwrap();
        assert_eq!(
            (properties.id.as_deref(), properties.netdev.as_deref()),
            (Some("net0"), Some("hostnet0"))
        );
        assert_eq!((properties.mac, properties.mtu), (Some(Mac([0x52, 0x54, 0, 0xaa, 0xbb, 1])), Some(9000)));
        let off = feature::GUEST_TSO4 | feature::CSUM;
        assert_eq!(
            properties.features & (off | feature::STANDBY | feature::GUEST_TSO6),
            feature::STANDBY | feature::GUEST_TSO6
        );
        // Ten vectors are those of four pairs.
        assert_eq!((properties.pairs(8), properties.pairs(1)), (8, 4));
    }

    #[test]
    fn queue_pairs_are_the_netdev_s_unless_said_otherwise() {
        let pairs = |more: Value| {
            let mut arguments = json!({ "driver": "virtio-net-device" });
            arguments.as_object_mut().unwrap().append(more.clone().as_object_mut().unwrap());
            read(&arguments).unwrap().pairs(2)
        };
        assert_eq!([pairs(json!({})), pairs(json!({"mq": false})), pairs(json!({"queues": 8}))], [2, 1, 8]);
        assert_eq!([pairs(json!({"vectors": 10})), pairs(json!({"mq": true, "vectors": 10}))], [2, 4]);
        assert_eq!([pairs(json!({"mq": true})), pairs(json!({"mq": true, "vectors": u32::MAX}))], [2, 16]);
    }

    #[test]
    fn what_is_wrong_is_refused_in_qemu_s_words() {
        for (name, value, wanted) in [
            ("mac", json!("zz"), "Property 'virtio-net-device.mac' doesn't take value 'zz'"),
            (
                "mac",
                json!("52:54:0:aa:bb:01"),
                "Property 'virtio-net-device.mac' doesn't take value '52:54:0:aa:bb:01'",
            ),
            ("bogus", json!(1), "Property 'virtio-net-pci.bogus' not found"),
            ("mq", json!("maybe"), "Parameter 'mq' expects 'on' or 'off'"),
            ("vectors", json!("many"), "Parameter 'vectors' expects integer"),
            ("host_mtu", json!(65536), "Parameter 'host_mtu' expects uint16_t"),
            (
                "rx_queue_size",
                json!(100),
                "Invalid rx_queue_size (= 100), must be a power of 2 between 256 and 1024.",
            ),
            ("duplex", json!("none"), "'duplex' must be 'half' or 'full'"),
            ("speed", json!(-2), "'speed' must be between 0 and INT_MAX"),
            ("id", json!("0"), "Parameter 'id' expects an identifier"),
            ("disable-legacy", json!("yes"), "Parameter 'disable-legacy' does not accept value 'yes'"),
            ("bootindex", json!(1_u64 << 31), "Parameter 'bootindex' expects int32_t"),
            ("addr", json!("20"), "Property 'virtio-net-pci.addr' doesn't take value '20'"),
            ("hotplugged", json!(true), "Property 'virtio-net-pci.hotplugged' is not writable"),
            (
                "queues",
                json!(0),
                "Invalid number of queue pairs (= 0), must be a positive integer less than 512.",
            ),
        ] {
            let mut arguments = json!({ "driver": "virtio-net-pci" });
            arguments[name] = value;
            assert_eq!(read(&arguments).unwrap_err(), wanted);
        }
    }

    #[test]
    fn other_models_are_refused_with_a_reason() {
        assert!(read(&json!({ "driver": "e1000" })).unwrap_err().contains("cannot be served"));
        assert_eq!(
            read(&json!({ "driver": "nothing" })).unwrap_err(),
            "'nothing' is not a valid device model name"
        );
        assert_eq!(read(&json!({ "driver": 5 })).unwrap_err(), "'5' is not a valid device model name");
        assert_eq!(read(&json!({})).unwrap_err(), "Parameter 'driver' is missing");
    }

    #[test]
    fn an_id_is_looked_at_first_and_numbers_are_spelled_as_in_replies() {
        let refused = |value: &Value| check_id(value.as_object().unwrap()).map_err(|error| error.desc);
        assert_eq!(
            refused(&json!({ "driver": "x", "id": "1x" })).unwrap_err(),
            "Parameter 'id' expects an identifier"
        );
        let properties = read(&json!({ "driver": "virtio-net-pci", "netdev": 1.0 })).unwrap();
        assert_eq!(properties.netdev.as_deref(), Some("1"));
    }

    #[test]
    fn what_options_cannot_carry_is_not_there() {
        let properties =
            read(&json!({ "driver": "virtio-net-pci", "id": 5, "netdev": [], "mq": null })).unwrap();
        assert_eq!((properties.id, properties.netdev, properties.mq), (None, None, None));
    }
}
