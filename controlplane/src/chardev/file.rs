//! Character devices on disk: what a next control plane makes again when this one was killed.
//!
//! Nobody carries frames over a character device, so there is nothing to keep but how each was asked for. A list is
//! written beside the old one and takes its place at once. A device whose descriptor was given cannot be made again: the
//! descriptor is gone with the process.

use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::qmp::qapi::{Dialect, Place, QapiType as _};
use crate::qmp::types::chardev::ChardevAdd;

/// The file of one runtime directory.
#[derive(Debug)]
pub struct ChardevFile {
    path: PathBuf,
}

impl ChardevFile {
    /// The one at this path, whether it exists or not.
    #[must_use]
    pub fn at(path: PathBuf) -> Self {
        ChardevFile { path }
    }

    /// Writes the whole list.
    ///
    /// # Errors
    /// As the file system says; the old list is still there.
    pub fn save<'a>(&self, chardevs: impl Iterator<Item = &'a ChardevAdd>) -> io::Result<()> {
        let list: Vec<Value> = chardevs.map(|chardev| chardev.print()).collect();
        let beside = self.path.with_extension("new");
        let saved = std::fs::write(&beside, Value::from(list).to_string())
            .and_then(|()| std::fs::rename(&beside, &self.path));
        if saved.is_err() {
            // What is not there needs no removing.
            let _ = std::fs::remove_file(&beside);
        }
        saved
    }

    /// What was saved; nothing if there is no such file, or none of ours.
    #[must_use]
    pub fn read(path: &Path) -> Vec<ChardevAdd> {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let list: Vec<Value> = serde_json::from_str(&text).unwrap_or_default();
        let visit = |value: &Value| ChardevAdd::visit(&Place::root(value, Dialect::Json)).ok();
        list.iter().filter_map(visit).collect()
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn a_list_comes_back_as_saved() {
        let path = std::env::temp_dir().join(format!("framewire-chardevs-{}", std::process::id()));
        let file = ChardevFile::at(path.clone());
        let texts =
            ["socket,id=a,path=/x,server=on,wait=off", "socket,id=b,host=h,port=1,reconnect=2", "null,id=c"];
        let list = texts.map(|text| ChardevAdd::from_option(text).unwrap());
        file.save(list.iter()).unwrap();
        assert_eq!(ChardevFile::read(&path), list);
        std::fs::write(&path, "[{}").unwrap();
        assert_eq!(ChardevFile::read(&path), []);
        std::fs::remove_file(&path).unwrap();
    }
}
