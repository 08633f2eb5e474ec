//! The table that `info usernet` prints, column for column as QEMU does.

use std::net::SocketAddr;

use crate::qmp::types::usernet::{FlowProtocol, UsernetFlow, UsernetForward, UsernetInfo};

/// The width of the first column.
const STATE_CHARS: usize = 19;

/// One network: connections, then datagrams, then echoes. Forwards stand below the flows of their protocol.
pub(super) fn print(network: &UsernetInfo) -> String {
    let mut text = format!("Hub {} ({}):\r\n", network.hub.unwrap_or(-1), network.netdev);
    text += "  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ\r\n";
    for protocol in [FlowProtocol::Tcp, FlowProtocol::Udp, FlowProtocol::Icmp] {
        let flows = network.flows.iter().filter(|flow| flow.protocol == protocol);
        text.extend(flows.map(|flow| row(&of_flow(flow))));
        let forwards = network.forwards.iter().filter(|forward| forward.protocol == protocol);
        text.extend(forwards.map(|forward| row(&of_forward(forward))));
    }
    text
}

/// What stands in a row.
struct Row {
    state: String,
    fd: i64,
    ends: [(String, String); 2],
    waiting: [i64; 2],
}

fn of_flow(flow: &UsernetFlow) -> Row {
    let state = match (flow.protocol, &flow.state, flow.seconds) {
        (FlowProtocol::Tcp, state, _) => format!("TCP[{}]", state.as_deref().unwrap_or("CLOSED")),
        (FlowProtocol::Udp, _, seconds) => format!("UDP[{} sec]", seconds.unwrap_or(0)),
        (FlowProtocol::Icmp, _, seconds) => format!("ICMP[{} sec]", seconds.unwrap_or(0)),
    };
    let mut ends = [end(&flow.source), end(&flow.destination)];
    if flow.protocol == FlowProtocol::Icmp {
        ends.iter_mut().for_each(|(_address, port)| "-  ".clone_into(port));
    }
    Row { state, fd: flow.fd, ends, waiting: [flow.to_host, flow.to_guest] }
}

fn of_forward(forward: &UsernetForward) -> Row {
    let state = match forward.protocol {
        FlowProtocol::Tcp => "TCP[HOST_FORWARD]",
        FlowProtocol::Udp => "UDP[HOST_FORWARD]",
        FlowProtocol::Icmp => "ICMP[HOST_FORWARD]",
    };
    Row {
        state: state.to_owned(),
        fd: forward.fd,
        ends: [end(&forward.host), end(&forward.guest)],
        waiting: [0; 2],
    }
}

/// Address and port. One that is no address is a path, and has no port.
fn end(text: &str) -> (String, String) {
    match text.parse::<SocketAddr>() {
        Ok(at) if at.ip().is_unspecified() && at.is_ipv4() => ("*".to_owned(), at.port().to_string()),
        Ok(at) => (at.ip().to_string(), at.port().to_string()),
        Err(_path) => (text.to_owned(), "-  ".to_owned()),
    }
}

fn row(row: &Row) -> String {
    let state: String = format!("  {:<STATE_CHARS$}", row.state).chars().take(STATE_CHARS).collect();
    let [(source, source_port), (destination, destination_port)] = &row.ends;
    let [to_host, to_guest] = row.waiting;
    format!(
        "{state} {:>3} {source:>15} {source_port:>5} {destination:>15} {destination_port:>5} {to_host:>5} {to_guest:>5}\r\n",
        row.fd
    )
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn rows_stand_as_in_qemu() {
        let flow = |protocol, source: &str, destination: &str| UsernetFlow {
            protocol,
            state: Some("ESTABLISHED".to_owned()),
            seconds: Some(240),
            fd: 12,
            source: source.to_owned(),
            destination: destination.to_owned(),
            to_host: 0,
            to_guest: 7,
        };
        let network = UsernetInfo {
            netdev: "u".to_owned(),
            hub: Some(0),
            flows: vec![
                flow(FlowProtocol::Icmp, "10.0.2.15:7", "192.0.2.1:0"),
                flow(FlowProtocol::Udp, "10.0.2.15:4000", "10.0.2.2:7007"),
                flow(FlowProtocol::Tcp, "10.0.2.15:30000", "10.0.2.2:7010"),
            ],
            forwards: vec![UsernetForward {
                protocol: FlowProtocol::Udp,
                fd: 9,
                host: "0.0.0.0:8081".to_owned(),
                guest: "10.0.2.16:81".to_owned(),
            }],
        };
        let text = "Hub 0 (u):\r\n\
            \u{20} Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ\r\n\
            \u{20} TCP[ESTABLISHED]   12       10.0.2.15 30000        10.0.2.2  7010     0     7\r\n\
            \u{20} UDP[240 sec]       12       10.0.2.15  4000        10.0.2.2  7007     0     7\r\n\
            \u{20} UDP[HOST_FORWARD]   9               *  8081       10.0.2.16    81     0     0\r\n\
            \u{20} ICMP[240 sec]      12       10.0.2.15   -         192.0.2.1   -       0     7\r\n";
        assert_eq!(print(&network), text);
    }
}
