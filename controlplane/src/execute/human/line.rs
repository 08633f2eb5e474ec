//! A line of the monitor for people: which command it is, and its words.
//!
//! QEMU reads a line by a table: name, kinds of words, help; so do we, and what is wrong with a line is found and worded
//! the same way for all commands. One difference is on purpose: where QEMU tells its log what is wrong with options,
//! and the client only to read the help, here the client is told what is wrong.

use std::str::Chars;

/// A command that was understood.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Help(String),
    InfoChardev,
    InfoName,
    InfoNetwork,
    InfoStatus,
    InfoUsernet,
    InfoVersion,
    SetLink { name: String, up: bool },
    DeviceAdd(String),
    DeviceDel(String),
    NetdevAdd(String),
    NetdevDel(String),
    AnnounceSelf { interfaces: Option<String>, id: Option<String> },
    HostfwdAdd { netdev: Option<String>, rule: String },
    HostfwdRemove { netdev: Option<String>, rule: String },
}

/// What one word of a line may be.
#[derive(Debug, Clone, Copy)]
enum Sort {
    Text,
    /// Text, or nothing.
    Perhaps,
    OnOff,
}

/// One command.
struct Row {
    /// `info X` is a name of two words.
    name: &'static str,
    words: &'static [Sort],
    params: &'static str,
    help: &'static str,
    /// Makes the command of its words, of which there are as many as `words` says; missing ones are empty.
    make: fn(Words) -> Asked,
}

impl Row {
    fn describe(&self) -> String {
        format!("{} {} -- {}\r\n", self.name, self.params, self.help)
    }

    /// The last word of the name, by which the command calls itself.
    fn own_name(&self) -> &'static str {
        self.name.rsplit(' ').next().unwrap_or(self.name)
    }
}

const fn row(
    name: &'static str,
    words: &'static [Sort],
    (params, help): (&'static str, &'static str),
    make: fn(Words) -> Asked,
) -> Row {
    Row { name, words, params, help, make }
}

/// By name.
#[rustfmt::skip]
static TABLE: &[Row] = &[
    row("announce_self", &[Sort::Perhaps, Sort::Perhaps],
        ("[interfaces] [id]", "Trigger GARP/RARP announcements"),
        |mut words| Asked::AnnounceSelf { interfaces: words.perhaps(), id: words.perhaps() }),
    row("device_add", &[Sort::Perhaps],
        ("driver[,prop=value][,...]", "add a NIC"),
        |mut words| Asked::DeviceAdd(words.text())),
    row("device_del", &[Sort::Text], ("device", "remove a NIC"), |mut words| Asked::DeviceDel(words.text())),
    row("help", &[Sort::Perhaps, Sort::Perhaps],
        ("[cmd]", "show the help"),
        |mut words| Asked::Help([words.perhaps(), words.perhaps()].map(Option::unwrap_or_default).join(" "))),
    row("hostfwd_add", &[Sort::Text, Sort::Perhaps],
        ("[netdev_id] [tcp|udp]:[hostaddr]:hostport-[guestaddr]:guestport",
         "redirect TCP or UDP connections from host to guest"),
        |mut words| { let (netdev, rule) = words.rule(); Asked::HostfwdAdd { netdev, rule } }),
    row("hostfwd_remove", &[Sort::Text, Sort::Perhaps],
        ("[netdev_id] [tcp|udp]:[hostaddr]:hostport", "remove host-to-guest TCP or UDP redirection"),
        |mut words| { let (netdev, rule) = words.rule(); Asked::HostfwdRemove { netdev, rule } }),
    row("info chardev", &[], ("", "show the character devices"), |_none| Asked::InfoChardev),
    row("info name", &[], ("", "show the name"), |_none| Asked::InfoName),
    row("info network", &[], ("", "show the network"), |_none| Asked::InfoNetwork),
    row("info status", &[], ("", "show the status (running|paused)"), |_none| Asked::InfoStatus),
    row("info usernet", &[], ("", "show connections of user-mode networks"), |_none| Asked::InfoUsernet),
    row("info version", &[], ("", "show the version"), |_none| Asked::InfoVersion),
    row("netdev_add", &[Sort::Perhaps],
        ("[type],id=str[,prop=value][,...]", "add a network backend"),
        |mut words| Asked::NetdevAdd(words.text())),
    row("netdev_del", &[Sort::Text], ("id", "remove a network backend"), |mut words| Asked::NetdevDel(words.text())),
    row("set_link", &[Sort::Text, Sort::OnOff],
        ("name on|off", "change the link of a network backend or NIC"),
        |mut words| Asked::SetLink { name: words.text(), up: words.text() == "on" }),
];

/// The words of a line, in order.
struct Words(std::vec::IntoIter<Option<String>>);

impl Words {
    fn perhaps(&mut self) -> Option<String> {
        self.0.next().flatten()
    }

    fn text(&mut self) -> String {
        self.perhaps().unwrap_or_default()
    }

    /// One word is a rule; of two, the first is the netdev that it is for.
    fn rule(&mut self) -> (Option<String>, String) {
        let (first, second) = (self.text(), self.perhaps());
        if let Some(rule) = second { (Some(first), rule) } else { (None, first) }
    }
}

