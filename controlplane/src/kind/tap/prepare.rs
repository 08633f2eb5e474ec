//! Opening a tap: its descriptors, its script, what the kernel and we agree on.
//!
//! Frames keep their virtio-net header all the way, so that 64 KiB segments cross from tap to tap unsplit; where
//! the other side cannot take them, the data plane splits them. So each tap asks the kernel for all offloads that
//! it knows, whoever its peer is: nothing needs to be changed when it is joined with another.

use std::os::fd::{AsRawFd, OwnedFd};

use framewire_shared::driver::{DriverOptions, TapOptions};
use rustix::io::Errno;

use super::{Checked, Interface, Source, Vhost};
use crate::host::process::run_script;
use crate::host::tun::{self, Queue, Refusal, Wanted};
use crate::host::{vhost, words};
use crate::inventory::Farewell;
use crate::kind::bridge::prepare::by_helper;
use crate::kind::prepare::{Descriptors, Prepared, PreparedQueue, say};
use crate::qmp::answer::QmpError;

/// The device that makes the kernel move a tap's frames.
const VHOST_NET: &str = "/dev/vhost-net";

/// Opens what a tap consists of.
pub(in crate::kind) fn prepare(
    checked: Checked,
    descriptors: &mut dyn Descriptors,
) -> Result<Prepared, QmpError> {
    let Checked { source, sndbuf, vhost, poll_us } = checked;
    let (queues, info, farewell) = open(source, descriptors)?;
    let configured = queues.iter().try_for_each(|queue| configure(queue, sndbuf));
    let settled = configured.and(vhost).and_then(|vhost| settle_vhost(vhost, descriptors));
    if let Err(error) = settled {
        if let Some(farewell) = &farewell {
            say(farewell);
        }
        return Err(error);
    }
    let queues = queues.into_iter().map(prepared_queue).collect();
    Ok(Prepared { farewell, poll_us, ..Prepared::netdev(queues, info) })
}

/// A netdev of one tap that somebody else has made.
pub(in crate::kind) fn netdev(queue: Queue, info: String) -> Result<Prepared, QmpError> {
    configure(&queue, None)?;
    Ok(Prepared::netdev(vec![prepared_queue(queue)], info))
}

type Opened = (Vec<Queue>, String, Option<Farewell>);

fn open(source: Source, descriptors: &mut dyn Descriptors) -> Result<Opened, QmpError> {
    match source {
        Source::Fd(fd) => {
            let queue = given(&fd, descriptors)?;
            let info = format!("fd={}", queue.descriptor.as_raw_fd());
            Ok((vec![queue], info, None))
        }
        Source::Fds(fds) => {
            let queues = all_given(&fds, descriptors)?;
            Ok((queues, format!("fds={}", fds.join(":")), None))
        }
        Source::Helper { helper, bridge } => {
            let queue = by_helper(&helper, &bridge)?;
            Ok((vec![queue], format!("helper={helper}"), None))
        }
        Source::Interface(interface) => made(interface),
    }
}

fn given(fd: &str, descriptors: &mut dyn Descriptors) -> Result<Queue, QmpError> {
    adopted(descriptors.take(fd)?)
}

/// A tap that somebody else has made.
pub(in crate::kind) fn adopted(descriptor: OwnedFd) -> Result<Queue, QmpError> {
    let number = descriptor.as_raw_fd();
    tun::adopt(descriptor).map_err(|errno| {
        QmpError::generic(format!("Unable to query TUNGETIFF on FD {number}: {}", words(errno)))
    })
}

fn all_given(fds: &[String], descriptors: &mut dyn Descriptors) -> Result<Vec<Queue>, QmpError> {
    let mut queues: Vec<Queue> = Vec::with_capacity(fds.len());
    for fd in fds {
        let queue = given(fd, descriptors)?;
        if queues.first().is_some_and(|first| first.vnet_header != queue.vnet_header) {
            return Err(QmpError::generic("vnet_hdr not consistent across given tap fds"));
        }
        queues.push(queue);
    }
    Ok(queues)
}

