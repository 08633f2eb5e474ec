//! Descriptor sets: `add-fd`, `remove-fd`, `query-fdsets`, and the paths `/dev/fdset/N`.
//!
//! Sets belong to the process, not to a monitor. What makes them odd is when a descriptor goes: not when it is
//! removed, but when the VM runs and somebody looks. Clients see this in `query-fdsets`, so it is kept: a removed
//! descriptor is only marked, and is closed by the next clean-up that happens while the VM runs.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{OFlags, fcntl_getfl};
use rustix::io::fcntl_dupfd_cloexec;

use super::answer::QmpError;
use super::types::descriptor::{AddFdInfo, FdsetFdInfo, FdsetInfo};

#[derive(Debug)]
struct Member {
    descriptor: OwnedFd,
    opaque: Option<String>,
    removed: bool,
}

impl Member {
    fn describe(&self) -> FdsetFdInfo {
        FdsetFdInfo { fd: self.descriptor.as_raw_fd().into(), opaque: self.opaque.clone() }
    }
}

#[derive(Debug, Default)]
struct Set {
    members: Vec<Member>,
    /// Cloned into every duplicate: while one lives, the set does.
    lease: Arc<()>,
}

impl Set {
    fn has_duplicates(&self) -> bool {
        Arc::strong_count(&self.lease) > 1
    }
}

/// A duplicate from a set. Keeps the set alive, as an open duplicate does in QEMU.
#[derive(Debug)]
pub struct Duplicate {
    /// The descriptor.
    pub descriptor: OwnedFd,
    _lease: Arc<()>,
}

/// All sets of the process.
#[derive(Debug, Default)]
pub struct Fdsets {
    sets: BTreeMap<i64, Set>,
    vm_runs: bool,
}

impl Fdsets {
    /// Tells whether the VM runs: decides when removed descriptors are closed. Cleans nothing up by itself.
    pub fn set_vm_runs(&mut self, vm_runs: bool) {
        self.vm_runs = vm_runs;
    }

    /// `add-fd`, after the descriptor was taken from the client. Without an id, the lowest free one.
    ///
    /// # Errors
    /// A negative id.
    pub fn add(
        &mut self,
        descriptor: OwnedFd,
        id: Option<i64>,
        opaque: Option<String>,
    ) -> Result<AddFdInfo, QmpError> {
        let id = match id {
            Some(id) if id < 0 => return Err(QmpError::expects("fdset-id", "a non-negative value")),
            Some(id) => id,
            None => (0..i64::MAX).find(|id| !self.sets.contains_key(id)).unwrap_or(i64::MAX),
        };
        let fd = descriptor.as_raw_fd().into();
        let set = self.sets.entry(id).or_default();
        set.members.push(Member { descriptor, opaque, removed: false });
        Ok(AddFdInfo { fdset_id: id, fd })
    }

    /// `remove-fd`: one descriptor of a set, or all.
    ///
    /// # Errors
    /// No such set, or the descriptor is not in it.
    pub fn remove(&mut self, id: i64, number: Option<i64>) -> Result<(), QmpError> {
        let mut found = false;
        if let Some(set) = self.sets.get_mut(&id) {
            found = number.is_none();
            for member in &mut set.members {
                if number.is_none_or(|number| number == i64::from(member.descriptor.as_raw_fd())) {
                    member.removed = true;
                    found = true;
                }
            }
        }
        if !found {
            let number = number.map(|number| format!(", fd:{number}")).unwrap_or_default();
            return Err(QmpError::generic(format!(
                "File descriptor named 'fdset-id:{id}{number}' not found"
            )));
        }
        self.clean(id, false);
        Ok(())
    }

    /// `query-fdsets`: the highest id first, within a set the oldest first.
    #[must_use]
    pub fn query(&self) -> Vec<FdsetInfo> {
        let describe = |(id, set): (&i64, &Set)| FdsetInfo {
            fdset_id: *id,
            fds: set.members.iter().map(Member::describe).collect(),
        };
        self.sets.iter().rev().map(describe).collect()
    }

    /// Opens `/dev/fdset/ID`: a duplicate of the first descriptor with the wanted access mode.
    ///
    /// # Errors
    /// `ENOENT` without such a set, `EACCES` if no descriptor has that mode.
    pub fn open(&self, id: i64, mode: OFlags) -> io::Result<Duplicate> {
        let set = self.sets.get(&id).ok_or(rustix::io::Errno::NOENT)?;
        for member in &set.members {
            if fcntl_getfl(&member.descriptor)? & OFlags::RWMODE == mode & OFlags::RWMODE {
                let descriptor = fcntl_dupfd_cloexec(&member.descriptor, 0)?;
                return Ok(Duplicate { descriptor, _lease: Arc::clone(&set.lease) });
            }
        }
        Err(rustix::io::Errno::ACCESS.into())
    }

