//! The host's resources: each privileged or peculiar system call, wrapped small, with a safe signature.
//!
//! Nothing in here knows QMP, kinds or ports.

pub mod bridge;
pub mod descriptors;
pub mod group;
pub mod helper;
pub mod lookup;
pub mod notify;
pub mod process;
pub mod runtime_dir;
pub mod signals;
pub mod socket;
pub mod stream_socket;
pub mod tun;
pub mod vde;
pub mod vhost;
pub mod vsock;
pub mod well;
pub mod xdp;

use rustix::io::Errno;

/// What the kernel said, in the words of C's `strerror`: QEMU's error texts end in them.
#[must_use]
pub fn words(errno: Errno) -> String {
    let text = std::io::Error::from(errno).to_string();
    match text.rsplit_once(" (os error ") {
        Some((words, _number)) => words.to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn words_are_those_of_strerror() {
        assert_eq!(words(Errno::PERM), "Operation not permitted");
        assert_eq!(words(Errno::NOENT), "No such file or directory");
    }
}
