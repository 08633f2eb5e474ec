use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::thread;

use framewire_shared::driver::DriverOptions;
use framewire_shared::handover::{self, Build, Message, Step, Welcome};
use framewire_shared::region::{Mapping, Status};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::pipe::PipeFlags;

use super::*;
use crate::dataplane::Attached;
use crate::dataplane::equipment::Equipment;
use crate::host::process::Process;
use crate::inventory::NewPort;
use crate::inventory::file::InventoryFile;
use crate::inventory::test::{hubport, netdev};
use crate::supervisor::Supervisor;
use crate::vault::Vault;

/// The counter slot that the foreman of these tests refuses to build.
const CURSED_SLOT: u32 = 2;

struct Stage {
    network: Network,
    /// What the foreman was asked for, in order.
    asked: mpsc::Receiver<Message>,
    folder: PathBuf,
}

impl Stage {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("framewire-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let equipment = Equipment::create(Welcome::new(&[0]), &folder.join("socket")).unwrap();
        let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
        let (ours, theirs) = rustix::net::socketpair(family, kind, SocketFlags::CLOEXEC, None).unwrap();
        let status = Mapping::<Status>::writable(&equipment.descriptors()[1].try_clone_to_owned().unwrap());
        let (tell, asked) = mpsc::channel();
        let status = status.unwrap();
        thread::spawn(move || foreman(&theirs, &status, &tell));
        let process = Process::find(rustix::process::getpid()).unwrap();
        let supervisor =
            Supervisor::adopting(PathBuf::from("/bin/false"), equipment, Attached::found(process, ours));
        let (file, _nothing) = InventoryFile::open(&folder);
        let network = Network::with(supervisor, file, Inventory::default(), Vault::default());
        Stage { network, asked, folder }
    }

    /// Adds a port whose queues have a pipe's end each; its other ends come back.
    fn add(&mut self, new: NewPort) -> (Result<(), Error>, Vec<OwnedFd>) {
        let mut next = self.network.inventory().clone();
        let port = next.add(new).unwrap();
        let (mut kept, mut others) = (Vec::new(), Vec::new());
        for queue in &port.queues {
            let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).unwrap();
            let options = DriverOptions::Null;
            let (queue, counter_slot) = (queue.key, queue.counter_slot);
            let build = Build { queue, counter_slot, counters_go_on: false, options };
            kept.push(Kept { build, descriptors: vec![writer] });
            others.push(reader);
        }
        (self.network.commit(next, kept), others)
    }

    fn remove(&mut self, id: &str) {
        let mut next = self.network.inventory().clone();
        next.remove_backend(id).unwrap();
        self.network.commit(next, Vec::new()).unwrap();
    }

    fn ids(&self) -> Vec<&str> {
        self.network.inventory().ports().iter().map(|port| port.id.as_str()).collect()
    }

    fn written_down(&self) -> Inventory {
        InventoryFile::open(&self.folder).1.unwrap_or_default()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.folder).unwrap();
    }
}

/// Answers as the real one does, and acknowledges every plan at once.
fn foreman(socket: &OwnedFd, status: &Mapping<Status>, tell: &mpsc::Sender<Message>) {
    rustix::io::ioctl_fionbio(socket, true).unwrap();
    loop {
        match handover::receive(socket) {
            Ok((message, _descriptors)) => {
                let _ = tell.send(message);
                let answer = answer(message);
                handover::send(socket, &answer, &[]).unwrap();
            }
            Err(handover::HandoverError::Gone) => return,
            Err(_nothing_yet) => {}
        }
        for line in [&status.foreman, &status.workers[0]] {
            let line = line.get();
            // Newer than any generation of a test: whatever is published has been seen.
            line.seen.store(u64::MAX, Ordering::Release);
            line.quiesced.store(u64::MAX, Ordering::Release);
        }
        thread::sleep(std::time::Duration::from_millis(1));
    }
}

