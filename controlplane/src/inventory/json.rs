//! The inventory as JSON, both ways.
//!
//! Reading back is strict: the file was written by us, so whatever is odd about it means that it is not whole
//! or not ours, and [`super::file`] then takes the other one.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::counter_slots::CounterSlots;
use super::{Description, Farewell, Inventory, Port, Queue, Role};
use crate::nic::record;

/// What concerns all ports.
pub(super) fn first_line(inventory: &Inventory) -> Value {
    json!({ "serial": inventory.serial })
}

/// Back from the first line and those of the ports; `None` if they are not what we make.
pub(super) fn from_lines(lines: &[Value]) -> Option<Inventory> {
    let (first, ports) = lines.split_first()?;
    let ports: Vec<Port> = ports.iter().map(port_from_json).collect::<Option<_>>()?;
    let mut counter_slots = CounterSlots::default();
    let mut slots = ports.iter().flat_map(|port| &port.queues).map(|queue| queue.counter_slot);
    let numbers_grow = ports.windows(2).all(|pair| pair[0].number < pair[1].number);
    let whole = numbers_grow && slots.all(|slot| counter_slots.take_this(slot));
    let serial = first.get("serial")?.as_u64()?;
    whole.then_some(Inventory { ports, serial, counter_slots })
}

/// The line of a port.
pub(super) fn port_to_json(port: &Port) -> Value {
    let queues: Vec<Value> = port.queues.iter().map(queue_to_json).collect();
    let (role, hub) = match port.role {
        Role::Netdev => ("netdev", None),
        Role::Nic => ("nic", None),
        Role::HubPort(hub) => ("hubport", Some(hub)),
    };
    let description = &port.description;
    let farewell = description.farewell.as_ref();
    json!({
        "number": port.number,
        "id": port.id,
        "role": role,
        "hub": hub,
        "arguments": description.arguments,
        "info": description.info,
        "farewell": farewell.map(|farewell| json!([farewell.script, farewell.interface])),
        "poll-us": description.poll_us,
        "nic": description.nic.as_ref().map(record::to_json),
        "peer": port.peer,
        "link": port.link_is_up,
        "in-service": port.in_service,
        "queues": queues,
    })
}

fn queue_to_json(queue: &Queue) -> Value {
    json!([queue.key, queue.counter_slot, queue.worker])
}

fn port_from_json(value: &Value) -> Option<Port> {
    let role = match value.get("role")?.as_str()? {
        "netdev" => Role::Netdev,
        "nic" => Role::Nic,
        "hubport" => Role::HubPort(i32::try_from(value.get("hub")?.as_i64()?).ok()?),
        _unknown => return None,
    };
    Some(Port {
        number: value.get("number")?.as_u64()?,
        id: text(value.get("id")?)?,
        role,
        description: Arc::new(description_from_json(value)?),
        peer: optional(value.get("peer")?, Value::as_u64)?,
        link_is_up: value.get("link")?.as_bool()?,
        in_service: usize::try_from(value.get("in-service")?.as_u64()?).ok()?,
        queues: value.get("queues")?.as_array()?.iter().map(queue_from_json).collect::<Option<_>>()?,
    })
}

fn description_from_json(value: &Value) -> Option<Description> {
    let arguments: Map<String, Value> = value.get("arguments")?.as_object()?.clone();
    Some(Description {
        arguments,
        info: text(value.get("info")?)?,
        farewell: optional(value.get("farewell")?, farewell_from_json)?,
        poll_us: optional(value.get("poll-us")?, number)?,
        nic: optional(value.get("nic")?, record::from_json)?,
    })
}

fn farewell_from_json(value: &Value) -> Option<Farewell> {
    let [script, interface] = &value.as_array()?[..] else { return None };
    Some(Farewell { script: text(script)?, interface: text(interface)? })
}

fn queue_from_json(value: &Value) -> Option<Queue> {
    let [key, counter_slot, worker] = &value.as_array()?[..] else { return None };
    Some(Queue { key: key.as_u64()?, counter_slot: number(counter_slot)?, worker: optional(worker, number)? })
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

fn number(value: &Value) -> Option<u32> {
    u32::try_from(value.as_u64()?).ok()
}

/// `null` is a valid nothing; a value that cannot be read is no valid anything.
fn optional<T>(value: &Value, read: impl Fn(&Value) -> Option<T>) -> Option<Option<T>> {
    if value.is_null() { Some(None) } else { read(value).map(Some) }
}