/// Makes the interface, or joins one that exists. The script runs once, when the first queue is there.
fn made(interface: Interface) -> Result<Opened, QmpError> {
    let Interface { name, queues: count, vnet_hdr, script, downscript } = interface;
    let wanted = Wanted { interface: name.as_deref(), multi_queue: count > 1, vnet_header: vnet_hdr };
    let first = tun::open(wanted).map_err(|refusal| refused(refusal, name.as_deref()))?;
    let interface = first.interface.clone();
    if let Some(script) = &script {
        run_script(script, &interface).map_err(|status| {
            QmpError::generic(format!("network script {script} failed with status {status}"))
        })?;
    }
    let info = format!(
        "ifname={interface},script={},downscript={}",
        script.as_deref().unwrap_or("no"),
        downscript.as_deref().unwrap_or("no")
    );
    let farewell = downscript.map(|script| Farewell { script, interface: interface.clone() });
    let mut queues = vec![first];
    for _queue in 1..count {
        let wanted = Wanted { interface: Some(&interface), ..wanted };
        let next = tun::open(wanted).map_err(|refusal| {
            farewell.iter().for_each(say);
            refused(refusal, Some(&interface))
        })?;
        queues.push(next);
    }
    Ok((queues, info, farewell))
}

fn refused(refusal: Refusal, name: Option<&str>) -> QmpError {
    let name = name.map_or(String::new(), |name| format!(" ({name})"));
    let device = tun::DEVICE;
    QmpError::generic(match refusal {
        Refusal::Open(errno) => format!("could not open {device}: {}{}", words(errno), remedy(errno)),
        Refusal::NoVnetHeader => {
            "vnet_hdr=1 requested, but no kernel support for IFF_VNET_HDR available".to_owned()
        }
        Refusal::Configure(errno) => {
            format!("could not configure {device}{name}: {}{}", words(errno), remedy(errno))
        }
    })
}

/// Behind QEMU's words, for what only an operator can change.
fn remedy(errno: Errno) -> &'static str {
    match errno {
        Errno::PERM | Errno::ACCESS => {
            " (making an interface needs CAP_NET_ADMIN: give it to framewire, or pass a descriptor with fd=)"
        }
        Errno::NOENT | Errno::NODEV | Errno::NXIO => {
            " (load the driver with `modprobe tun`, or give the container the device)"
        }
        _other => "",
    }
}

fn configure(queue: &Queue, sndbuf: Option<i32>) -> Result<(), QmpError> {
    queue.agree_on_offloads().map_err(|errno| {
        QmpError::generic(format!("{}: virtio header and offloads: {}", queue.interface, words(errno)))
    })?;
    match (queue.set_send_buffer(sndbuf.unwrap_or(i32::MAX)), sndbuf) {
        (Err(_errno), Some(_asked_for)) => Err(QmpError::generic("TUNSETSNDBUF ioctl failed")),
        (_, _) => Ok(()),
    }
}

/// The data plane moves the frames itself, so the kernel's vhost is never used. Who forces it is told where it is
/// missing, as in QEMU; who only asks for it gets what QEMU should have done without it.
fn settle_vhost(vhost: Option<Vhost>, descriptors: &mut dyn Descriptors) -> Result<(), QmpError> {
    let Some(Vhost { fds, is_forced }) = vhost else { return Ok(()) };
    let checked = if fds.is_empty() { check_device() } else { check_given(&fds, descriptors)? };
    match checked {
        Err(error) if is_forced => Err(error),
        Err(error) => {
            log::warn!("vhost: {error}; frames are moved without it");
            Ok(())
        }
        Ok(()) => {
            log::info!("vhost: not used, frames are moved by the data plane");
            Ok(())
        }
    }
}

fn check_device() -> Result<(), QmpError> {
    let failed = |errno| QmpError::generic(format!("tap: open vhost char device failed: {}", words(errno)));
    vhost::open(VHOST_NET).map(drop).map_err(failed)
}

/// Whether what was given could be used. A number that is not open is a fault whoever forces what.
fn check_given(fds: &[String], descriptors: &mut dyn Descriptors) -> Result<Result<(), QmpError>, QmpError> {
    let is_number = |fd: &String| fd.starts_with(|first: char| first.is_ascii_digit());
    // All of them are taken, whatever the first is: a name that stayed would hold its descriptor for ever.
    let given: Vec<_> = fds.iter().map(|fd| (is_number(fd), descriptors.take(fd))).collect();
    let mut checked = Ok(());
    for (is_number, descriptor) in given {
        match descriptor {
            Ok(descriptor) if vhost::features(&descriptor).is_ok() => {}
            Ok(_other) => {
                checked = checked.and(Err("vhost-net requested but could not be initialized".to_owned()));
            }
            Err(error) if is_number => return Err(error),
            Err(error) => checked = checked.and(Err(error.desc)),
        }
    }
    Ok(checked.map_err(QmpError::generic))
}

fn prepared_queue(queue: Queue) -> PreparedQueue {
    let options = DriverOptions::Tap(TapOptions { vnet_header: u32::from(queue.vnet_header) });
    PreparedQueue { options, descriptors: vec![queue.descriptor] }
}
