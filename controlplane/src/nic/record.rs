//! A NIC as JSON, both ways, for the inventory on disk.

use serde_json::{Value, json};

use super::socket::Place;
use super::{Model, Nic, Origin};
use crate::kind::mac::Mac;

/// As it is kept.
#[must_use]
pub fn to_json(nic: &Nic) -> Value {
    json!({
        "model": nic.model.name(),
        "mac": nic.mac.to_string(),
        "is-netdev": nic.origin == Origin::Netdev,
        "device": nic.device_id,
        "path": nic.path,
        "features": nic.features,
        "mtu": nic.mtu,
        "socket": nic.socket.to_json(),
    })
}

/// Back; `None` if it is not what [`to_json`] makes.
#[must_use]
pub fn from_json(value: &Value) -> Option<Nic> {
    let text = |name: &str| Some(value.get(name)?.as_str()?.to_owned());
    let mtu = value.get("mtu")?;
    let device = value.get("device")?;
    Some(Nic {
        model: Model::find(value.get("model")?.as_str()?)?,
        mac: Mac::parse(value.get("mac")?.as_str()?).ok()?,
        origin: if value.get("is-netdev")?.as_bool()? { Origin::Netdev } else { Origin::Device },
        device_id: if device.is_null() { None } else { Some(text("device")?) },
        path: text("path")?,
        features: value.get("features")?.as_u64()?,
        mtu: if mtu.is_null() { None } else { Some(u16::try_from(mtu.as_u64()?).ok()?) },
        socket: Place::from_json(value.get("socket")?)?,
    })
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_nothing_else() {
        let nic = Nic {
            model: Model::Device,
            mac: Mac([2, 0, 0, 0, 0, 0xfe]),
            origin: Origin::Netdev,
            device_id: Some("vn0".to_owned()),
            path: "/machine/peripheral/vn0".to_owned(),
            features: u64::MAX,
            mtu: Some(9000),
            socket: Place { path: "/run/x".to_owned(), retry_ms: Some(7), lender: None },
        };
        let unnamed = Nic { device_id: None, mtu: None, origin: Origin::Device, ..nic.clone() };
        for nic in [nic, unnamed] {
            assert_eq!(from_json(&to_json(&nic)), Some(nic.clone()));
            let whole = to_json(&nic);
            for name in whole.as_object().unwrap().keys() {
                let mut broken = whole.clone();
                broken[name] = json!([]);
                assert_eq!(from_json(&broken), None, "{name}");
            }
        }
    }
}
