//! A front end and a driver that we did not write: QEMU's vhost-user, and the network boot in its firmware.
//!
//! Its ROM brings the NIC up by itself and asks for an address, so no guest needs to be booted. QEMU's own processor is
//! enough; without vectors, since QEMU 7.2 ends when it has vhost-user, vectors and no KVM.

use std::os::unix::net::UnixListener;

use framewire_shared::handover::Message;
use framewire_shared::happenings::HappeningKind;
use framewire_shared::session::SessionEnd;
use framewire_tests::need;
use framewire_tests::process::{Process, command};

use crate::stage::{Stage, Vaulted, shape, until};

const ADDRESS: [u8; 6] = [0x52, 0x54, 0, 0x11, 0x22, 0x33];
/// The header before each frame has ten bytes, or twelve.
const GENERATIONS: [(&str, &str); 2] = [("legacy", "disable-modern=on"), ("modern", "disable-legacy=on")];

fn qemu(socket: &str, generation: &str) -> Process {
    Process::start(command(&format!(
        "qemu-system-x86_64 -nodefaults -display none -machine q35,accel=tcg,memory-backend=mem -m 128 \
         -object memory-backend-memfd,id=mem,size=128M,share=on -chardev socket,id=c,path={socket} \
         -netdev vhost-user,id=n,chardev=c -boot n \
         -device virtio-net-pci,netdev=n,mac=52:54:00:11:22:33,vectors=0,{generation}"
    )))
}

/// Whether this is a guest that asks for an address.
fn is_discover(frame: &[u8]) -> bool {
    frame.len() > 42 && frame[..6] == [0xff; 6] && frame[6..12] == ADDRESS && frame[34..38] == [0, 68, 0, 67]
}

#[test]
fn firmware_of_qemu_asks_for_an_address_before_and_after_the_data_plane_is_killed() {
    need!("qemu-system-x86_64");
    for (name, generation) in GENERATIONS {
        let mut stage = Stage::new(&format!("qemu-{name}"), [shape(false); 2]);
        assert_eq!(stage.plane.ask(Message::Part(11)), Message::Parted(11));
        stage.machines[1].start();
        let path =
            format!("{}/framewire-front-{}-{name}", std::env::temp_dir().display(), std::process::id());
        let listener = UnixListener::bind(&path).unwrap();
        let guest = qemu(&path, generation);
        let (connection, _address) = listener.accept().unwrap();
        std::fs::remove_file(&path).unwrap();
        let mut session = Vaulted::of(20, 1, connection);
        session.serve.mac = ADDRESS;
        assert_eq!(session.hand_over(&stage.plane), Message::Serving(20));
        stage.sessions[0] = session;
        for round in 0..2 {
            until("the firmware asks", || stage.machines[1].frames().iter().any(|frame| is_discover(frame)));
            assert!(guest.is_running(), "{}", guest.log());
            if round == 0 {
                stage.replace_plane(&format!("qemu-{name}-2"));
            }
        }
        drop(guest);
        until("its end is told", || {
            stage.happening().is_some_and(|happening| {
                let of_session = (happening.queue, happening.detail) == (20, SessionEnd::HungUp as u64);
                happening.kind == HappeningKind::SessionEnded && of_session
            })
        });
    }
}
