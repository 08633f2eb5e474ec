#!/usr/bin/env bash
# guests.sh: makes sure that target/guests holds what tests with real guests boot: a QEMU, a kernel, an initramfs.
#
# Debian's packages from the machine's own mirror, unpacked there and not installed: `make clean` removes them. A newer
# QEMU than that of Debian 12 is taken, which ends when vhost-user meets MSI-X without KVM; and a newer kernel, which has
# UDP segmentation. Where they cannot be had the tests say that they were skipped, and this says why.
set -eu
cd "$(dirname "$0")/../.."
home=target/guests
wanted=$(cat tests/guests/* tests/scripts/guests.sh | sha256sum)

# Written last: what was interrupted half-made is made anew.
[ "$(cat $home/made 2>/dev/null)" = "$wanted" ] && exit 0
if [ "$(uname -m)" != x86_64 ] || ! command -v apt-get dpkg-deb >/dev/null; then
    echo "guests: tests with real guests need Debian's packages for x86_64" >&2
    exit 0
fi

make_guests() {
    tests/guests/unpack.sh bookworm $home/parts $home/cache linux-image-6.12-cloud-amd64 busybox-static &&
        tests/guests/unpack.sh -p trixie $home/qemu $home/cache qemu-system-x86 &&
        tests/guests/initrd.py $home/parts $home/parts/bin/busybox $home
}

echo "guests: fetching a kernel and a QEMU for tests with real guests"
rm -rf $home
mkdir -p $home
if make_guests >$home/log 2>&1 || { sleep 5; make_guests >>$home/log 2>&1; }; then
    rm -rf $home/cache $home/parts
    echo "$wanted" >$home/made
else
    echo "guests: they cannot be made here, tests with real guests will be skipped:" >&2
    tail -n 5 $home/log >&2
fi
