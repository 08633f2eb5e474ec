//! The data plane as a process, and its control plane's side of it.

#![allow(dead_code, reason = "each test program needs another part of it")]

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use framewire_shared::counters::DropReason;
use framewire_shared::driver::DriverOptions;
use framewire_shared::handover::{self, ANY_CPU, Build, Message, Welcome};
use framewire_shared::plan::{End, Section};
use framewire_shared::publish::{Publisher, Sound};
use framewire_shared::region::{Config, Mapping, Status, read_only_description};
use rustix::event::EventfdFlags;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

/// A data plane with `WORKERS` workers, and all that its control plane holds.
pub(crate) struct Plane {
    pub(crate) child: Child,
    pub(crate) control: OwnedFd,
    pub(crate) listener: SocketAddrUnix,
    pub(crate) config: Mapping<Config>,
    pub(crate) status: Mapping<Status>,
    pub(crate) doorbells: Vec<OwnedFd>,
    regions: [OwnedFd; 2],
}

pub(crate) const WORKERS: usize = 2;

pub(crate) fn eventfd() -> OwnedFd {
    rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).unwrap()
}

pub(crate) fn socket() -> OwnedFd {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap()
}

fn spawn(handover: &OwnedFd) -> Child {
    let number = handover.as_raw_fd();
    let mut command = Command::new(env!("CARGO_BIN_EXE_framewire-dataplane"));
    let place = move || {
        // SAFETY: `number` is open in the parent, and nobody in the child uses 3.
        let placed = unsafe { libc::dup2(number, 3) };
        if placed == 3 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
    };
    // SAFETY: dup2 is all that happens between fork and exec, and may happen there.
    unsafe { command.pre_exec(place) };
    command.spawn().unwrap()
}

impl Plane {
    pub(crate) fn start(name: &str) -> Plane {
        let regions = [Mapping::<Config>::create().unwrap(), Mapping::<Status>::create().unwrap()];
        Plane::start_with(name, regions)
    }

    /// Ends this one as abruptly as can be, and starts another with the same regions.
    pub(crate) fn replace(&mut self, name: &str) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let regions = self.regions.each_ref().map(|region| region.try_clone().unwrap());
        *self = Plane::start_with(name, regions);
    }

    fn start_with(name: &str, regions: [OwnedFd; 2]) -> Plane {
        let flags = SocketFlags::CLOEXEC;
        let (control, theirs) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
        let child = spawn(&theirs);
        let [config, status] = &regions;
        let (listener, address) = (socket(), format!("framewire-test-{name}-{}", std::process::id()));
        let address = SocketAddrUnix::new_abstract_name(address.as_bytes()).unwrap();
        rustix::net::bind(&listener, &address).unwrap();
        rustix::net::listen(&listener, 1).unwrap();
        let doorbells: Vec<_> = (0..WORKERS + 2).map(|_| eventfd()).collect();
        let config_read_only = read_only_description(config).unwrap();
        let mut descriptors = vec![config_read_only.as_fd(), status.as_fd(), doorbells[0].as_fd()];
        descriptors.extend([doorbells[1].as_fd(), listener.as_fd()]);
        descriptors.extend(doorbells[2..].iter().map(AsFd::as_fd));
        let welcome = Message::Welcome(Welcome::new(&[ANY_CPU; WORKERS]));
        handover::send(&control, &welcome, &descriptors).unwrap();
        let plane = Plane {
            child,
            control,
            listener: address,
            config: Mapping::writable(config).unwrap(),
            status: Mapping::read_only(status).unwrap(),
            doorbells,
            regions,
        };
        let (answer, _none) = handover::receive(&plane.control).unwrap();
        assert!(matches!(answer, Message::Ready(_)), "{answer:?}");
        plane
    }

    pub(crate) fn ask(&self, message: Message) -> Message {
        handover::send(&self.control, &message, &[]).unwrap();
        handover::receive(&self.control).unwrap().0
    }

    pub(crate) fn build(&self, queue: u64) -> Message {
        self.build_from(queue, DriverOptions::Null, &[])
    }

    pub(crate) fn build_from(&self, queue: u64, options: DriverOptions, descriptors: &[OwnedFd]) -> Message {
        let counter_slot = u32::try_from(queue).unwrap();
        let build = Message::Build(Build { queue, counter_slot, counters_go_on: false, options });
        let descriptors: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
        handover::send(&self.control, &build, &descriptors).unwrap();
        handover::receive(&self.control).unwrap().0
    }

    /// Publishes, and waits until all of it is in effect.
    pub(crate) fn publish(&self, sections: &mut [Section]) -> u64 {
        let mut publisher = Publisher::<Sound>::new(&self.config.generation.0);
        let readers = || self.status.workers[..WORKERS].iter().chain([&self.status.foreman]);
        // Those that have just started have not looked yet.
        while !readers().all(|line| line.get().has_seen::<Sound>(publisher.current())) {
            std::thread::sleep(Duration::from_micros(200));
        }
        let generation = publisher
            .publish(readers().map(|line| line.get()), |slot, generation| {
                sections.iter_mut().for_each(|section| section.revision = generation);
                self.config.slots[slot].write(sections);
            })
            .unwrap();
        for doorbell in &self.doorbells[1..] {
            rustix::io::write(doorbell, &1u64.to_ne_bytes()).unwrap();
        }
        self.wait(generation);
        generation
    }

    pub(crate) fn wait(&self, generation: u64) {
        let deadline = Instant::now() + Duration::from_secs(5);
        while !self.status.foreman.get().has_quiesced::<Sound>(generation) {
            assert!(Instant::now() < deadline, "generation {generation} is not in effect");
            std::thread::sleep(Duration::from_micros(200));
        }
    }

    pub(crate) fn proc(&self, file: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.child.id())).unwrap()
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Two queues that face each other.
pub(crate) fn cable(left: u64, right: u64) -> Section {
    wire(&[left, right], 50)
}

/// Queues that all hear each other.
pub(crate) fn wire(queues: &[u64], poll_us: u32) -> Section {
    let mut section = Section::default();
    let ends = (0..).zip(queues).map(|(side, queue)| End { queue: *queue, side, poll_us });
    section.add_wire(DropReason::NoPeer, ends);
    section
}
