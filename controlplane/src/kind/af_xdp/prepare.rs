//! Opening queues of an interface: program, sockets, and what the kernel agreed to.
//!
//! The program goes first, since without sockets it changes nothing: frames reach the host as before. A failure
//! anywhere drops the descriptors, and with them program, map and sockets are gone again.
//!
//! What the driver cannot do is done in the next best way, and told: in the port's description, which `status` and
//! the human monitor's `info network` show, and in the log.

use std::fmt::Write as _;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Instant;

use framewire_bpf::{Place, Program};
use framewire_shared::driver::{DriverOptions, XdpOptions};
use rustix::io::Errno;

use super::{Checked, Mode, Steering};
use crate::host::words;
use crate::host::xdp::{self, Bound};
use crate::kind::prepare::{Descriptors, Prepared, PreparedQueue};
use crate::qmp::answer::QmpError;
use crate::vault::Kept;

/// Opens what an AF_XDP netdev consists of.
pub(in crate::kind) fn prepare(
    checked: &Checked,
    descriptors: &mut dyn Descriptors,
) -> Result<Prepared, QmpError> {
    let ifname = &checked.ifname;
    let no_interface =
        |errno| QmpError::generic(format!("failed to get ifindex for '{ifname}': {}", words(errno)));
    let index = xdp::index_of(ifname).map_err(no_interface)?;
    let sockets = sockets(checked, descriptors)?;
    let steered = steer(checked, index)?;
    let mut queues = Vec::new();
    let busy_until = Instant::now() + xdp::BUSY_MAX;
    let mut description = steered.description;
    for (socket, number) in sockets.into_iter().zip(checked.start_queue..) {
        let may_share = !checked.force_copy && steered.may_share;
        let place = xdp::Place { interface: ifname, index, queue: number, busy_until };
        let queue = queue(checked, socket, place, may_share)?;
        if queues.is_empty() {
            tell_how(&mut description, checked, &queue);
        }
        if let Some(map) = &steered.map {
            let place = steered.first_place + (number - checked.start_queue);
            framewire_bpf::put_socket(map.as_fd(), place, queue.socket.as_fd())
                .map_err(|errno| failed("could not put a socket into the XDP map", checked, number, errno))?;
        }
        queues.push(queue.prepared());
    }
    // The first queue's driver keeps them: as long as it has them, the program stays.
    queues[0].descriptors.extend(steered.kept);
    log::info!("af-xdp: {description}");
    Ok(Prepared::netdev(queues, description))
}

/// The counters of our program, if the first queue of a port keeps them: socket and memory come first, then what
/// [`by_our_program`] keeps, in its order. Nothing else is added to a queue of this kind.
pub(crate) fn counters(first: &Kept) -> Option<BorrowedFd<'_>> {
    let [_socket, _memory, _link, _sockets, counters] = &first.descriptors[..] else { return None };
    matches!(first.build.options, DriverOptions::Xdp(_)).then(|| counters.as_fd())
}

fn sockets(checked: &Checked, descriptors: &mut dyn Descriptors) -> Result<Vec<OwnedFd>, QmpError> {
    if let Steering::Sockets(names) = &checked.steering {
        return names.iter().map(|name| descriptors.take(name)).collect();
    }
    let made = |number| {
        xdp::socket().map_err(|errno| failed("failed to create AF_XDP socket", checked, number, errno))
    };
    (0..checked.queues).map(|nth| made(checked.start_queue + nth)).collect()
}

/// Who brings frames to the sockets.
struct Steered {
    /// The map that sockets are put into, unless somebody else does that.
    map: Option<OwnedFd>,
    first_place: u32,
    /// What keeps the program where it is.
    kept: Vec<OwnedFd>,
    /// Whether the driver may be asked to use our memory.
    may_share: bool,
    description: String,
}

