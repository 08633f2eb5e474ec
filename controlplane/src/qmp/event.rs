//! What happened, told to all clients without being asked.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use super::json::print_line;

/// One event. The time is when it was raised, not when it is printed or read.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// As in the schema: `NETDEV_STREAM_CONNECTED`.
    pub name: &'static str,
    /// None for events without data (`STOP`).
    pub data: Option<Value>,
    /// Wall clock, as in QEMU: it may jump.
    pub at: SystemTime,
}

impl Event {
    /// An event that happens now.
    #[must_use]
    pub fn now(name: &'static str, data: Option<Value>) -> Self {
        Self { name, data, at: SystemTime::now() }
    }

    /// The line that clients read.
    #[must_use]
    pub fn line(&self) -> String {
        // A clock before 1970 is no reason to fail.
        let at = self.at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut members = Map::new();
        members.insert(
            "timestamp".to_owned(),
            json!({"seconds": at.as_secs(), "microseconds": at.subsec_micros()}),
        );
        members.insert("event".to_owned(), Value::from(self.name));
        if let Some(data) = &self.data {
            members.insert("data".to_owned(), data.clone());
        }
        print_line(&Value::Object(members))
    }
}

#[cfg(test)]
mod test {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_event_looks_like_qemus() {
        let at = UNIX_EPOCH + Duration::new(1_700_000_000, 123_456_789);
        let event = Event { name: "NETDEV_STREAM_DISCONNECTED", data: Some(json!({"netdev-id": "n0"})), at };
        assert_eq!(
            event.line(),
            "{\"timestamp\": {\"seconds\": 1700000000, \"microseconds\": 123456}, \
             \"event\": \"NETDEV_STREAM_DISCONNECTED\", \"data\": {\"netdev-id\": \"n0\"}}\r\n"
        );
    }

    #[test]
    fn an_event_without_data_has_no_member_data() {
        assert!(!Event::now("STOP", None).line().contains("data"));
    }
}
