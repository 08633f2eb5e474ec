//! What DHCP tells guests besides addresses, as the options that they are sent in.
//!
//! The data plane puts them behind its own as they are: it knows no names. What does not fit into an answer is left out
//! with a warning, as in QEMU, and the shortest come first.

use super::Names;
use super::search_list;

/// Codes of options.
mod code {
    pub(super) const HOST: u8 = 12;
    pub(super) const DOMAIN: u8 = 15;
    pub(super) const VENDOR_CLASS: u8 = 60;
    pub(super) const TFTP_SERVER: u8 = 66;
}

/// The class that UEFI looks for before it boots from a URL.
const HTTP_CLIENT: &str = "HTTPClient";

/// The options, at most `room` bytes of them.
pub(super) fn dhcp_options(names: &Names, room: usize) -> Vec<u8> {
    let boots_by_http = names.bootfile.as_deref().is_some_and(|file| file.starts_with("http://"));
    let vendor_class = boots_by_http.then_some(HTTP_CLIENT);
    let all = [
        ("hostname", text(code::HOST, names.host.as_deref())),
        ("domainname", text(code::DOMAIN, names.domain.as_deref())),
        ("tftp-server-name", text(code::TFTP_SERVER, names.tftp_server.as_deref())),
        ("bootfile", text(code::VENDOR_CLASS, vendor_class)),
        ("dnssearch", search(&names.search)),
    ];
    let mut options = Vec::new();
    for (parameter, option) in all {
        if options.len() + option.len() <= room {
            options.extend(option);
        } else {
            log::warn!("'{parameter}' does not fit into a DHCP answer, which goes without it");
        }
    }
    options
}

/// A text as an option; an empty one is none.
fn text(code: u8, text: Option<&str>) -> Vec<u8> {
    let text = text.unwrap_or_default();
    match u8::try_from(text.len()) {
        Ok(1..) => [&[code, u8::try_from(text.len()).unwrap_or(0)], text.as_bytes()].concat(),
        Ok(0) | Err(_) => Vec::new(),
    }
}

fn search(names: &[String]) -> Vec<u8> {
    let options = search_list::dhcp(names);
    if options.is_none() && !names.is_empty() {
        log::warn!("'dnssearch' has a name that is none, so none of them is told");
    }
    options.unwrap_or_default()
}

#[cfg(test)]
mod test {
    use super::*;

    fn names() -> Names {
        Names {
            host: Some("box".to_owned()),
            domain: Some("example.org".to_owned()),
            search: vec!["example.org".to_owned()],
            bootfile: Some("http://10.0.2.2/boot.efi".to_owned()),
            tftp_server: Some("10.0.2.2".to_owned()),
        }
    }

    #[test]
    fn each_name_is_an_option() {
        let options = dhcp_options(&names(), 272);
        let expected =
            b"\x0c\x03box\x0f\x0bexample.org\x42\x0810.0.2.2\x3c\x0aHTTPClient\x77\x0d\x07example\x03org\0";
        assert_eq!(options, expected);
    }

    #[test]
    fn what_does_not_fit_is_left_out_and_what_is_behind_it_is_not() {
        let long = Names { domain: Some("d".repeat(255)), ..names() };
        let options = dhcp_options(&long, 255);
        assert!(options.starts_with(b"\x0c\x03box\x42\x08"));
        assert!(dhcp_options(&long, 0).is_empty());
    }

    #[test]
    fn nothing_is_said_of_what_is_not_there() {
        let none = Names { host: None, domain: None, search: Vec::new(), bootfile: None, tftp_server: None };
        assert!(dhcp_options(&none, 272).is_empty());
    }
}
