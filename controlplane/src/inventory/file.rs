//! The inventory on disk: what a next control plane reads when this one was killed.
//!
//! **Problem.** `kill -9` may hit in the middle of a write; and a change of one port among a thousand must not cost a
//! thousand.
//!
//! **Rejected.** Write beside and rename: sound, but each change would make and remove a directory entry, and a
//! half-written file is indistinguishable from a foreign one. A journal: replaying needs the code of every
//! command for ever.
//!
//! **Chosen.** Two files, written alternately and whole, each with a generation, its length and a checksum in its
//! first line. A torn one does not check; the other is then the last whole one. A change is saved before it is
//! carried out, and mirrored to the other file before it is answered ([`InventoryFile::mirror`]), so what was answered
//! survives the loss of either. Nothing is synced: the directory is `/run`, which lives as long as the processes do.
//! Each port has a line of its own, which is kept here and made again only when the port has changed: of the time that
//! a change took with two thousand ports, four fifths went into making all lines again.

mod lines;

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use self::lines::{Lines, Sum};
use super::{Inventory, json};

const MAGIC: &str = "framewire-inventory-2";

/// The two files of one runtime directory.
#[derive(Debug)]
pub struct InventoryFile {
    directory: PathBuf,
    generation: u64,
    lines: Lines,
    /// What was saved last, and its sum.
    body: String,
    sum: Sum,
    /// It was not mirrored yet.
    is_alone: bool,
}

impl InventoryFile {
    /// Reads the last whole inventory, if there is one, and will write to the other file next.
    #[must_use]
    pub fn open(directory: &Path) -> (Self, Option<Inventory>) {
        let last =
            (0..2).filter_map(|at| read(&path(directory, at))).max_by_key(|(generation, _)| *generation);
        let generation = last.as_ref().map_or(0, |(generation, _inventory)| *generation);
        let (directory, lines, body) = (directory.to_owned(), Lines::default(), String::new());
        let file = InventoryFile { directory, generation, lines, body, sum: Sum::default(), is_alone: false };
        (file, last.map(|(_generation, inventory)| inventory))
    }

    /// Writes the inventory to the file that does not hold the last one.
    ///
    /// # Errors
    /// As the file system says; the last one is untouched.
    pub fn save(&mut self, inventory: &Inventory) -> io::Result<()> {
        self.sum = self.lines.write(inventory, &mut self.body);
        self.is_alone = true;
        self.write()
    }

    /// Writes what was saved last to the other file as well.
    ///
    /// # Errors
    /// As the file system says.
    pub fn mirror(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.is_alone) { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> io::Result<()> {
        let generation = self.generation + 1;
        let head = head(generation, self.body.len(), self.sum);
        overwrite(&path(&self.directory, generation), &head, &self.body)?;
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
fn overwrite(path: &Path, head: &str, body: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(false).mode(0o600).open(path)?;
    file.write_all(head.as_bytes())?;
    file.write_all(body.as_bytes())?;
    file.set_len((head.len() + body.len()) as u64)
}

fn head(generation: u64, bytes: usize, sum: Sum) -> String {
    format!("{MAGIC} {generation} {bytes} {:016x}\n", sum.and_number(generation).value())
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
    let (first, rest) = text.split_once('\n')?;
    let [MAGIC, generation, bytes, _sum] = first.split(' ').collect::<Vec<_>>()[..] else { return None };
    let generation: u64 = generation.parse().ok()?;
    // What is behind it is of an older and longer one.
    let body = rest.get(..bytes.parse().ok()?)?;
    if head(generation, body.len(), lines::sum(body)).trim_end() != first {
        return None;
    }
    let lines: Option<Vec<_>> = body.lines().map(|line| serde_json::from_str(line).ok()).collect();
    Some((generation, json::from_lines(&lines?)?))
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
        let mut body = String::new();
        let sum = Lines::default().write(&sample(), &mut body);
        let text = head(3, body.len(), sum) + &body;
        assert_eq!(decode(&(text + "}]}\n{}")), Some((3, sample())));
    }

    /// Lines that are kept must never differ from what would be written anew.
    #[test]
    fn kept_lines_follow_every_change() {
        let mut inventory = sample();
        let (mut kept, mut body, mut anew) = (Lines::default(), String::new(), String::new());
        for change in 0..6 {
            match change {
                1 => inventory.set_link("n0", true).unwrap(),
                2 => drop(inventory.add(netdev("n1", 1)).unwrap()),
                3 => drop(inventory.remove_backend("h0").unwrap()),
                4 => inventory.keep_workers(|_key| None),
                5 => drop(inventory.remove_backend("n0").unwrap()),
                _nothing => {}
            }
            let sum = kept.write(&inventory, &mut body);
            assert_eq!(sum, Lines::default().write(&inventory, &mut anew), "change {change}");
            assert_eq!((&body, sum), (&anew, lines::sum(&body)), "change {change}");
            let text = head(1, body.len(), sum) + &body;
            assert_eq!(decode(&text), Some((1, inventory.clone())), "change {change}");
        }
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
