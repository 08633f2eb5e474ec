//! What libslirp answered, for unit tests: the exchanges of `tests/user/vectors`, as bytes.

use std::path::Path;

use serde_json::Value;

/// One recorded exchange.
pub(super) struct Exchange {
    pub(super) name: String,
    pub(super) options: Vec<(String, String)>,
    pub(super) steps: Vec<Step>,
}

/// What was sent, and every frame that came back.
pub(super) struct Step {
    pub(super) sent: Vec<Vec<u8>>,
    pub(super) answers: Vec<Vec<u8>>,
}

impl Exchange {
    pub(super) fn option(&self, key: &str) -> Option<&str> {
        let mut options = self.options.iter();
        options.find(|(name, _value)| name == key).map(|(_name, value)| value.as_str())
    }
}

/// All exchanges of a group. Bytes that may differ are 0.
pub(super) fn group(name: &str) -> Vec<Exchange> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/user/vectors");
    let text = std::fs::read_to_string(folder.join(format!("{name}.jsonl"))).unwrap();
    text.lines().map(|line| exchange(&serde_json::from_str(line).unwrap())).collect()
}

fn exchange(line: &Value) -> Exchange {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let options = line["options"].as_array().unwrap().iter();
    let steps = line["steps"].as_array().unwrap().iter();
    Exchange {
        name: text(&line["name"]),
        options: options.map(|pair| (text(&pair[0]), text(&pair[1]))).collect(),
        steps: steps.map(step).collect(),
    }
}

fn step(step: &Value) -> Step {
    let list = |name: &str| step[name].as_array().cloned().unwrap_or_default();
    Step {
        sent: list("send").iter().filter_map(Value::as_str).map(bytes).collect(),
        answers: list("expect").iter().filter_map(|frame| frame["frame"].as_str()).map(bytes).collect(),
    }
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits = hex.chars().map(|digit| digit.to_digit(16).unwrap_or(0));
    let digits: Vec<u8> = digits.map(|digit| u8::try_from(digit).unwrap()).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// What a UDP datagram of a frame carries, without the frame's padding.
pub(super) fn udp_payload(frame: &[u8]) -> Option<&[u8]> {
    let udp = match frame[12..14] {
        [0x08, 0x00] if frame[23] == 17 => &frame[34..],
        [0x86, 0xdd] if frame[20] == 17 => &frame[54..],
        _ => return None,
    };
    let length = u16::from_be_bytes([udp[4], udp[5]]);
    udp.get(8..usize::from(length))
}
