//! Character devices: what their options say together, and how the command line writes them.
//!
//! On the command line a socket's address is spread over the option's keys, next to everything else
//! (`socket,id=c0,path=/x,server=on`), and `server` is off by default where the monitor has it on. The option is
//! rewritten into the monitor's form and read as that, so that there is one definition of a character device.

pub mod attempt;
pub mod file;
pub mod held;
pub mod remote;

use serde_json::{Map, Value};

use crate::qmp::answer::QmpError;
use crate::qmp::json;
use crate::qmp::qapi::options::Opts;
use crate::qmp::qapi::{Dialect, Place, QapiType};
use crate::qmp::types::chardev::{ChardevAdd, ChardevBackend, ChardevCommon, ChardevSocket};
use crate::qmp::types::socket_address::SocketAddress;

/// A character device that can be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Checked {
    /// Takes everything, gives nothing.
    Null,
    /// A stream socket.
    Socket(Socket),
}

/// A stream socket that can be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Socket {
    /// Where it listens or connects to.
    pub address: SocketAddress,
    /// Who begins.
    pub role: Role,
    /// Whether small pieces are sent at once.
    pub nodelay: bool,
}

/// Who begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Listens.
    Server {
        /// Whether the command waits for the first client.
        waits: bool,
    },
    /// Connects.
    Client {
        /// After how long a lost connection is tried again; None never, and then a failure is one of the command.
        reconnect_ms: Option<u64>,
    },
}

impl ChardevAdd {
    /// Checks what the options say together, in QEMU's order and words. That the id is taken comes before.
    pub fn check(&self) -> Result<Checked, QmpError> {
        let checked = match &self.backend {
            ChardevBackend::Null(null) => check_common(&null.data).map(|()| Checked::Null),
            ChardevBackend::Socket(socket) => check_socket(&socket.data).map(Checked::Socket),
        };
        checked.map_err(|why| self.failure(&why))
    }

    /// Any failure after the id was found to be free, as the client reads it.
    pub fn failure(&self, why: &str) -> QmpError {
        QmpError::generic(format!("Failed to add chardev '{}': {why}", self.id))
    }

    /// Reads a `--chardev` option: JSON in the monitor's form, or QEMU's flat form.
    pub fn from_option(text: &str) -> Result<Self, QmpError> {
        if text.starts_with('{') {
            let value = json::from_text(text).map_err(QmpError::generic)?;
            return Self::visit(&Place::root(&value, Dialect::Json));
        }
        let value = nested(Opts::parse(text, "backend"))?;
        Self::visit(&Place::root(&value, Dialect::Opts))
    }
}

fn check_common(common: &ChardevCommon) -> Result<(), String> {
    if common.logfile.is_some() { Err("'logfile' option is not supported".to_owned()) } else { Ok(()) }
}

fn check_socket(socket: &ChardevSocket) -> Result<Socket, String> {
    // There are none, since no object of that kind can be made.
    if let Some(credentials) = &socket.tls_creds {
        return Err(format!("No TLS credentials with id '{credentials}'"));
    }
    let address = SocketAddress::from(socket.addr.clone());
    let reconnects = socket.reconnect.is_some() || socket.reconnect_ms.is_some();
    if matches!(address, SocketAddress::Fd(_)) && reconnects {
        return Err("'reconnect' option is incompatible with 'fd' address type".to_owned());
    }
    if socket.tls_authz.is_some() {
        return Err("'tls_authz' option requires 'tls_creds' option".to_owned());
    }
    let role = if socket.server.unwrap_or(true) { server(socket) } else { client(socket) }?;
    check_supported(socket)?;
    Ok(Socket { address, role, nodelay: socket.nodelay == Some(true) })
}

fn server(socket: &ChardevSocket) -> Result<Role, String> {
    if socket.reconnect.is_some() || socket.reconnect_ms.is_some() {
        return Err("'reconnect' option is incompatible with socket in server listen mode".to_owned());
    }
    Ok(Role::Server { waits: socket.wait.unwrap_or(false) })
}

fn client(socket: &ChardevSocket) -> Result<Role, String> {
    if socket.websocket == Some(true) {
        return Err("Websocket client is not implemented".to_owned());
    }
    if socket.wait.is_some() {
        return Err("'wait' option is incompatible with socket in client connect mode".to_owned());
    }
    if socket.reconnect.is_some() && socket.reconnect_ms.is_some() {
        return Err("'reconnect' and 'reconnect-ms' are mutually exclusive".to_owned());
    }
    let seconds_in_ms = socket.reconnect.map(|seconds| seconds.saturating_mul(1000));
    let reconnect_ms = seconds_in_ms.or(socket.reconnect_ms).and_then(|ms| u64::try_from(ms).ok());
    Ok(Role::Client { reconnect_ms: reconnect_ms.filter(|ms| *ms > 0) })
}

/// What makes sense for terminals only.
fn check_supported(socket: &ChardevSocket) -> Result<(), String> {
    let options = [("telnet", socket.telnet), ("tn3270", socket.tn3270), ("websocket", socket.websocket)];
    if let Some((name, _)) = options.iter().find(|(_, value)| *value == Some(true)) {
        return Err(format!("'{name}' option is not supported"));
    }
    check_common(&ChardevCommon { logfile: socket.logfile.clone(), logappend: socket.logappend })
}

