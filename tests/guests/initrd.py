#!/usr/bin/env python3
"""Makes what a test's guest boots of an unpacked Debian kernel: a flat kernel, and an initramfs with the modules that it
needs, busybox, and a few of this machine's programs with their libraries.

    initrd.py KERNEL-FOLDER BUSYBOX OUT-FOLDER

The kernel is taken out of its self-extracting image, which saves the guest the second that it takes to unpack itself;
modules are stored unpacked, with the list of dependencies that the package does not ship. Python's own library is enough.
"""

import lzma
import os
import pathlib
import shutil
import stat
import struct
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent

# Loaded at boot, in this order; those that are built in are skipped.
MODULES = ["virtio_pci", "virtio_console", "virtio_net", "af_packet"]
# There for those who load them.
AT_HAND = ["l2tp_eth", "l2tp_ip", "l2tp_ip6"]
# dash: busybox's own shell prefers its applets to programs of the same name.
PROGRAMS = ["dash", "ip", "ethtool"]


class Archive:
    """A cpio archive as the kernel unpacks it."""

    def __init__(self, out):
        self.out, self.number, self.folders = out, 0, set()

    def entry(self, name, mode, data=b"", device=(0, 0)):
        self.number += 1
        path = name.encode() + b"\0"
        fields = (self.number, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(path), 0)
        head = b"070701" + b"".join(b"%08X" % field for field in fields) + path
        self.out.write(head + b"\0" * (-len(head) % 4) + data + b"\0" * (-len(data) % 4))

    def folder(self, path):
        path = path.strip("/")
        if path and path not in self.folders:
            self.folder(os.path.dirname(path))
            self.folders.add(path)
            self.entry(path, stat.S_IFDIR | 0o755)

    def file(self, path, data, mode=0o755):
        self.folder(os.path.dirname(path))
        self.entry(path.strip("/"), stat.S_IFREG | mode, data)

    def link(self, path, target):
        self.folder(os.path.dirname(path))
        self.entry(path.strip("/"), stat.S_IFLNK | 0o777, target.encode())

    def console(self):
        self.folder("dev")
        self.entry("dev/console", stat.S_IFCHR | 0o600, device=(5, 1))

    def close(self):
        self.entry("TRAILER!!!", 0)


class Modules:
    """The modules of an unpacked kernel."""

    def __init__(self, kernel):
        folders = [path for base in ("usr/lib/modules", "lib/modules") for path in kernel.glob(base + "/*")]
        self.folder = next(path for path in folders if (path / "kernel").is_dir())
        self.files = {path.name.split(".ko")[0].replace("-", "_"): path for path in self.folder.rglob("*.ko*")}

    def read(self, name):
        path = self.files[name]
        raw = path.read_bytes()
        if path.suffix == ".xz":
            return lzma.decompress(raw)
        if path.suffix == ".zst":
            return subprocess.run(["zstd", "-dc", path], check=True, capture_output=True).stdout
        return raw

    def needs(self, name):
        """The modules that one needs, directly."""
        named = [text[8:] for text in information(self.read(name)) if text.startswith("depends=")]
        needed = [part.replace("-", "_") for text in named for part in text.split(",") if part]
        return [part for part in needed if part in self.files]

    def with_needs(self, names):
        """These, each after what it needs."""
        order = []

        def visit(name):
            if name in self.files and name not in order:
                for needed in self.needs(name):
                    visit(needed)
                order.append(name)

        for name in names:
            visit(name)
        return order


def information(module):
    """The texts of a module's .modinfo section."""
    (table,) = struct.unpack_from("<Q", module, 0x28)
    size, count, names = struct.unpack_from("<HHH", module, 0x3A)
    sections = [struct.unpack_from("<IIQQQQ", module, table + place * size) for place in range(count)]
    for name, _kind, _flags, _address, offset, length in sections:
        if module[sections[names][4] + name :].startswith(b".modinfo\0"):
            return module[offset : offset + length].decode().split("\0")
    return []


def libraries(program):
    """What a program is linked with."""
    listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    for line in listed.splitlines():
        yield from [word for word in line.split() if word.startswith("/")][:1]


def add_programs(archive, busybox):
    there = set()
    for name in PROGRAMS:
        program = shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin")
        archive.file("/sbin/" + name, pathlib.Path(program).read_bytes())
        for library in set(libraries(program)) - there:
            there.add(library)
            archive.file(library, pathlib.Path(library).read_bytes())
    archive.file("/bin/busybox", busybox.read_bytes())
    applets = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split()
    for applet in applets:
        if applet not in ["busybox", "sh", *PROGRAMS]:
            archive.link("/bin/" + applet, "busybox")
    archive.link("/bin/sh", "../sbin/dash")
    archive.link("/sbin/modprobe", "../bin/busybox")


def add_modules(archive, modules):
    order = modules.with_needs(MODULES + AT_HAND)
    place = "/lib/modules/" + modules.folder.name
    lines = []
    for name in order:
        archive.file(f"{place}/{name}.ko", modules.read(name), 0o644)
        # A module comes before what it needs.
        needed = modules.with_needs(modules.needs(name))[::-1]
        lines.append(f"{name}.ko: " + " ".join(part + ".ko" for part in needed) + "\n")
    archive.file(place + "/modules.dep", "".join(lines).encode(), 0o644)
    archive.file(place + "/modules.alias", b"", 0o644)
    archive.file(place + "/modules.symbols", b"", 0o644)
    archive.file("/etc/modules", "\n".join(name for name in MODULES if name in order).encode() + b"\n", 0o644)


def flat_kernel(image):
    """The kernel in a self-extracting image."""
    setup = (image[0x1F1] or 4) + 1
    offset, length = struct.unpack_from("<II", image, 0x248)
    packed = image[setup * 512 + offset : setup * 512 + offset + length]
    if packed.startswith(b"\xfd7zXZ\x00"):
        return lzma.LZMADecompressor().decompress(packed)
    if packed.startswith(b"\x28\xb5\x2f\xfd"):
        # What follows the packed kernel is none of zstd's business, and it complains.
        return subprocess.run(["zstd", "-dc"], input=packed, capture_output=True, check=False).stdout
    raise SystemExit("the kernel is packed in a way that this does not know")


def main():
    kernel, busybox, out = map(pathlib.Path, sys.argv[1:])
    with open(out / "initrd", "wb") as file:
        archive = Archive(file)
        for folder in ("proc", "sys", "dev", "run", "tmp", "root", "etc", "bin", "sbin", "lib"):
            archive.folder(folder)
        archive.console()
        archive.file("/init", (HERE / "init").read_bytes())
        add_programs(archive, busybox)
        add_modules(archive, Modules(kernel))
        archive.close()
    (image,) = kernel.glob("boot/vmlinuz-*")
    (out / "kernel").write_bytes(flat_kernel(image.read_bytes()))


if __name__ == "__main__":
    main()