    /// The last client of all monitors has gone.
    pub(super) fn clients_gone(&mut self) {
        let ids: Vec<_> = self.sets.keys().copied().collect();
        for id in ids {
            self.clean(id, true);
        }
    }

    fn clean(&mut self, id: i64, no_clients: bool) {
        let Some(set) = self.sets.get_mut(&id) else { return };
        if self.vm_runs {
            let unused = no_clients && !set.has_duplicates();
            set.members.retain(|member| !member.removed && !unused);
        }
        if set.members.is_empty() && !set.has_duplicates() {
            self.sets.remove(&id);
        }
    }
}

#[cfg(test)]
mod test {
    use std::fs::File;

    use super::*;

    fn descriptor() -> OwnedFd {
        File::open("/dev/null").unwrap().into()
    }

    fn ids(sets: &Fdsets) -> Vec<i64> {
        sets.query().iter().map(|set| set.fdset_id).collect()
    }

    #[test]
    fn sets_get_the_lowest_free_id_and_are_listed_downwards() {
        let mut sets = Fdsets::default();
        sets.add(descriptor(), Some(1), None).unwrap();
        assert_eq!(sets.add(descriptor(), None, None).unwrap().fdset_id, 0);
        assert_eq!(sets.add(descriptor(), None, Some("x".to_owned())).unwrap().fdset_id, 2);
        assert_eq!(ids(&sets), [2, 1, 0]);
        assert_eq!(sets.query()[0].fds[0].opaque.as_deref(), Some("x"));
        assert_eq!(sets.query()[1].fds[0].opaque, None);
    }

    #[test]
    fn a_negative_id_is_refused() {
        let refusal = Fdsets::default().add(descriptor(), Some(-1), None).unwrap_err();
        assert_eq!(refusal.desc, "Parameter 'fdset-id' expects a non-negative value");
    }

    #[test]
    fn removal_waits_for_the_vm_to_run() {
        let mut sets = Fdsets::default();
        sets.add(descriptor(), Some(1), None).unwrap();
        sets.add(descriptor(), Some(2), None).unwrap();
        sets.remove(1, None).unwrap();
        assert_eq!(ids(&sets), [2, 1]);
        sets.set_vm_runs(true);
        assert_eq!(ids(&sets), [2, 1]);
        sets.remove(1, None).unwrap();
        assert_eq!(ids(&sets), [2]);
    }

    #[test]
    fn what_is_not_there_cannot_be_removed() {
        let mut sets = Fdsets::default();
        sets.add(descriptor(), Some(1), None).unwrap();
        let refusals = [(77, None), (1, Some(9999)), (77, Some(3))]
            .map(|(id, fd)| sets.remove(id, fd).unwrap_err().desc);
        assert_eq!(
            refusals,
            [
                "File descriptor named 'fdset-id:77' not found",
                "File descriptor named 'fdset-id:1, fd:9999' not found",
                "File descriptor named 'fdset-id:77, fd:3' not found",
            ]
        );
    }

    #[test]
    fn the_last_client_takes_unused_sets_of_a_running_vm_along() {
        let mut sets = Fdsets::default();
        sets.add(descriptor(), Some(1), None).unwrap();
        sets.add(descriptor(), Some(2), None).unwrap();
        let duplicate = sets.open(2, OFlags::RDONLY).unwrap();
        sets.clients_gone();
        assert_eq!(ids(&sets), [2, 1], "a stopped VM keeps all");
        sets.set_vm_runs(true);
        sets.clients_gone();
        assert_eq!(ids(&sets), [2], "a duplicate keeps its set");
        drop(duplicate);
        sets.clients_gone();
        assert!(ids(&sets).is_empty());
    }

    #[test]
    fn a_duplicate_has_the_access_mode_asked_for() {
        let mut sets = Fdsets::default();
        sets.add(descriptor(), Some(1), None).unwrap();
        assert!(sets.open(1, OFlags::RDONLY).is_ok());
        assert_eq!(sets.open(1, OFlags::RDWR).unwrap_err().raw_os_error(), Some(libc::EACCES));
        assert_eq!(sets.open(2, OFlags::RDONLY).unwrap_err().raw_os_error(), Some(libc::ENOENT));
    }
}
