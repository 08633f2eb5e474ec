//! Domains that a guest searches, as its DHCP option (RFC 3397) and its router's option (RFC 8106) say them.
//!
//! Over DHCP a name may end in a pointer to where its end has been said before, counted from the option's first byte;
//! the list may be longer than an option and goes on in the next. Over IPv6 names are written out. A name that is none
//! spoils the whole list, as in QEMU: a guest that searches some of the domains fails in ways that nobody understands.

/// The longest label: its length has six bits.
const LABEL_BYTES_MAX: usize = 63;
/// The longest name, its lengths and its end included.
const NAME_BYTES_MAX: usize = 255;
/// How far a pointer reaches: fourteen bits.
const POINTER_MAX: usize = 0x3fff;

/// DHCP's option of search domains.
const SEARCH: u8 = 119;
/// What one option carries.
const OPTION_BYTES_MAX: usize = 255;

/// The router's option of search domains.
const DNSSL: u8 = 31;
/// How long they hold, as long as the router itself.
const LIFETIME_S: u32 = 1800;

/// The list as DHCP options; none if a name is wrong or there is none.
pub(super) fn dhcp(names: &[String]) -> Option<Vec<u8>> {
    let list = compressed(&split(names)?);
    let pieces = list.chunks(OPTION_BYTES_MAX);
    let option = |piece: &[u8]| Some([&[SEARCH, u8::try_from(piece.len()).ok()?], piece].concat());
    Some(pieces.map(option).collect::<Option<Vec<_>>>()?.concat()).filter(|options| !options.is_empty())
}

/// The list as an option of a router's advertisement; none if a name is wrong or there is none.
pub(super) fn advertisement(names: &[String]) -> Option<Vec<u8>> {
    let mut list: Vec<u8> = split(names)?.iter().flat_map(|labels| plain(labels)).collect();
    if list.is_empty() {
        return None;
    }
    // Counted in eights, header included.
    list.resize(list.len().next_multiple_of(8), 0);
    let eights = u8::try_from(list.len() / 8 + 1).ok()?;
    Some([&[DNSSL, eights, 0, 0], &LIFETIME_S.to_be_bytes()[..], &list].concat())
}

/// The labels of all names.
fn split(names: &[String]) -> Option<Vec<Vec<&str>>> {
    names.iter().map(|name| labels(name)).collect()
}

fn labels(name: &str) -> Option<Vec<&str>> {
    let labels: Vec<&str> = name.strip_suffix('.').unwrap_or(name).split('.').collect();
    let are_right = labels.iter().all(|label| (1..=LABEL_BYTES_MAX).contains(&label.len()));
    (are_right && plain(&labels).len() <= NAME_BYTES_MAX).then_some(labels)
}

fn plain(labels: &[&str]) -> Vec<u8> {
    let mut bytes: Vec<u8> = labels.iter().flat_map(|label| written(label)).collect();
    bytes.push(0);
    bytes
}

fn written(label: &str) -> Vec<u8> {
    // It was measured before it came here.
    [&[u8::try_from(label.len()).unwrap_or(0)], label.as_bytes()].concat()
}

fn compressed(names: &[Vec<&str>]) -> Vec<u8> {
    let mut list = Vec::new();
    let mut said: Vec<(&[&str], usize)> = Vec::new();
    for name in names {
        let mut rest = &name[..];
        loop {
            if let Some((_, at)) = said.iter().find(|(end, _)| *end == rest) {
                let [high, low] = u16::try_from(*at).unwrap_or(0).to_be_bytes();
                list.extend([0xc0 | high, low]);
                break;
            }
            let Some((label, behind)) = rest.split_first() else {
                list.push(0);
                break;
            };
            if list.len() <= POINTER_MAX {
                said.push((rest, list.len()));
            }
            list.extend(written(label));
            rest = behind;
        }
    }
    list
}

#[cfg(test)]
mod test {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    /// Names of a list, read as a guest reads them.
    fn read(list: &[u8]) -> Vec<String> {
        let (mut out, mut at) = (Vec::new(), 0);
        while at < list.len() {
            let (mut labels, mut here, mut end) = (Vec::new(), at, None);
            while list[here] != 0 {
                if list[here] & 0xc0 == 0xc0 {
                    end = end.or(Some(here + 2));
                    here = usize::from(u16::from_be_bytes([list[here] & 0x3f, list[here + 1]]));
                } else {
                    let length = usize::from(list[here]);
                    labels.push(String::from_utf8(list[here + 1..][..length].to_vec()).unwrap());
                    here += 1 + length;
                }
            }
            out.push(labels.join("."));
            at = end.unwrap_or(here + 1);
        }
        out
    }

    #[test]
    fn ends_that_were_said_are_pointed_at() {
        let list = dhcp(&names(&["example.org", "lab.example.org"])).unwrap();
        assert_eq!(list, b"\x77\x13\x07example\x03org\x00\x03lab\xc0\x00");
    }

    #[test]
    fn what_is_written_is_read_back() {
        let long: Vec<String> = (0..30).map(|n| format!("host{}.example-{n}.org", n % 7)).collect();
        for list in
            [names(&["a.example.org", "b.example.org", "example.org", "org", "org", "other.net"]), long]
        {
            let options = dhcp(&list).unwrap();
            let mut rest = &options[..];
            let mut joined = Vec::new();
            while let [SEARCH, length, behind @ ..] = rest {
                joined.extend(&behind[..usize::from(*length)]);
                rest = &behind[usize::from(*length)..];
            }
            assert_eq!(read(&joined), list);
        }
    }

    #[test]
    fn one_bad_name_spoils_the_list() {
        let long_label = "x".repeat(64);
        let long_name = vec!["x".repeat(60); 5].join(".");
        for bad in ["", ".", "a..b", &long_label, &long_name] {
            assert_eq!(dhcp(&names(&["example.org", bad])), None, "{bad}");
            assert_eq!(advertisement(&names(&["example.org", bad])), None, "{bad}");
        }
        assert_eq!(dhcp(&[]), None);
        assert_eq!(advertisement(&[]), None);
    }

    #[test]
    fn a_router_writes_names_out_and_fills_up() {
        let option = advertisement(&names(&["a.org", "b.org"])).unwrap();
        assert_eq!(option, b"\x1f\x03\0\0\0\0\x07\x08\x01a\x03org\0\x01b\x03org\0\0\0");
        assert_eq!(option.len() % 8, 0);
    }
}
