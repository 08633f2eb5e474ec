//! Descriptors that a client named with `getfd`, and the two ways in which an option may mean a descriptor.
//!
//! Each monitor has its own table, which outlives its clients: a new connection may close or use what an earlier
//! one named. Proxmox opens a connection for each batch and needs this.

use std::collections::HashMap;
use std::io;
use std::os::fd::{OwnedFd, RawFd};

use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

use super::answer::QmpError;

/// The `getfd` names of one monitor.
#[derive(Debug, Default)]
pub struct Names {
    descriptors: HashMap<String, OwnedFd>,
}

impl Names {
    /// `getfd`. A name that is in use is given to the new descriptor and the old one is closed (Kata calls the
    /// descriptors of every NIC `fd0`).
    ///
    /// # Errors
    /// A name that begins with a digit could never be used: options take it for a number.
    pub fn insert(&mut self, name: &str, descriptor: OwnedFd) -> Result<(), QmpError> {
        if starts_with_digit(name) {
            return Err(QmpError::expects("fdname", "a name not starting with a digit"));
        }
        self.descriptors.insert(name.to_owned(), descriptor);
        Ok(())
    }

    /// `closefd`.
    ///
    /// # Errors
    /// No such name.
    pub fn close(&mut self, name: &str) -> Result<(), QmpError> {
        match self.descriptors.remove(name) {
            Some(_) => Ok(()),
            None => Err(QmpError::generic(format!("File descriptor named '{name}' not found"))),
        }
    }

    /// Uses a name up, for an option of a netdev.
    ///
    /// # Errors
    /// No such name; the text differs from that of `closefd`.
    pub fn take(&mut self, name: &str) -> Result<OwnedFd, QmpError> {
        self.descriptors
            .remove(name)
            .ok_or_else(|| QmpError::generic(format!("File descriptor named '{name}' has not been found")))
    }
}

/// What an option of kind descriptor means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning<'a> {
    /// The number of a descriptor of this process: inherited, or the answer of `add-fd`.
    Number(RawFd),
    /// A name given with `getfd`.
    Name(&'a str),
}

/// What the text of an option means: what begins with a digit is a number.
///
/// # Errors
/// It begins like a number and is none.
pub fn meaning(text: &str) -> Result<Meaning<'_>, QmpError> {
    if !starts_with_digit(text) {
        return Ok(Meaning::Name(text));
    }
    match text.parse() {
        Ok(number) => Ok(Meaning::Number(number)),
        Err(_) => Err(QmpError::generic(format!("Invalid file descriptor number '{text}'"))),
    }
}

/// A duplicate of a descriptor of this process that is known only by its number.
///
/// The number comes from outside, so nothing says that it is open or whose it is. The kernel is asked through a
/// handle of this process, as any other process would have to: no assumption is made that could be wrong.
///
/// # Errors
/// `EBADF` if the number is not open.
pub fn duplicate(number: RawFd) -> io::Result<OwnedFd> {
    let this_process = pidfd_open(getpid(), PidfdFlags::empty())?;
    Ok(pidfd_getfd(this_process, number, PidfdGetfdFlags::empty())?)
}

fn starts_with_digit(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit())
}

#[cfg(test)]
mod test {
    use std::fs::File;
    use std::os::fd::AsRawFd;

    use super::*;

    fn descriptor() -> OwnedFd {
        File::open("/dev/null").unwrap().into()
    }

    #[test]
    fn a_name_used_again_closes_the_older_descriptor() {
        let (reader, writer) = io::pipe().unwrap();
        let mut names = Names::default();
        names.insert("/dev/net/tun.0", writer.into()).unwrap();
        names.insert("/dev/net/tun.0", descriptor()).unwrap();
        assert_eq!(io::read_to_string(reader).unwrap(), "", "the pipe has no writer any more");
        names.take("/dev/net/tun.0").unwrap();
        assert!(names.take("/dev/net/tun.0").is_err());
    }

    #[test]
    fn the_three_refusals_are_worded_differently() {
        let mut names = Names::default();
        let digit = names.insert("0a", descriptor()).unwrap_err();
        assert_eq!(digit.desc, "Parameter 'fdname' expects a name not starting with a digit");
        assert_eq!(names.close("x").unwrap_err().desc, "File descriptor named 'x' not found");
        assert_eq!(names.take("x").unwrap_err().desc, "File descriptor named 'x' has not been found");
    }

    #[test]
    fn an_option_is_a_number_or_a_name() {
        assert_eq!(meaning("12"), Ok(Meaning::Number(12)));
        assert_eq!(meaning("fd0"), Ok(Meaning::Name("fd0")));
        assert_eq!(meaning("9x").unwrap_err().desc, "Invalid file descriptor number '9x'");
        assert_eq!(meaning("99999999999").unwrap_err().desc, "Invalid file descriptor number '99999999999'");
    }

    #[test]
    fn a_number_is_duplicated_only_if_it_is_open() {
        let open = descriptor();
        assert_ne!(duplicate(open.as_raw_fd()).unwrap().as_raw_fd(), open.as_raw_fd());
        assert_eq!(duplicate(1_000_000).unwrap_err().raw_os_error(), Some(libc::EBADF));
    }
}
