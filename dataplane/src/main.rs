//! `framewire-dataplane`: started by the control plane with one socket, and nothing else.
//!
//! Reads like its life: welcomed, isolated, at work.

use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::process::ExitCode;

use framewire_dataplane::crew::{Crew, Premises, Unable};
use framewire_dataplane::foreman::{Belongings, Foreman};
use framewire_dataplane::isolate;
use framewire_dataplane::virtqueue::cut;
use framewire_shared::handover::{self, Message, Step, WELCOME_DESCRIPTORS, Walls, Welcome};
use framewire_shared::region::{Mapping, Region};

/// Where the control plane puts the handover socket.
const HANDOVER: i32 = 3;

fn main() -> ExitCode {
    // SAFETY: whoever starts this program passes the socket under this number; nothing else here uses it. If
    // somebody started it by hand, the number is closed, and `receive` says so.
    let control = unsafe { OwnedFd::from_raw_fd(HANDOVER) };
    let Ok((Message::Welcome(welcome), descriptors)) = handover::receive(&control) else {
        return ExitCode::from(2); // Not started by a control plane of this version.
    };
    // From now on the foreman sleeps elsewhere.
    let _ = rustix::io::ioctl_fionbio(&control, true);
    match settle_in(welcome, descriptors) {
        Ok((walls, belongings, premises, crew)) => {
            if handover::send(&control, &Message::Ready(walls), &[]).is_err() {
                return ExitCode::from(2);
            }
            Foreman::new(control, belongings, premises, crew).run()
        }
        Err(Unable { step, errno }) => {
            let _ = handover::send(&control, &Message::Unable(step, errno), &[]);
            ExitCode::FAILURE
        }
    }
}

type Settled = (Walls, Belongings, Premises, Crew);

/// Everything up to the first frame.
fn settle_in(welcome: Welcome, mut descriptors: Vec<OwnedFd>) -> Result<Settled, Unable> {
    if descriptors.len() != WELCOME_DESCRIPTORS + welcome.workers as usize {
        return Err(Unable { step: Step::Regions, errno: libc::EBADMSG });
    }
    let doorbells = descriptors.split_off(WELCOME_DESCRIPTORS);
    let descriptors: &'static [OwnedFd] = descriptors.leak();
    let premises = Premises {
        config: region(Mapping::read_only(&descriptors[0]))?,
        status: region(Mapping::writable(&descriptors[1]))?,
        control: descriptors[2].as_fd(),
        foreman: descriptors[3].as_fd(),
    };
    premises.status.workers.iter().chain([&premises.status.foreman]).for_each(|line| line.clear());
    let isolation = |errno| Unable::from_errno(Step::Isolation, errno);
    let walls = isolate::give_up_privileges().map_err(isolation)?;
    cut::install().map_err(|error| Unable::from_io(Step::Memory, &error))?;
    let crew = Crew::start(&welcome, premises, doorbells)?;
    isolate::shut_the_door().map_err(|_refused| isolation(rustix::io::Errno::NOSYS))?;
    Ok((walls, Belongings { welcome, descriptors }, premises, crew))
}

/// A region for the life of the process.
fn region<T: Region>(
    mapped: Result<Mapping<T>, framewire_shared::region::RegionError>,
) -> Result<&'static T, Unable> {
    let mapping = mapped.map_err(|_error| Unable { step: Step::Regions, errno: libc::EBADMSG })?;
    Ok(Box::leak(Box::new(mapping)))
}
