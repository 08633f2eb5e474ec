//! `--nic tap,model=virtio-net-pci,mac=…,OPTIONS`: a netdev and the NIC that faces it, in one option.
//!
//! As in QEMU: what is not `model` or `mac` is the netdev's. That is called what `id` says or else `netN`, the NIC the
//! same with `-nic` behind it.

use serde_json::{Map, Value};

use crate::kind::{NetdevAdd, nic};
use crate::qmp::answer::QmpError;
use crate::qmp::json;
use crate::qmp::qapi::options::Opts;
use crate::qmp::qapi::{Dialect, Place, QapiType as _};
use crate::qmp::types::device::DeviceAdd;

/// Reads the option; `number` is for the name, if none is given.
///
/// # Errors
/// In QEMU's words.
pub(super) fn read(text: &str, number: usize) -> Result<(NetdevAdd, DeviceAdd), QmpError> {
    let own_id = format!("net{number}");
    if text.starts_with('{') {
        let mut value = json::from_text(text).map_err(QmpError::generic)?;
        let members = value.as_object_mut().ok_or_else(|| QmpError::invalid_type("nic", "object"))?;
        let mut take =
            |name: &str| members.shift_remove(name).and_then(|value| Some(value.as_str()?.to_owned()));
        let (model, mac) = (take("model"), take("mac"));
        members.entry("id").or_insert(Value::from(own_id));
        let netdev = NetdevAdd::visit(&Place::root(&value, Dialect::Json))?;
        let device = device(&netdev.id, model.as_deref(), mac)?;
        return Ok((netdev, device));
    }
    let mut opts = Opts::parse(text, "type");
    let (model, mac) = (opts.take("model"), opts.take("mac"));
    if opts.get("id").is_none() {
        opts.set("id", own_id);
    }
    let netdev = NetdevAdd::from_opts(opts)?;
    let device = device(&netdev.id, model.as_deref(), mac)?;
    Ok((netdev, device))
}

fn device(netdev: &str, model: Option<&str>, mac: Option<String>) -> Result<DeviceAdd, QmpError> {
    let mut members = Map::new();
    let mut set = |name: &str, value: String| members.insert(name.to_owned(), Value::from(value));
    set("driver", nic::model(model)?.name().to_owned());
    set("id", format!("{netdev}-nic"));
    set("netdev", netdev.to_owned());
    if let Some(mac) = mac {
        set("mac", mac);
    }
    Ok(DeviceAdd(members))
}

#[cfg(test)]
mod test {
    use super::*;
    use serde_json::json;

    #[test]
    fn one_option_is_a_netdev_and_its_nic() {
        for text in [
            "tap,ifname=x,model=virtio,mac=52:54:00:aa:bb:01",
            r#"{"type": "tap", "ifname": "x", "model": "virtio", "mac": "52:54:00:aa:bb:01"}"#,
        ] {
            let (netdev, device) = read(text, 3).unwrap();
            assert_eq!(netdev.print(), json!({"type": "tap", "id": "net3", "ifname": "x"}));
            let wanted = json!({"driver": "virtio-net-pci", "id": "net3-nic", "netdev": "net3", "mac": "52:54:00:aa:bb:01"});
            assert_eq!(device.print(), wanted);
        }
        assert_eq!(read("user,id=u", 0).unwrap().1.print()["id"], "u-nic");
        assert_eq!(read("tap,bogus=1", 0).unwrap_err().desc, "Invalid parameter 'bogus'");
    }
}
