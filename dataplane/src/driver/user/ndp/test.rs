use super::super::recorded::{self, Exchange};
use super::*;

fn network(exchange: &Exchange) -> Network<'static> {
    let prefix: Ipv6Addr = exchange.option("ipv6-prefix").unwrap_or("fec0::").parse().unwrap();
    let length = exchange.option("ipv6-prefixlen").unwrap_or("64").parse().unwrap();
    let of = |host: u128| Ipv6Addr::from_bits(prefix.to_bits() | host);
    let has_resolver = exchange.name.ends_with("-rdnss");
    Network { prefix, prefix_length: length, host: of(2), dns: of(3), has_resolver, search: &[] }
}

fn usual() -> Network<'static> {
    network(&Exchange { name: String::new(), options: Vec::new(), steps: Vec::new() })
}

fn address(frame: &[u8], at: usize) -> Ipv6Addr {
    Ipv6Addr::from(*frame[at..].first_chunk::<16>().unwrap())
}

fn message(frame: &[u8]) -> Message<'_> {
    let (source, destination) = (address(frame, 22), address(frame, 38));
    Message { source, destination, hop_limit: frame[21], bytes: &frame[54..] }
}

/// A recorded answer, its checksum left out, and QEMU's lifetime of the DNS server mended.
fn recorded_answer(frame: &[u8]) -> (Ipv6Addr, Ipv6Addr, Vec<u8>) {
    let mut bytes = frame[54..].to_vec();
    bytes[2..4].fill(0);
    if let Some(lifetime) = bytes.get_mut(60..64) {
        assert_eq!(lifetime, 1_200_000u32.to_be_bytes());
        lifetime.copy_from_slice(&1800u32.to_be_bytes());
    }
    (address(frame, 22), address(frame, 38), bytes)
}

#[test]
fn every_recorded_message_is_answered_as_it_was() {
    let mut answered = 0;
    for exchange in recorded::group("ndp") {
        // The first is not asked without IPv6; the second is a matter of who waits for whom.
        if ["ndp-rs-ipv4-only", "ndp-guest-is-asked"].contains(&exchange.name.as_str()) {
            continue;
        }
        for step in &exchange.steps {
            let frame = &step.sent[0];
            // Whoever calls has verified the checksum; the recorded wrong one is of code 0 and in order otherwise.
            if frame[54..58] == [0x87, 0x00, 0x60, 0xf1] {
                continue;
            }
            let mut reply = [0; MESSAGE_BYTES_MAX];
            let answer = answer(&message(frame), &network(&exchange), &mut reply);
            let answer =
                answer.map(|answer| (answer.source, answer.destination, reply[..answer.bytes].to_vec()));
            let expected = step.answers.first().map(|frame| recorded_answer(frame));
            assert_eq!(answer, expected, "{}", exchange.name);
            answered += usize::from(answer.is_some());
        }
    }
    assert_eq!(answered, 11);
}

#[test]
fn a_guest_is_asked_for_as_it_was() {
    let exchanges = recorded::group("ndp");
    let exchange = exchanges.iter().find(|exchange| exchange.name == "ndp-guest-is-asked").unwrap();
    let expected = recorded_answer(&exchange.steps[0].answers[0]);
    let mut reply = [0; MESSAGE_BYTES_MAX];
    let guest = "fec0::5054:ff:fe12:3456".parse().unwrap();
    let asked = solicitation(guest, &usual(), &mut reply).unwrap();
    assert_eq!((asked.source, asked.destination, reply[..asked.bytes].to_vec()), expected);
}

#[test]
fn the_longest_advertisement_fits() {
    let network = Network { has_resolver: true, search: &[31; SEARCH_BYTES_MAX], ..usual() };
    let mut reply = [0; MESSAGE_BYTES_MAX];
    assert_eq!(advertisement(&network, &mut reply).unwrap().bytes, MESSAGE_BYTES_MAX);
    assert_eq!(advertisement(&network, &mut reply[1..]), None);
}

/// CVE-2020-10756 and its kin: lengths that were believed.
#[test]
fn a_solicitation_cut_anywhere_is_read_to_its_end_and_no_further() {
    let mut bytes = vec![NEIGHBOUR_SOLICITATION, 0, 0, 0, 0, 0, 0, 0];
    bytes.extend(usual().host.octets());
    let mut reply = [0; MESSAGE_BYTES_MAX];
    for length in 0..=bytes.len() {
        let source = "fec0::15".parse().unwrap();
        let bytes = &bytes[..length];
        let message = Message { source, destination: group_of(usual().host), hop_limit: 255, bytes };
        assert_eq!(answer(&message, &usual(), &mut reply).is_some(), length == 24, "{length}");
    }
}

#[test]
fn what_guests_say_about_routers_is_not_answered() {
    let source = "fe80::15".parse().unwrap();
    let mut reply = [0; MESSAGE_BYTES_MAX];
    for kind in [ROUTER_ADVERTISEMENT, NEIGHBOUR_ADVERTISEMENT, 137] {
        let bytes = [&[kind, 0, 0, 0, 0, 0, 0, 0][..], &usual().host.octets()].concat();
        let message = Message { source, destination: ALL_NODES, hop_limit: 255, bytes: &bytes };
        assert_eq!(answer(&message, &usual(), &mut reply), None);
    }
}

#[test]
fn who_has_no_address_may_only_ask_the_group() {
    let bytes = [&[NEIGHBOUR_SOLICITATION, 0, 0, 0, 0, 0, 0, 0][..], &usual().host.octets()].concat();
    let mut reply = [0; MESSAGE_BYTES_MAX];
    let mut ask = |destination| {
        let source = Ipv6Addr::UNSPECIFIED;
        let message = Message { source, destination, hop_limit: 255, bytes: &bytes };
        answer(&message, &usual(), &mut reply).map(|reply| reply.destination)
    };
    assert_eq!(ask(group_of(usual().host)), Some(ALL_NODES));
    assert_eq!(ask(usual().host), None);
}
