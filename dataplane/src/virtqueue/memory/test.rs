use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

use super::*;

const PAGE: u64 = 4096;

fn file(len: u64) -> OwnedFd {
    let file = memfd_create("test", MemfdFlags::CLOEXEC).unwrap();
    ftruncate(&file, len).unwrap();
    file
}

fn region(guest: u64, user: u64, len: u64, offset: u64) -> RegionLayout {
    RegionLayout { guest, user, len, offset }
}

#[test]
fn address_is_translated_in_every_region_and_nowhere_else() {
    let file = file(16 * PAGE);
    let (low, high) =
        (region(0, 1 << 40, PAGE, 4 * PAGE), region(4 * PAGE, 2 << 40, 2 * PAGE, 8 * PAGE + 512));
    let memory = Memory::map([(high, &file), (low, &file)]).unwrap();
    let whole = Memory::map([(region(0, 0, 16 * PAGE, 0), &file)]).unwrap();
    let mut all = Translator::new(whole);
    all.segment(4 * PAGE + 7, 3).unwrap().write(0, b"low");
    all.segment(8 * PAGE + 512 + 9, 4).unwrap().write(0, b"high");
    let mut translator = Translator::new(Arc::clone(&memory));
    for _again in 0..2 {
        assert_eq!(translator.segment(7, 3).unwrap().load(), Some(*b"low"));
        assert_eq!(translator.segment(4 * PAGE + 9, 4).unwrap().load(), Some(*b"high"));
    }
    for (address, len) in
        [(0, 4097), (PAGE - 1, 2), (PAGE, 1), (4 * PAGE - 1, 2), (6 * PAGE, 1), (u64::MAX, 1), (7, u32::MAX)]
    {
        assert!(translator.segment(address, len).is_none(), "{len} bytes at {address:#x}");
    }
    assert!(memory.of_user(2 << 40, 8192).is_some());
    assert!(memory.of_user((2 << 40) + 1, 8192).is_none());
    assert!(memory.of_user(3, 1).is_none());
}

#[test]
fn table_that_is_none_is_refused_whole() {
    let file = file(4 * PAGE);
    let good = region(0, 1 << 40, PAGE, 0);
    let refused = |bad: RegionLayout| Memory::map([(good, &file), (bad, &file)]).err();
    let at = 8 * PAGE;
    let cases = [
        (region(at, at, 0, 0), MemoryFault::Extent, "no bytes"),
        (region(u64::MAX, at, PAGE, 0), MemoryFault::Extent, "guest address wraps"),
        (region(at, u64::MAX - 5, PAGE, 0), MemoryFault::Extent, "front end's address wraps"),
        (region(at, at, PAGE, u64::MAX - 5), MemoryFault::Extent, "offset wraps"),
        (region(at, at, PAGE, 3 * PAGE + 1), MemoryFault::FileTooShort, "a byte too many"),
        (region(at, at, 1 << 50, 0), MemoryFault::FileTooShort, "far too many"),
        (region(PAGE - 1, at, PAGE, 0), MemoryFault::Overlap, "guest addresses overlap"),
        (region(at, (1 << 40) - 1, PAGE, 0), MemoryFault::Overlap, "front end's addresses overlap"),
    ];
    for (bad, fault, why) in cases {
        assert_eq!(refused(bad), Some(fault), "{why}");
    }
    let many = (0..=REGIONS_MAX as u64).map(|n| (region(n * PAGE, n * PAGE, PAGE, 0), &file));
    assert_eq!(Memory::map(many).err(), Some(MemoryFault::TooMany));
}

#[test]
fn what_is_no_file_is_refused() {
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    let directory = rustix::fs::open("/", rustix::fs::OFlags::RDONLY, rustix::fs::Mode::empty()).unwrap();
    for descriptor in [reader, writer, directory] {
        let layout = region(0, 0, PAGE, 0);
        assert_eq!(Memory::map([(layout, &descriptor)]).err(), Some(MemoryFault::NotAFile));
    }
    // Sealed against writing: it can be mapped to be read only, and that is no use.
    let sealed = memfd_create("test", MemfdFlags::ALLOW_SEALING).unwrap();
    ftruncate(&sealed, PAGE).unwrap();
    rustix::fs::fcntl_add_seals(&sealed, rustix::fs::SealFlags::WRITE).unwrap();
    let refused = Memory::map([(region(0, 0, PAGE, 0), &sealed)]).err();
    assert!(matches!(refused, Some(MemoryFault::Kernel(_))), "{refused:?}");
}

#[test]
fn file_that_is_cut_short_ends_its_memory_and_no_other() {
    cut::install().unwrap();
    let (victim, bystander) = (file(4 * PAGE), file(4 * PAGE));
    let [mut cut_one, mut other] = [&victim, &bystander]
        .map(|file| Translator::new(Memory::map([(region(0, 0, 4 * PAGE, 0), file)]).unwrap()));
    let [first, last] = [0, 3 * PAGE].map(|at| cut_one.segment(at, 4096).unwrap());
    first.write(0, b"guest");
    other.segment(0, 5).unwrap().write(0, b"other");
    assert!(cut_one.is_whole() && other.is_whole());
    ftruncate(&victim, PAGE).unwrap();
    // This access would have ended the process.
    assert_eq!(last.load(), Some([0; 8]));
    assert_eq!(first.load(), Some([0; 5]), "all of it is replaced");
    last.write(0, b"and may be written");
    assert!(!cut_one.is_whole());
    assert!(other.is_whole());
    assert_eq!(other.segment(0, 5).unwrap().load(), Some(*b"other"));
}