fn answer(message: Message) -> Message {
    if let Message::Discard(key) = message {
        return Message::Discarded(key);
    }
    let Message::Build(build) = message else { panic!("not a request: {message:?}") };
    if build.counter_slot == CURSED_SLOT {
        return Message::Failed(build.queue, Step::Queue, libc::EMFILE);
    }
    Message::Built(build.queue)
}

fn is_closed_elsewhere(reader: &OwnedFd) -> bool {
    rustix::io::ioctl_fionbio(reader, true).unwrap();
    // A child that another test forks holds everything until it executes its program.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(1);
    loop {
        if rustix::io::read(reader, &mut [0_u8; 1]) == Ok(0) {
            return true;
        }
        if std::time::Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

#[test]
fn accepted_change_is_in_the_inventory_the_file_and_the_vault() {
    let mut stage = Stage::new("accepted");
    let (done, others) = stage.add(netdev("n0", 2));
    done.unwrap();
    assert_eq!(stage.ids(), ["n0"]);
    assert_eq!(&stage.written_down(), stage.network.inventory());
    assert_eq!(stage.network.vault().iter().count(), 2);
    assert!(!is_closed_elsewhere(&others[0]));
    stage.remove("n0");
    assert!(stage.ids().is_empty() && stage.written_down().ports().is_empty());
    assert!(others.iter().all(is_closed_elsewhere), "the vault keeps nothing of it");
}

#[test]
fn queue_that_the_inventory_does_not_know_is_let_go_of() {
    let mut stage = Stage::new("unknown");
    let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).unwrap();
    let build = Build { queue: 9, counter_slot: 0, counters_go_on: false, options: DriverOptions::Null };
    stage.network.vault.keep([Kept { build, descriptors: vec![writer] }]);
    // As after an adoption: the same inventory is published once more.
    stage.network.commit(stage.network.inventory().clone(), Vec::new()).unwrap();
    assert!(is_closed_elsewhere(&reader));
}

#[test]
fn refused_queue_takes_its_whole_port_back() {
    let mut stage = Stage::new("refused");
    let (done, others) = stage.add(netdev("n0", 4));
    let error = done.unwrap_err().to_string();
    assert_eq!(
        error,
        "the data plane cannot take the queue: Too many open files (too many descriptors: raise `ulimit -n`)"
    );
    assert!(stage.ids().is_empty());
    assert_eq!(stage.network.vault().iter().count(), 0);
    assert!(others.iter().all(is_closed_elsewhere));
    let asked: Vec<Message> = stage.asked.try_iter().collect();
    let keys = |wanted: fn(&Message) -> Option<u64>| asked.iter().filter_map(wanted).collect::<Vec<u64>>();
    let built = keys(|message| if let Message::Build(build) = message { Some(build.queue) } else { None });
    let discarded = keys(|message| if let Message::Discard(key) = message { Some(*key) } else { None });
    assert_eq!(built, discarded, "what was built is given up again");
    // The foreman has seen the keys.
    stage.add(netdev("n1", 1)).0.unwrap();
    let key = stage.network.inventory().ports()[0].queues[0].key;
    assert!(!built.contains(&key));
}

#[test]
fn without_a_data_plane_wiring_goes_on_and_queues_are_refused_with_the_reason() {
    let mut stage = Stage::new("down");
    stage.add(netdev("n0", 1)).0.unwrap();
    let equipment = Equipment::create(Welcome::new(&[0]), &stage.folder.join("other")).unwrap();
    stage.network.supervisor = Supervisor::new(PathBuf::from("/nowhere/framewire-dataplane"), equipment);
    let refused = stage.add(netdev("n1", 1)).0.unwrap_err().to_string();
    assert!(refused.starts_with("the data plane is not running: /nowhere/framewire-dataplane"), "{refused}");
    stage.add(hubport("h0", 0, Some("n0"))).0.unwrap();
    stage.remove("n0");
    assert_eq!(stage.ids(), ["h0"]);
    assert_eq!(&stage.written_down(), stage.network.inventory());
}
