//! Descriptors that clients pass: by name, and in sets.

use crate::qmp::qapi::define::object;

object! {
    /// Arguments of `getfd` and `closefd`.
    pub struct FdName {
        /// Its name.
        fdname: String,
    }
}

object! {
    /// Arguments of `add-fd`.
    pub struct AddFd {
        /// The set; a new one if absent.
        fdset_id as "fdset-id": Option<i64>,
        /// A note.
        opaque: Option<String>,
    }
}

object! {
    /// What `add-fd` returns.
    pub struct AddFdInfo {
        /// The set.
        fdset_id as "fdset-id": i64,
        /// The descriptor's number in this process.
        fd: i64,
    }
}

object! {
    /// Arguments of `remove-fd`.
    pub struct RemoveFd {
        /// The set.
        fdset_id as "fdset-id": i64,
        /// One of its descriptors; all if absent.
        fd: Option<i64>,
    }
}

object! {
    /// One set in `query-fdsets`.
    pub struct FdsetInfo {
        /// The set.
        fdset_id as "fdset-id": i64,
        /// What is in it.
        fds: Vec<FdsetFdInfo>,
    }
}

object! {
    /// One descriptor of a set.
    pub struct FdsetFdInfo {
        /// Its number in this process.
        fd: i64,
        /// The note that came with it.
        opaque: Option<String>,
    }
}
