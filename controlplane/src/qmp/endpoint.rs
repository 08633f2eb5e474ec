//! Where a monitor is to be found: the text of `--qmp`, in QEMU's syntax.
//!
//! `unix:PATH` and `tcp:HOST:PORT`, followed by options after commas; a comma within a value is doubled. Unlike in
//! QEMU a monitor listens unless `server=off` says otherwise, and nobody waits unless `wait=on` is given: that is
//! what everybody writes out.

use std::os::fd::RawFd;
use std::time::Duration;

/// The text of `--qmp` is wrong.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// Neither `unix:` nor `tcp:` nor `fd:`.
    #[error("'{0}' is not a valid char driver: 'unix:PATH', 'tcp:HOST:PORT' or 'fd:NUMBER' is expected")]
    UnknownForm(String),
    /// Nothing after `unix:`.
    #[error("chardev: socket: no path given")]
    NoPath,
    /// `tcp:` without a port.
    #[error("address '{0}' lacks a port: 'HOST:PORT' is expected")]
    NoPort(String),
    /// Not a port number.
    #[error("port '{0}' is not a number between 0 and 65535")]
    BadPort(String),
    /// Not a descriptor number.
    #[error("Invalid file descriptor number '{0}'")]
    BadDescriptor(String),
    /// An option that does not exist.
    #[error("Invalid parameter '{0}'")]
    UnknownOption(String),
    /// Neither `on` nor `off`.
    #[error("Parameter '{0}' expects 'on' or 'off'")]
    NotABoolean(String),
    /// Not a number of seconds.
    #[error("Parameter 'reconnect' expects a number")]
    BadReconnect,
    /// Only a client connects again.
    #[error("'reconnect' option is incompatible with socket in server listen mode")]
    ReconnectOfServer,
    /// Only a server can wait for its client.
    #[error("'wait' option is incompatible with socket in client connect mode")]
    WaitOfClient,
    /// Only unix sockets have names that are no paths.
    #[error("'{0}' is only for 'unix:'")]
    OnlyUnix(&'static str),
}

/// What the socket is bound or connected to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A path in the file system.
    Unix(String),
    /// A name in the network name space; filled up with zeros unless tight.
    Abstract {
        /// Without the zero byte in front.
        name: String,
        /// The address is as long as the name.
        tight: bool,
    },
    /// An empty host stands for all addresses.
    Tcp {
        /// Name or number.
        host: String,
        /// 0 lets the kernel choose.
        port: u16,
    },
    /// A socket that was inherited, listening or connected.
    Inherited(RawFd),
}

/// One `--qmp`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Where.
    pub address: Address,
    /// We listen.
    pub server: bool,
    /// Nothing starts before the first client came.
    pub wait: bool,
    /// How long after the loss of a connection that we made we try to make it again; zero for never.
    pub reconnect: Duration,
}

#[derive(Default)]
struct Options {
    server: Option<bool>,
    wait: Option<bool>,
    is_abstract: bool,
    tight: Option<bool>,
    reconnect: Duration,
}

impl Endpoint {
    /// Reads the text of `--qmp`.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn parse(text: &str) -> Result<Self, Error> {
        let mut words = split(text).into_iter();
        let location = words.next().unwrap_or_default();
        let mut options = Options::default();
        for word in words {
            options.set(&word)?;
        }
        let server = options.server.unwrap_or(true);
        if server && !options.reconnect.is_zero() {
            return Err(Error::ReconnectOfServer);
        }
        if !server && options.wait.is_some() {
            return Err(Error::WaitOfClient);
        }
        Ok(Self {
            address: address(&location, &options)?,
            server,
            wait: options.wait.unwrap_or(false),
            reconnect: options.reconnect,
        })
    }
}

impl Options {
    fn set(&mut self, word: &str) -> Result<(), Error> {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            // Scripts of many years write `server,nowait`.
            None => match word.strip_prefix("no") {
                Some(name) => (name, Some("off")),
                None => (word, None),
            },
        };
        match name {
            "server" => self.server = Some(boolean(name, value)?),
            "wait" => self.wait = Some(boolean(name, value)?),
            "abstract" => self.is_abstract = boolean(name, value)?,
            "tight" => self.tight = Some(boolean(name, value)?),
            "reconnect" => {
                let seconds = value.and_then(|value| value.parse().ok()).ok_or(Error::BadReconnect)?;
                self.reconnect = Duration::from_secs(seconds);
            }
            _ => return Err(Error::UnknownOption(word.to_owned())),
        }
        Ok(())
    }
}

