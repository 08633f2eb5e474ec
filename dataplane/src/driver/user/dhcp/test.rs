use proptest::prelude::*;

use super::super::recorded::{self, Exchange, udp_payload};
use super::*;

fn server<'a>(options: &'a [u8], file: &'a [u8]) -> Server<'a> {
    Server {
        host: Ipv4Addr::new(10, 0, 2, 2),
        dns: Ipv4Addr::new(10, 0, 2, 3),
        mask: Ipv4Addr::new(255, 255, 255, 0),
        first: Ipv4Addr::new(10, 0, 2, 15),
        is_restricted: false,
        options,
        file,
    }
}

fn of_exchange<'a>(exchange: &'a Exchange, options: &'a [u8]) -> Server<'a> {
    let file = exchange.option("bootfile").unwrap_or_default();
    let mut server = server(options, file.as_bytes());
    server.is_restricted = exchange.option("restrict").is_some();
    if let Some(net) = exchange.option("net") {
        let net: Ipv4Addr = net.split('/').next().unwrap().parse().unwrap();
        server.host = Ipv4Addr::from_bits(net.to_bits() + 2);
        server.dns = Ipv4Addr::from_bits(net.to_bits() + 3);
    }
    if let Some(first) = exchange.option("dhcpstart") {
        server.first = first.parse().unwrap();
    }
    server
}

/// Options that depend on the port's: those that are not always there.
fn further_options(reply: &[u8]) -> Vec<u8> {
    let options = Options(&reply[FIXED_BYTES + COOKIE.len()..]);
    let further = options.filter(|(code, _)| ![1, 3, 6, 51, 53, 54, 56].contains(code));
    further.flat_map(|(code, value)| [&[code, u8::try_from(value.len()).unwrap()], value].concat()).collect()
}

#[test]
fn every_recorded_request_is_answered_as_it_was() {
    let mut answered = 0;
    let exchanges = recorded::group("dhcp");
    // Without IPv4 nobody asks here; the end of the pool is our own (below).
    let elsewhere = ["dhcp-ipv6-only", "dhcp-pool-end"];
    for exchange in exchanges.iter().filter(|exchange| !elsewhere.contains(&exchange.name.as_str())) {
        let mut leases = Leases::default();
        for step in &exchange.steps {
            let expected = step.answers.first().and_then(|frame| udp_payload(frame));
            let options = expected.map(further_options).unwrap_or_default();
            let server = of_exchange(exchange, &options);
            let destination: [u8; 4] = *step.sent[0][30..].first_chunk().unwrap();
            if destination != server.host.octets() && destination != [255; 4] {
                assert_eq!(expected, None);
                continue;
            }
            let mut reply = [0xa5; REPLY_BYTES];
            let request = udp_payload(&step.sent[0]).unwrap();
            let answer = answer(request, &server, &mut leases, &mut reply);
            assert_eq!(answer.map(|_| &reply[..]), expected, "{}", exchange.name);
            answered += usize::from(answer.is_some());
        }
    }
    assert!(answered >= 45, "{answered}");
}

/// A request with these options, of a client whose address ends in `client`.
fn request(client: u8, options: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; FIXED_BYTES];
    bytes[0] = 1;
    bytes[at::CLIENT_MAC..][..6].copy_from_slice(&[2, 0, 0, 0, 0, client]);
    [&bytes, &COOKIE[..], options].concat()
}

#[test]
fn the_pool_ends_with_the_network() {
    let (mut leases, mut reply) = (Leases::default(), [0; REPLY_BYTES]);
    let server = Server { first: Ipv4Addr::new(10, 0, 2, 254), ..server(&[], &[]) };
    let discover = |client| request(client, &[53, 1, 1, 255]);
    let first = answer(&discover(1), &server, &mut leases, &mut reply).unwrap();
    assert_eq!(first.address, Some(Ipv4Addr::new(10, 0, 2, 254)));
    assert_eq!(answer(&discover(2), &server, &mut leases, &mut reply), None);
    let broadcast = request(2, &[53, 1, 3, 50, 4, 10, 0, 2, 255]);
    assert_eq!(answer(&broadcast, &server, &mut leases, &mut reply).unwrap().address, None);
}

#[test]
fn nobody_is_given_the_routers_address() {
    let (mut leases, mut reply) = (Leases::default(), [0; REPLY_BYTES]);
    let server = Server { first: Ipv4Addr::new(10, 0, 2, 1), ..server(&[], &[]) };
    let mut discover = |client| answer(&request(client, &[53, 1, 1]), &server, &mut leases, &mut reply);
    assert_eq!(discover(1).unwrap().address, Some(Ipv4Addr::new(10, 0, 2, 1)));
    assert_eq!(discover(2).unwrap().address, Some(Ipv4Addr::new(10, 0, 2, 4)));
}

#[test]
fn a_reply_holds_nothing_that_was_there_before() {
    let (mut leases, mut reply) = (Leases::default(), [0xff; REPLY_BYTES]);
    let file = [b'f'; FILE_BYTES_MAX];
    let options = [7; FURTHER_OPTIONS_BYTES_MAX];
    let server = server(&options, &file);
    answer(&request(1, &[53, 1, 1]), &server, &mut leases, &mut reply).unwrap();
    assert_eq!(reply[at::FILE + FILE_BYTES_MAX], 0);
    assert_eq!(reply[REPLY_BYTES - 1], code::END, "the longest options just fit");
    answer(&request(1, &[53, 1, 3, 50, 4, 1, 2, 3, 4]), &server, &mut leases, &mut reply).unwrap();
    assert!(reply[REPLY_BYTES - 200..].iter().all(|byte| *byte == 0));
}

/// CVE-2021-3592: the reader laid a structure over a shorter packet.
#[test]
fn a_request_cut_anywhere_is_read_to_its_end_and_no_further() {
    let whole = request(1, &[53, 1, 3, 50, 4, 10, 0, 2, 20, 255]);
    for length in 0..whole.len() {
        let (mut leases, mut reply) = (Leases::default(), [0; REPLY_BYTES]);
        let answer = answer(&whole[..length], &server(&[], &[]), &mut leases, &mut reply);
        assert_eq!(answer.is_some(), length >= FIXED_BYTES, "{length}");
    }
}

#[test]
fn an_option_that_ends_behind_the_packet_ends_the_options() {
    let (mut leases, mut reply) = (Leases::default(), [0; REPLY_BYTES]);
    // The wanted address is cut, so it is as if it was not there.
    let cut = request(1, &[53, 1, 1, 50, 4, 10, 0, 2]);
    let answer = answer(&cut, &server(&[], &[]), &mut leases, &mut reply).unwrap();
    assert_eq!(answer.address, Some(Ipv4Addr::new(10, 0, 2, 15)));
}

proptest! {
    #[test]
    fn any_request_gets_an_address_of_the_pool_or_none(
        requests in prop::collection::vec((0u8..20, prop::collection::vec(any::<u8>(), 0..80)), 1..60),
    ) {
        let (mut leases, mut reply) = (Leases::default(), [0; REPLY_BYTES]);
        let mut holders = std::collections::HashMap::new();
        for (client, options) in requests {
            let given = answer(&request(client, &options), &server(&[], &[]), &mut leases, &mut reply);
            if let Some(Answer { client, address: Some(address) }) = given {
                prop_assert!((15..=30).contains(&address.octets()[3]));
                // Nobody is given what somebody else has.
                prop_assert_eq!(*holders.entry(address).or_insert(client), client);
            }
        }
    }
}