fn steer(checked: &Checked, index: u32) -> Result<Steered, QmpError> {
    let description = format!("ifname={}", checked.ifname);
    let by_others = Steered { map: None, first_place: 0, kept: Vec::new(), may_share: true, description };
    match &checked.steering {
        Steering::Sockets(_) => {
            Ok(Steered { description: by_others.description.clone() + ",inhibit=on", ..by_others })
        }
        Steering::Map { path, start_index } => {
            let map = framewire_bpf::pinned(Path::new(path)).map_err(|errno| {
                QmpError::generic(format!("could not open the XDP map '{path}': {}", words(errno)))
            })?;
            let description = format!("{},inhibit=on,map-path={path}", by_others.description);
            Ok(Steered { map: Some(map), first_place: *start_index, description, ..by_others })
        }
        Steering::OurProgram => by_our_program(checked, index, by_others),
    }
}

fn by_our_program(checked: &Checked, index: u32, steered: Steered) -> Result<Steered, QmpError> {
    let stations = (!checked.stations.is_empty()).then(|| checked.stations.iter().map(|mac| mac.0).collect());
    let stations: Option<Vec<[u8; 6]>> = stations;
    let program = Program::load(stations.as_deref()).map_err(|errno| {
        QmpError::generic(format!("could not load the XDP program: {}{}", words(errno), remedy(errno)))
    })?;
    let (link, place, why_not_driver) = attach(&program, checked, index)?;
    let mut description = steered.description;
    let mode = if place == Place::Driver { "native" } else { "skb" };
    let _ = write!(description, ",mode={mode}");
    if let Some(errno) = why_not_driver {
        let _ = write!(description, " (not native: {})", words(errno));
    }
    for station in stations.unwrap_or_default() {
        let [a, b, c, d, e, f] = station;
        let _ = write!(description, ",x-station={a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}");
    }
    let map = program.sockets.try_clone().map_err(|error| QmpError::generic(error.to_string()))?;
    Ok(Steered {
        map: Some(map),
        first_place: checked.start_queue,
        kept: vec![link, program.sockets, program.counters],
        may_share: place == Place::Driver,
        description,
    })
}

/// In the driver, unless told otherwise; where the driver cannot and nobody insists, in the stack.
fn attach(
    program: &Program,
    checked: &Checked,
    index: u32,
) -> Result<(OwnedFd, Place, Option<Errno>), QmpError> {
    let first = match checked.mode {
        Some(Mode::Skb) => Place::Stack,
        Some(Mode::Native) | None => Place::Driver,
    };
    let attached = match program.attach(index, first) {
        Err(errno) if errno != Errno::BUSY && checked.mode.is_none() => {
            program.attach(index, Place::Stack).map(|link| (link, Place::Stack, Some(errno)))
        }
        attached => attached.map(|link| (link, first, None)),
    };
    attached.map_err(|errno| {
        let ifname = &checked.ifname;
        let why = if errno == Errno::BUSY { occupied(program, checked, index) } else { remedy(errno).into() };
        QmpError::generic(format!("could not attach the XDP program to '{ifname}': {}{why}", words(errno)))
    })
}

fn occupied(program: &Program, checked: &Checked, index: u32) -> String {
    let ifname = &checked.ifname;
    let who = match program.occupant(index) {
        Some((number, name)) => format!("program {number} '{name}'"),
        None => "another program".to_owned(),
    };
    format!(
        " ({who} is there: take it off with `ip link set dev {ifname} xdp off` or end what holds it, or let it \
         steer frames to us with inhibit=on)"
    )
}

/// A bound socket.
struct Queue {
    socket: OwnedFd,
    memory: OwnedFd,
    bound: Bound,
    busy_poll: bool,
    /// The interface completes checksums; or why it does not, though it was asked for.
    tx_checksum: Result<bool, Errno>,
}

impl Queue {
    fn prepared(self) -> PreparedQueue {
        let options = XdpOptions {
            several_chunks: u32::from(self.bound.several_chunks),
            busy_poll: u32::from(self.busy_poll),
            completes_checksums: u32::from(self.tx_checksum == Ok(true)),
        };
        PreparedQueue { options: DriverOptions::Xdp(options), descriptors: vec![self.socket, self.memory] }
    }
}

