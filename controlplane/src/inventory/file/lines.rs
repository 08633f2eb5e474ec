//! The lines of an inventory's file: first what concerns all ports, then one for each port.
//!
//! A line and its sum are made once and kept as long as their port stays as it is. The sum of the whole is made of the
//! sums of its lines, so that a change costs a look at each port, and work for those that changed.

use std::collections::HashMap;

use crate::inventory::{Inventory, Port, json};

/// FNV-1a: detects what was cut off or mixed up, which is all that happens to a file nobody else may write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sum(u64);

impl Default for Sum {
    fn default() -> Self {
        Sum(0xcbf2_9ce4_8422_2325)
    }
}

impl Sum {
    pub(super) fn and_number(self, number: u64) -> Self {
        self.and_bytes(&number.to_le_bytes())
    }

    pub(super) fn value(self) -> u64 {
        self.0
    }

    fn and_bytes(self, bytes: &[u8]) -> Self {
        let mix = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        Sum(bytes.iter().fold(self.0, mix))
    }

    fn of_line(line: &str) -> u64 {
        Sum::default().and_bytes(line.as_bytes()).value()
    }
}

/// The sum of a body: of the sums of its lines.
pub(super) fn sum(body: &str) -> Sum {
    body.lines().fold(Sum::default(), |sum, line| sum.and_number(Sum::of_line(line)))
}

/// A port's line, and the port as it was then.
#[derive(Debug)]
struct Line {
    port: Port,
    text: String,
    sum: u64,
}

impl Line {
    fn of(port: &Port) -> Self {
        let text = json::port_to_json(port).to_string();
        let sum = Sum::of_line(&text);
        Line { port: port.clone(), text, sum }
    }
}

/// Those of all ports, by number.
#[derive(Debug, Default)]
pub(super) struct Lines {
    kept: HashMap<u64, Line>,
}

impl Lines {
    /// Replaces `body` by the inventory's lines.
    pub(super) fn write(&mut self, inventory: &Inventory, body: &mut String) -> Sum {
        let first = json::first_line(inventory).to_string();
        let mut sum = Sum::default().and_number(Sum::of_line(&first));
        body.clear();
        body.push_str(&first);
        body.push('\n');
        for port in inventory.ports() {
            let line = self.kept.entry(port.number).or_insert_with(|| Line::of(port));
            if line.port != *port {
                *line = Line::of(port);
            }
            sum = sum.and_number(line.sum);
            body.push_str(&line.text);
            body.push('\n');
        }
        if self.kept.len() > inventory.ports().len() {
            self.kept.retain(|number, _line| inventory.port(*number).is_some());
        }
        sum
    }
}
