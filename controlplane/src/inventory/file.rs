//! The inventory on disk: what a next control plane reads when this one was killed.
//!
//! **Problem.** `kill -9` may hit in the middle of a write.
//!
//! **Rejected.** Write beside and rename: sound, but each change would make and remove a directory entry, and a
//! half-written file is indistinguishable from a foreign one. A journal: replaying needs the code of every
//! command for ever.
//!
//! **Chosen.** Two files, written alternately and whole, each with a generation, its length and a checksum in its
//! first line. A torn one does not check; the other is then the last whole one. A change is saved before it is
//! carried out, and mirrored to the other file before it is answered ([`InventoryFile::mirror`]), so what was answered
//! survives the loss of either. Nothing is synced: the directory is `/run`, which lives as long as the processes do.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::{Inventory, json};

const MAGIC: &str = "framewire-inventory-1";

/// The two files of one runtime directory.
#[derive(Debug)]
pub struct InventoryFile {
    directory: PathBuf,
    generation: u64,
    /// What was saved and not mirrored yet.
    unmirrored: Option<String>,
}

impl InventoryFile {
    /// Reads the last whole inventory, if there is one, and will write to the other file next.
    #[must_use]
    pub fn open(directory: &Path) -> (Self, Option<Inventory>) {
        let last =
            (0..2).filter_map(|at| read(&path(directory, at))).max_by_key(|(generation, _)| *generation);
        let generation = last.as_ref().map_or(0, |(generation, _inventory)| *generation);
        let file = InventoryFile { directory: directory.to_owned(), generation, unmirrored: None };
        (file, last.map(|(_generation, inventory)| inventory))
    }

    /// Writes the inventory to the file that does not hold the last one.
    ///
    /// # Errors
    /// As the file system says; the last one is untouched.
    pub fn save(&mut self, inventory: &Inventory) -> io::Result<()> {
        let body = json::to_json(inventory).to_string();
        self.write(&body)?;
        self.unmirrored = Some(body);
        Ok(())
    }

    /// Writes what was saved last to the other file as well.
    ///
    /// # Errors
    /// As the file system says.
    pub fn mirror(&mut self) -> io::Result<()> {
        self.unmirrored.take().map_or(Ok(()), |body| self.write(&body))
    }

    fn write(&mut self, body: &str) -> io::Result<()> {
        let generation = self.generation + 1;
        overwrite(&path(&self.directory, generation), encode(generation, body).as_bytes())?;
        self.generation = generation;
        Ok(())
    }

    /// Removes both, at a clean end.
    pub fn remove(&self) {
        for at in 0..2 {
            // What is not there needs no removing.
            let _ = fs::remove_file(path(&self.directory, at));
        }
    }
}

fn path(directory: &Path, generation: u64) -> PathBuf {
    directory.join(format!("inventory.{}", generation % 2))
}

/// In place, and cut to length afterwards: a small file is whole at every moment.
fn overwrite(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(false).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.set_len(bytes.len() as u64)
}

fn encode(generation: u64, body: &str) -> String {
    format!("{MAGIC} {generation} {} {:016x}\n{body}", body.len(), checksum(generation, body.as_bytes()))
}

fn read(path: &Path) -> Option<(u64, Inventory)> {
    let text = fs::read_to_string(path).ok()?;
    let decoded = decode(&text);
    if decoded.is_none() {
        log::warn!("{}: torn or foreign, not used", path.display());
    }
    decoded
}

fn decode(text: &str) -> Option<(u64, Inventory)> {
    let (head, rest) = text.split_once('\n')?;
    let [magic, generation, bytes, sum] = head.split(' ').collect::<Vec<_>>()[..] else { return None };
    let generation: u64 = generation.parse().ok()?;
    // What is behind it is of an older and longer one.
    let body = rest.get(..bytes.parse().ok()?)?;
    let sum = u64::from_str_radix(sum, 16).ok()?;
    if magic != MAGIC || sum != checksum(generation, body.as_bytes()) {
        return None;
    }
    let inventory = json::from_json(&serde_json::from_str(body).ok()?)?;
    Some((generation, inventory))
}

/// FNV-1a: detects what was cut off or mixed up, which is all that happens to a file nobody else may write.
fn checksum(generation: u64, body: &[u8]) -> u64 {
    let bytes = generation.to_le_bytes().into_iter().chain(body.iter().copied());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::inventory::test::{hubport, netdev};

    fn sample() -> Inventory {
        let mut inventory = Inventory::default();
        inventory.add(netdev("n0", 4)).unwrap();
        inventory.add(hubport("h0", -3, Some("n0"))).unwrap();
        inventory.set_link("n0", false).unwrap();
        inventory.keep_workers(|key| Some(u32::try_from(key).unwrap()));
        inventory
    }

    fn directory(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("framewire-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        path
    }

    #[test]
    fn inventory_comes_back_as_saved() {
        let directory = directory("saved");
        let (mut file, nothing) = InventoryFile::open(&directory);
        assert_eq!(nothing, None);
        file.save(&Inventory::default()).unwrap();
        file.save(&sample()).unwrap();
        assert_eq!(InventoryFile::open(&directory).1, Some(sample()));
        file.remove();
        assert_eq!(InventoryFile::open(&directory).1, None);
        fs::remove_dir(&directory).unwrap();
    }

    #[test]
    fn remains_of_a_longer_one_are_ignored() {
        let text = encode(3, &json::to_json(&sample()).to_string()) + "}]}";
        assert_eq!(decode(&text), Some((3, sample())));
    }

    #[test]
    fn mirrored_inventory_survives_the_loss_of_either_file() {
        let directory = directory("mirrored");
        let (mut file, _nothing) = InventoryFile::open(&directory);
        file.save(&Inventory::default()).unwrap();
        for lost in [1, 2] {
            file.save(&sample()).unwrap();
            file.mirror().unwrap();
            fs::write(path(&directory, lost), "framewire").unwrap();
            assert_eq!(InventoryFile::open(&directory).1, Some(sample()));
        }
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn torn_file_is_noticed_and_the_other_used() {
        let directory = directory("torn");
        let (mut file, _nothing) = InventoryFile::open(&directory);
        file.save(&Inventory::default()).unwrap();
        file.save(&sample()).unwrap();
        let whole = fs::read(path(&directory, 2)).unwrap();
        for bytes in [0, 1, 30, whole.len() / 2, whole.len() - 1] {
            fs::write(path(&directory, 2), &whole[..bytes]).unwrap();
            let (mut file, last) = InventoryFile::open(&directory);
            assert_eq!(last, Some(Inventory::default()), "{bytes} bytes");
            file.save(&sample()).unwrap();
            assert_eq!(InventoryFile::open(&directory).1, Some(sample()), "the torn one is overwritten");
        }
        fs::remove_dir_all(&directory).unwrap();
    }
}