fn queue(
    checked: &Checked,
    socket: OwnedFd,
    place: xdp::Place<'_>,
    may_share: bool,
) -> Result<Queue, QmpError> {
    let (memory, tx_checksum) = equip(checked, &socket)
        .map_err(|errno| failed("failed to create umem", checked, place.queue, errno))?;
    let busy_poll = interrupts_are_deferred(place.interface) && xdp::prefer_busy_poll(&socket).is_ok();
    let bound = xdp::bind(&socket, place, may_share)
        .map_err(|errno| failed("failed to create AF_XDP socket", checked, place.queue, errno))?;
    Ok(Queue { socket, memory, bound, busy_poll, tx_checksum })
}

/// With requests for the interface, if that was asked for and the kernel knows them.
fn equip(checked: &Checked, socket: &OwnedFd) -> Result<(OwnedFd, Result<bool, Errno>), Errno> {
    let why_not = match xdp::equip(socket, checked.tx_checksum) {
        Err(Errno::INVAL) if checked.tx_checksum => Errno::INVAL,
        equipped => return equipped.map(|memory| (memory, Ok(checked.tx_checksum))),
    };
    xdp::equip(socket, false).map(|memory| (memory, Err(why_not)))
}

/// Busy polling pays only where the operator has told the interface to wait with its interrupts; elsewhere they come
/// all the same, and each look through the kernel is lost time (on a veth: 1.16 instead of 1.41 million frames/s).
fn interrupts_are_deferred(ifname: &str) -> bool {
    let read = |name: &str| std::fs::read_to_string(format!("/sys/class/net/{ifname}/{name}"));
    let is_set = |name| read(name).is_ok_and(|text| text.trim() != "0");
    is_set("napi_defer_hard_irqs") && is_set("gro_flush_timeout")
}

fn tell_how(description: &mut String, checked: &Checked, queue: &Queue) {
    let on = |is_on| if is_on { "on" } else { "off" };
    let Checked { queues, start_queue, .. } = checked;
    let _ = write!(description, ",queues={queues},start-queue={start_queue}");
    let _ = write!(description, ",zero-copy={}", on(queue.bound.zero_copy));
    if let Some(errno) = queue.bound.why_copied {
        let _ = write!(description, " (the driver: {})", words(errno));
    }
    if !queue.bound.several_chunks {
        description.push_str(",jumbo=off");
    }
    let _ = write!(description, ",busy-poll={}", on(queue.busy_poll));
    match queue.tx_checksum {
        Ok(true) => description.push_str(",x-tx-checksum=on"),
        Ok(false) => {}
        Err(errno) => {
            let _ = write!(description, ",x-tx-checksum=off (the kernel: {})", words(errno));
        }
    }
}

fn failed(what: &str, checked: &Checked, number: u32, errno: Errno) -> QmpError {
    let ifname = &checked.ifname;
    let words = words(errno);
    QmpError::generic(format!("{what} for {ifname} queue_id: {number}: {words}{}", remedy(errno)))
}

/// Behind the kernel's words, for what only an operator can change.
fn remedy(errno: Errno) -> &'static str {
    match errno {
        Errno::PERM => {
            " (it needs CAP_NET_RAW, CAP_NET_ADMIN and CAP_BPF: give them to framewire, or pass sockets with \
             inhibit=on and sock-fds=)"
        }
        Errno::NOBUFS => {
            " (too little memory may be locked, 6 MiB a queue: raise it with `ulimit -l unlimited`, or \
             LimitMEMLOCK= of the service)"
        }
        Errno::OPNOTSUPP => " (the driver has no XDP: mode=skb works with any)",
        Errno::RANGE => " (the driver takes no such MTU with XDP: lower it, or use mode=skb)",
        _other => "",
    }
}
