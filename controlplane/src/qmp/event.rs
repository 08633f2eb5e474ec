//! What happened, told to all clients without being asked: how a [`types::event`](super::types::event) is printed.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use super::json::print_line;
use super::types::event::Event;

/// The line that clients read. The time is when the event was raised, by a wall clock that may jump, as in QEMU.
#[must_use]
pub fn line(event: &Event, raised: SystemTime) -> String {
    // A clock before 1970 is no reason to fail.
    let raised = raised.duration_since(UNIX_EPOCH).unwrap_or_default();
    let timestamp = json!({"seconds": raised.as_secs(), "microseconds": raised.subsec_micros()});
    let mut members = Map::new();
    members.insert("timestamp".to_owned(), timestamp);
    members.insert("event".to_owned(), Value::from(event.name()));
    let data = event.data();
    if data.as_object().is_some_and(|members| !members.is_empty()) {
        members.insert("data".to_owned(), data);
    }
    print_line(&Value::Object(members))
}

#[cfg(test)]
mod test {
    use std::time::Duration;

    use super::*;
    use crate::qmp::qapi::Nothing;
    use crate::qmp::types::event::NetdevStreamDisconnected;

    #[test]
    fn an_event_looks_like_qemus() {
        let raised = UNIX_EPOCH + Duration::new(1_700_000_000, 123_456_789);
        let gone = NetdevStreamDisconnected { netdev_id: "n0".to_owned() };
        assert_eq!(
            line(&Event::NetdevStreamDisconnected(gone), raised),
            "{\"timestamp\": {\"seconds\": 1700000000, \"microseconds\": 123456}, \
             \"event\": \"NETDEV_STREAM_DISCONNECTED\", \"data\": {\"netdev-id\": \"n0\"}}\r\n"
        );
    }

    #[test]
    fn an_event_without_data_has_no_member_data() {
        assert!(!line(&Event::Stop(Nothing {}), SystemTime::now()).contains("data"));
    }
}