/// Reads a line; none if there is nothing on it.
///
/// # Errors
/// What the client reads, line ends included.
pub(super) fn read(line: &str) -> Result<Option<Asked>, String> {
    let mut rest = line.trim_start().chars();
    let Some(mut name) = plain(&mut rest) else { return Ok(None) };
    if name == "info" {
        let Some(what) = plain(&mut rest) else { return Ok(Some(Asked::Help(name))) };
        name = format!("info {what}");
    }
    let row = TABLE.iter().find(|row| row.name == name);
    let row = row.ok_or_else(|| unknown(&name))?;
    let hint = |why: String| format!("{why}\r\nTry \"help {}\" for more information\r\n", row.name);
    let mut words = Vec::new();
    for sort in row.words {
        words.push(word(*sort, &mut rest).map_err(|why| hint(why.replace("{}", row.own_name())))?);
    }
    if !rest.as_str().trim().is_empty() {
        return Err(hint(format!("{}: extraneous characters at the end of line", row.own_name())));
    }
    Ok(Some((row.make)(Words(words.into_iter()))))
}

/// What the commands are whose names begin so.
pub(super) fn help(name: &str) -> String {
    let name = name.trim();
    let rows = TABLE.iter().filter(|row| row.name.starts_with(name)).map(Row::describe);
    let text: String = rows.collect();
    if text.is_empty() { unknown(name) } else { text }
}

fn unknown(name: &str) -> String {
    format!("unknown command: '{name}'\r\n")
}

/// The next word, as far as it is one of its sort; `{}` in an error stands for the command.
fn word(sort: Sort, rest: &mut Chars<'_>) -> Result<Option<String>, String> {
    match sort {
        Sort::Perhaps => text(rest),
        Sort::Text => text(rest)?.map(Some).ok_or_else(expected),
        Sort::OnOff => match plain(rest) {
            Some(word) if word == "on" || word == "off" => Ok(Some(word)),
            Some(_) | None => Err("Expected 'on' or 'off'".to_owned()),
        },
    }
}

fn expected() -> String {
    "{}: string expected".to_owned()
}

/// Up to the next blank.
fn plain(rest: &mut Chars<'_>) -> Option<String> {
    let text = rest.as_str().trim_start();
    let end = text.find(char::is_whitespace).unwrap_or(text.len());
    *rest = text[end..].chars();
    (end > 0).then(|| text[..end].to_owned())
}

/// The same, or what stands between quotes.
fn text(rest: &mut Chars<'_>) -> Result<Option<String>, String> {
    let Some(quoted) = rest.as_str().trim_start().strip_prefix('"') else { return Ok(plain(rest)) };
    *rest = quoted.chars();
    let mut text = String::new();
    loop {
        match rest.next() {
            Some('"') => return Ok(Some(text)),
            Some('\\') => text.push(match rest.next() {
                Some('n') => '\n',
                Some('r') => '\r',
                Some(other @ ('\\' | '\'' | '"')) => other,
                Some(_) | None => return Err(expected()),
            }),
            Some(other) => text.push(other),
            None => return Err(expected()),
        }
    }
}

#[cfg(test)]
mod test {
    use super::*;

    fn refusal(line: &str) -> String {
        read(line).unwrap_err().replace("\r\n", "|")
    }

    /// As QEMU 7.2 says it.
    #[test]
    fn what_is_wrong_with_a_line_is_said_in_qemus_words() {
        for (line, wanted) in [
            ("bogus x", "unknown command: 'bogus'|"),
            ("info nonsense", "unknown command: 'info nonsense'|"),
            ("set_link", "set_link: string expected|Try \"help set_link\" for more information|"),
            ("set_link x", "Expected 'on' or 'off'|Try \"help set_link\" for more information|"),
            ("set_link x maybe", "Expected 'on' or 'off'|Try \"help set_link\" for more information|"),
            (
                "set_link x on y",
                "set_link: extraneous characters at the end of line|Try \"help set_link\" for more information|",
            ),
            (
                "info network x",
                "network: extraneous characters at the end of line|Try \"help info network\" for more information|",
            ),
            ("netdev_del \"a", "netdev_del: string expected|Try \"help netdev_del\" for more information|"),
        ] {
            assert_eq!(refusal(line), wanted, "{line}");
        }
    }

    #[test]
    fn words_may_be_quoted() {
        assert_eq!(read("  "), Ok(None));
        assert_eq!(read("netdev_del \"a b\\\"\""), Ok(Some(Asked::NetdevDel("a b\"".to_owned()))));
        let link = Asked::SetLink { name: "n0".to_owned(), up: false };
        assert_eq!(read(" set_link  n0\toff "), Ok(Some(link)));
        let both = Asked::AnnounceSelf { interfaces: Some("a,b".to_owned()), id: Some("i".to_owned()) };
        assert_eq!(read("announce_self a,b i"), Ok(Some(both)));
    }

    #[test]
    fn one_word_of_a_forward_is_its_rule_and_two_begin_with_the_netdev() {
        let of = |netdev: Option<&str>| Asked::HostfwdAdd {
            netdev: netdev.map(str::to_owned),
            rule: "tcp::1-:2".to_owned(),
        };
        assert_eq!(read("hostfwd_add tcp::1-:2"), Ok(Some(of(None))));
        assert_eq!(read("hostfwd_add u0 tcp::1-:2"), Ok(Some(of(Some("u0")))));
    }

    #[test]
    fn names_are_in_order_and_help_finds_them() {
        assert!(TABLE.is_sorted_by_key(|row| row.name));
        assert_eq!(help("info na"), "info name  -- show the name\r\n");
        assert_eq!(help("bogus"), "unknown command: 'bogus'\r\n");
    }
}