fn boolean(name: &str, value: Option<&str>) -> Result<bool, Error> {
    match value {
        None | Some("on" | "yes" | "true" | "y") => Ok(true),
        Some("off" | "no" | "false" | "n") => Ok(false),
        Some(_) => Err(Error::NotABoolean(name.to_owned())),
    }
}

fn address(location: &str, options: &Options) -> Result<Address, Error> {
    if let Some(path) = location.strip_prefix("unix:") {
        if path.is_empty() {
            return Err(Error::NoPath);
        }
        let name = path.to_owned();
        return Ok(if options.is_abstract {
            Address::Abstract { name, tight: options.tight.unwrap_or(true) }
        } else {
            Address::Unix(name)
        });
    }
    if options.is_abstract {
        return Err(Error::OnlyUnix("abstract"));
    }
    if options.tight.is_some() {
        return Err(Error::OnlyUnix("tight"));
    }
    if let Some(number) = location.strip_prefix("fd:") {
        return number.parse().map(Address::Inherited).map_err(|_| Error::BadDescriptor(number.to_owned()));
    }
    match location.strip_prefix("tcp:") {
        Some(host_and_port) => tcp(host_and_port),
        None => Err(Error::UnknownForm(location.to_owned())),
    }
}

fn tcp(text: &str) -> Result<Address, Error> {
    let (host, port) = text.rsplit_once(':').ok_or_else(|| Error::NoPort(text.to_owned()))?;
    let port = port.parse().map_err(|_| Error::BadPort(port.to_owned()))?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    Ok(Address::Tcp { host: bare.to_owned(), port })
}

/// Splits at single commas; two stand for one.
fn split(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        if c == ',' && rest.next_if_eq(&',').is_none() {
            words.push(String::new());
        } else if let Some(word) = words.last_mut() {
            word.push(c);
        }
    }
    words
}

#[cfg(test)]
mod test {
    use super::*;

    fn unix(path: &str) -> Endpoint {
        Endpoint {
            address: Address::Unix(path.to_owned()),
            server: true,
            wait: false,
            reconnect: Duration::ZERO,
        }
    }

    #[test]
    fn a_plain_path_listens() {
        assert_eq!(Endpoint::parse("unix:/run/x"), Ok(unix("/run/x")));
        assert_eq!(Endpoint::parse("unix:/run/x,server=on,wait=off"), Ok(unix("/run/x")));
        assert_eq!(Endpoint::parse("unix:/run/x,server,nowait"), Ok(unix("/run/x")));
    }

    #[test]
    fn two_commas_are_one() {
        assert_eq!(Endpoint::parse("unix:/a,,b,server=on"), Ok(unix("/a,b")));
    }

    #[test]
    fn a_client_may_connect_again() {
        let endpoint = Endpoint::parse("unix:/var/run/qmeventd.sock,server=off,reconnect=5").unwrap();
        assert!(!endpoint.server);
        assert_eq!(endpoint.reconnect, Duration::from_secs(5));
    }

    #[test]
    fn hosts_are_names_or_numbers() {
        let address = |text| Endpoint::parse(text).unwrap().address;
        let tcp = |host: &str, port| Address::Tcp { host: host.to_owned(), port };
        assert_eq!(address("tcp:127.0.0.1:4444"), tcp("127.0.0.1", 4444));
        assert_eq!(address("tcp:[::1]:4444,server=on"), tcp("::1", 4444));
        assert_eq!(address("tcp::0"), tcp("", 0));
    }

    #[test]
    fn other_forms_and_options_are_refused() {
        let refused = [
            ("stdio", Error::UnknownForm("stdio".to_owned())),
            ("unix:", Error::NoPath),
            ("tcp:localhost", Error::NoPort("localhost".to_owned())),
            ("tcp:localhost:x", Error::BadPort("x".to_owned())),
            ("unix:/x,pretty=on", Error::UnknownOption("pretty=on".to_owned())),
            ("unix:/x,server=maybe", Error::NotABoolean("server".to_owned())),
            ("unix:/x,reconnect=5", Error::ReconnectOfServer),
            ("unix:/x,server=off,wait=off", Error::WaitOfClient),
            ("tcp:a:1,abstract=on", Error::OnlyUnix("abstract")),
            ("fd:x", Error::BadDescriptor("x".to_owned())),
        ];
        for (text, error) in refused {
            assert_eq!(Endpoint::parse(text), Err(error), "{text}");
        }
    }
}
