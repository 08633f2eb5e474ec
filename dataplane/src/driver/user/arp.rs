//! ARP: what the virtual hosts answer, and how a guest is asked for its own address.

use std::net::Ipv4Addr;

use framewire_shared::driver::user::User4;

use super::header::mac_of4;
use super::packet::{Arp, Mac};

/// A request or answer, as long as those that guests know from QEMU.
pub(super) const REPLY_BYTES: usize = 64;

const BROADCAST: Mac = [0xff; 6];

/// The answer to a request, if one of the virtual hosts is meant. `serves` says of further addresses whether there is
/// somebody.
pub(super) fn answer(
    request: &Arp,
    network: &User4,
    serves: impl Fn(Ipv4Addr) -> bool,
) -> Option<[u8; REPLY_BYTES]> {
    let target = request.target;
    let is_ours = target.octets() == network.host || target.octets() == network.dns || serves(target);
    let asks = request.operation == 1 && request.sender != target;
    if !(asks && is_ours && network.contains(target)) {
        return None;
    }
    let ends = [(mac_of4(target), target), (request.sender_mac, request.sender)];
    Some(frame(request.from, 2, ends))
}

/// Asks everybody for the owner of an address.
pub(super) fn request(wanted: Ipv4Addr, network: &User4) -> [u8; REPLY_BYTES] {
    let host = Ipv4Addr::from(network.host);
    frame(BROADCAST, 1, [(mac_of4(host), host), ([0; 6], wanted)])
}

/// Whether a packet tells the truth about its sender as far as we care: it is no request of somebody who has no
/// address yet, nor about an address that is nobody's.
pub(super) fn teaches(arp: &Arp, network: &User4, was_answered: bool) -> bool {
    let sender = arp.sender;
    let is_somebody = !sender.is_unspecified() && !sender.is_broadcast() && sender != network.broadcast();
    is_somebody && (was_answered || arp.operation == 2 || sender == arp.target)
}

/// From the first of `ends` to the second.
fn frame(to: Mac, operation: u16, ends: [(Mac, Ipv4Addr); 2]) -> [u8; REPLY_BYTES] {
    let mut frame = [0; REPLY_BYTES];
    frame[..6].copy_from_slice(&to);
    frame[6..12].copy_from_slice(&ends[0].0);
    frame[12..20].copy_from_slice(&[8, 6, 0, 1, 8, 0, 6, 4]);
    frame[20..22].copy_from_slice(&operation.to_be_bytes());
    for (at, (mac, address)) in [22, 32].into_iter().zip(ends) {
        frame[at..at + 6].copy_from_slice(&mac);
        frame[at + 6..at + 10].copy_from_slice(&address.octets());
    }
    frame
}

#[cfg(test)]
mod tests {
    use framewire_shared::driver::UserOptions;

    use super::*;

    const GUEST: Mac = [2, 0, 0, 0, 0, 1];

    fn network() -> User4 {
        let (network, mask) = ([10, 0, 2, 0], [255, 255, 255, 0]);
        User4 { network, mask, host: [10, 0, 2, 2], dns: [10, 0, 2, 3], ..UserOptions::empty().ipv4 }
    }

    fn request_for(target: [u8; 4]) -> Arp {
        let (sender, target) = (Ipv4Addr::new(10, 0, 2, 15), Ipv4Addr::from(target));
        Arp { from: GUEST, operation: 1, sender_mac: GUEST, sender, target }
    }

    #[test]
    fn host_and_dns_are_answered_and_nobody_else() {
        let asked = |last| answer(&request_for([10, 0, 2, last]), &network(), |_| false).is_some();
        assert!(asked(2) && asked(3));
        assert!(!asked(4) && !asked(15) && !asked(255));
        assert!(answer(&request_for([10, 0, 2, 4]), &network(), |_| true).is_some());
        assert!(answer(&request_for([10, 0, 3, 4]), &network(), |_| true).is_none());
    }

    #[test]
    fn an_answer_goes_back_to_who_asked() {
        let reply = answer(&request_for([10, 0, 2, 2]), &network(), |_| false).unwrap();
        let wanted = [
            &GUEST[..],
            &[0x52, 0x55, 10, 0, 2, 2, 8, 6, 0, 1, 8, 0, 6, 4, 0, 2],
            &[0x52, 0x55, 10, 0, 2, 2, 10, 0, 2, 2],
            &GUEST,
            &[10, 0, 2, 15],
        ];
        assert_eq!(reply[..42], wanted.concat());
    }

    #[test]
    fn only_somebody_teaches() {
        let gratuitous = Arp { target: Ipv4Addr::new(10, 0, 2, 15), ..request_for([0; 4]) };
        assert!(teaches(&gratuitous, &network(), false));
        assert!(teaches(&request_for([10, 0, 2, 2]), &network(), true));
        assert!(!teaches(&request_for([10, 0, 2, 9]), &network(), false));
        let probe = Arp { sender: Ipv4Addr::UNSPECIFIED, ..request_for([10, 0, 2, 2]) };
        assert!(!teaches(&probe, &network(), true));
    }
}
