use super::super::recorded::{self, udp_payload};
use super::*;

const MAC: Mac = [0x52, 0x56, 0, 0, 0, 2];

fn server(file: &[u8]) -> Server<'_> {
    Server { host: "fec0::2".parse().unwrap(), mac: MAC, dns: "fec0::3".parse().unwrap(), file }
}

/// The reply as QEMU would have made it: without the server's identifier.
fn without_server(reply: &[u8]) -> Vec<u8> {
    let identifier = [&[0, 2, 0, 10, 0, 3, 0, 1], &MAC[..]].concat();
    let at = reply.windows(identifier.len()).position(|window| window == identifier).unwrap();
    [&reply[..at], &reply[at + identifier.len()..]].concat()
}

#[test]
fn every_recorded_request_is_answered_as_it_was_and_says_by_whom() {
    let mut answered = 0;
    // Who is restricted does not get here; a file called (null) is QEMU's own.
    let elsewhere = ["dhcpv6-restricted", "dhcpv6-bootfile-unset"];
    let exchanges = recorded::group("dhcpv6");
    for exchange in exchanges.iter().filter(|exchange| !elsewhere.contains(&exchange.name.as_str())) {
        let file = exchange.option("bootfile").unwrap_or_default();
        for step in &exchange.steps {
            let Some(request) = step.sent.first().and_then(|frame| udp_payload(frame)) else { continue };
            let expected = step.answers.first().and_then(|frame| udp_payload(frame));
            let mut reply = [0; REPLY_BYTES_MAX];
            let answer = answer(request, &server(file.as_bytes()), &mut reply);
            let answer = answer.map(|length| without_server(&reply[..length]));
            assert_eq!(answer.as_deref(), expected, "{}", exchange.name);
            answered += usize::from(answer.is_some());
        }
    }
    assert_eq!(answered, 5);
}

#[test]
fn without_a_boot_file_there_is_no_url() {
    let mut reply = [0; REPLY_BYTES_MAX];
    let request = [11, 1, 2, 3, 0, 6, 0, 2, 0, 59];
    assert_eq!(answer(&request, &server(b""), &mut reply), Some(4 + 14));
}

#[test]
fn the_longest_reply_fits() {
    let file = [b'f'; super::super::dhcp::FILE_BYTES_MAX];
    let client = [&[0, 1, 1, 0][..], &[7; 256]].concat();
    let request = [&[11, 1, 2, 3], &client[..], &[0, 6, 0, 4, 0, 23, 0, 59]].concat();
    let mut reply = [0; REPLY_BYTES_MAX];
    assert_eq!(answer(&request, &server(&file), &mut reply), Some(REPLY_BYTES_MAX));
    assert_eq!(answer(&request, &server(&file), &mut reply[..REPLY_BYTES_MAX - 1]), None);
}

#[test]
fn a_request_cut_anywhere_is_read_to_its_end_and_no_further() {
    let request = [11, 1, 2, 3, 0, 1, 0, 4, 9, 9, 9, 9, 0, 6, 0, 4, 0, 23, 0, 59];
    let mut reply = [0; REPLY_BYTES_MAX];
    for length in 0..request.len() {
        let answer = answer(&request[..length], &server(b"boot"), &mut reply);
        // Options end between two of them, and what could only be an empty one is not looked at.
        let is_whole = (4..=8).contains(&length) || (12..=16).contains(&length);
        assert_eq!(answer.is_some(), is_whole, "{length}");
    }
}