/// Rewrites the flat form into the monitor's.
fn nested(mut opts: Opts) -> Result<Value, QmpError> {
    let id = opts.take("id").ok_or_else(|| QmpError::generic("chardev: no id specified"))?;
    let missing = || QmpError::generic(format!("chardev: \"{id}\" missing backend"));
    let backend = opts.take("backend").ok_or_else(missing)?;
    let address = if backend == "socket" { Some(address(&mut opts)?) } else { None };
    if address.is_some() {
        opts = with_defaults(opts);
    }
    let mut data = opts.into_value();
    if let (Some(address), Some(data)) = (address, data.as_object_mut()) {
        data.insert("addr".to_owned(), address);
    }
    Ok(object([
        ("id", Value::from(id)),
        ("backend", object([("type", Value::from(backend)), ("data", data)])),
    ]))
}

/// Takes the keys that belong to the address out of the option.
fn address(opts: &mut Opts) -> Result<Value, QmpError> {
    let given = ["path", "fd", "host"].iter().filter(|key| opts.get(key).is_some()).count();
    if given > 1 {
        return Err(QmpError::generic("None or one of 'path', 'fd' or 'host' option required."));
    }
    let (family, keys): (&str, &[(&str, &str)]) = if opts.get("path").is_some() {
        ("unix", &[("path", "path"), ("abstract", "abstract"), ("tight", "tight")])
    } else if opts.get("fd").is_some() {
        ("fd", &[("fd", "str")])
    } else {
        if opts.get("port").is_none() {
            return Err(QmpError::generic("chardev: socket: no port given"));
        }
        if opts.get("host").is_none() {
            opts.set("host", "");
        }
        let keys = &[("host", "host"), ("port", "port"), ("to", "to"), ("ipv4", "ipv4"), ("ipv6", "ipv6")];
        ("inet", keys)
    };
    let mut data = Map::new();
    for (key, member) in keys {
        if let Some(value) = opts.take(key) {
            data.insert((*member).to_owned(), Value::from(value));
        }
    }
    Ok(object([("type", Value::from(family)), ("data", Value::Object(data))]))
}

/// What the command line has otherwise than the monitor.
fn with_defaults(mut opts: Opts) -> Opts {
    if opts.get("server").is_none() {
        opts.set("server", "off");
    }
    if let Some(delay) = opts.take("delay") {
        opts.set("nodelay", if delay == "off" { "on" } else { "off" });
    }
    opts
}

fn object<const N: usize>(members: [(&str, Value); N]) -> Value {
    Value::Object(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

#[cfg(test)]
mod test {
    use serde_json::json;

    use super::*;

    fn add(data: &Value) -> ChardevAdd {
        let value = json!({"id": "c0", "backend": {"type": "socket", "data": data}});
        ChardevAdd::visit(&Place::root(&value, Dialect::Json)).unwrap()
    }

    fn refusal(data: &Value) -> String {
        let desc = add(data).check().unwrap_err().desc;
        desc.strip_prefix("Failed to add chardev 'c0': ").unwrap().to_owned()
    }

    #[test]
    fn options_of_the_other_role_are_refused() {
        let unix = json!({"type": "unix", "data": {"path": "/x"}});
        assert_eq!(
            refusal(&json!({"addr": unix, "server": false, "wait": true})),
            "'wait' option is incompatible with socket in client connect mode"
        );
        assert_eq!(
            refusal(&json!({"addr": unix, "reconnect": 1})),
            "'reconnect' option is incompatible with socket in server listen mode"
        );
        assert_eq!(
            refusal(&json!({"addr": {"type": "fd", "data": {"str": "0"}}, "reconnect": 1})),
            "'reconnect' option is incompatible with 'fd' address type"
        );
        assert_eq!(refusal(&json!({"addr": unix, "telnet": true})), "'telnet' option is not supported");
        assert_eq!(refusal(&json!({"addr": unix, "tls-creds": "c"})), "No TLS credentials with id 'c'");
        assert_eq!(
            refusal(&json!({"addr": unix, "server": false, "websocket": true})),
            "Websocket client is not implemented"
        );
    }

    #[test]
    fn the_flat_form_is_the_same_device() {
        let path = ChardevAdd::from_option("socket,id=c0,path=/a,,b,server=on,wait=off").unwrap();
        let unix = json!({"type": "unix", "data": {"path": "/a,b"}});
        assert_eq!(path, add(&json!({"addr": unix, "server": true, "wait": false})));
        let host = ChardevAdd::from_option("socket,id=c0,host=h,port=1,reconnect=5,delay=off").unwrap();
        let inet = json!({"type": "inet", "data": {"host": "h", "port": "1"}});
        assert_eq!(host, add(&json!({"addr": inet, "server": false, "reconnect": 5, "nodelay": true})));
    }

    #[test]
    fn faults_of_the_flat_form_are_named() {
        let desc = |text: &str| ChardevAdd::from_option(text).unwrap_err().desc;
        assert_eq!(desc("socket,path=/x"), "chardev: no id specified");
        assert_eq!(desc("id=c0"), "chardev: \"c0\" missing backend");
        assert_eq!(desc("socket,id=c0"), "chardev: socket: no port given");
        assert_eq!(desc("socket,id=c0,path=/x,bogus=1"), "Invalid parameter 'bogus'");
        assert_eq!(desc("pty,id=c0"), "Parameter 'type' does not accept value 'pty'");
        assert_eq!(
            desc("socket,id=c0,path=/x,fd=3"),
            "None or one of 'path', 'fd' or 'host' option required."
        );
    }
}
