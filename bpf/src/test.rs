use super::*;

const REDIRECT: u32 = 4;
const PASS: u32 = 2;
const OURS: [u8; 6] = [0x52, 0x54, 0, 1, 2, 3];

/// Programs are loaded by root. Whoever is not says so, and that nothing was tested.
fn may_load() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        let thread = std::thread::current();
        let line = format!("test {}: needs root\n", thread.name().unwrap_or("bpf"));
        let _ = std::io::Write::write_all(&mut std::io::stderr(), format!("SKIPPED: {line}").as_bytes());
        if let Some(path) = std::env::var_os("FRAMEWIRE_SKIPPED") {
            let mut file = std::fs::File::options().append(true).open(path).unwrap();
            std::io::Write::write_all(&mut file, line.as_bytes()).unwrap();
        }
    }
    is_root
}

fn socket() -> OwnedFd {
    use rustix::net::{AddressFamily, SocketFlags, SocketType};
    rustix::net::socket_with(AddressFamily::XDP, SocketType::RAW, SocketFlags::CLOEXEC, None).unwrap()
}

fn frame_to(address: [u8; 6]) -> Vec<u8> {
    let mut frame = address.to_vec();
    frame.extend([2, 0, 0, 0, 0, 9, 8, 0]);
    frame.resize(64, 0);
    frame
}

fn verdict(program: &Program, address: [u8; 6]) -> u32 {
    calls::run(program.program.as_fd(), &frame_to(address)).unwrap()
}

fn counted(program: &Program) -> [u64; 3] {
    Counter::ALL.map(|counter| frames(program.counters.as_fd(), counter).unwrap())
}

#[test]
fn queue_without_a_socket_is_the_hosts() {
    if !may_load() {
        return;
    }
    let program = Program::load(None).unwrap();
    assert_eq!(verdict(&program, OURS), PASS);
    assert_eq!(counted(&program), [0, 1, 0]);
}

#[test]
fn queue_with_a_socket_is_ours_until_the_socket_is_closed() {
    if !may_load() {
        return;
    }
    let program = Program::load(None).unwrap();
    let socket = socket();
    put_socket(program.sockets.as_fd(), 0, socket.as_fd()).unwrap();
    assert_eq!([verdict(&program, OURS), verdict(&program, [0xff; 6])], [REDIRECT, REDIRECT]);
    drop(socket);
    assert_eq!(verdict(&program, OURS), PASS);
    assert_eq!(counted(&program), [2, 1, 0]);
}

#[test]
fn on_a_shared_interface_only_our_stations_frames_are_ours() {
    if !may_load() {
        return;
    }
    let program = Program::load(Some(&[[2; 6], OURS])).unwrap();
    let socket = socket();
    put_socket(program.sockets.as_fd(), 0, socket.as_fd()).unwrap();
    assert_eq!(verdict(&program, OURS), REDIRECT);
    for other in [[0xff; 6], [0x52, 0x54, 0, 1, 2, 4], [0x33, 0x33, 0, 0, 0, 1]] {
        assert_eq!(verdict(&program, other), PASS, "{other:x?}");
    }
    assert_eq!(counted(&program), [1, 0, 3]);
}

#[test]
fn places_past_the_map_and_other_sockets_are_refused() {
    if !may_load() {
        return;
    }
    let program = Program::load(None).unwrap();
    let refused = put_socket(program.sockets.as_fd(), SOCKETS_MAX, socket().as_fd());
    assert_eq!(refused, Err(Errno::TOOBIG));
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    assert_eq!(put_socket(program.sockets.as_fd(), 0, udp.as_fd()), Err(Errno::OPNOTSUPP));
}
