#!/bin/sh
# Runs a program of a private root that `unpack.sh -p` made, with that root's own loader and libraries.
#
#   run.sh FOLDER PROGRAM [ARGUMENT...]
set -eu
root=$1 program=$2
shift 2
binary=$root/usr/bin/$program
for loader in "$root/usr/lib64/ld-linux-x86-64.so.2" "$root/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"; do
    [ -e "$loader" ] && break
done
libraries=$root/usr/lib/x86_64-linux-gnu:$root/lib/x86_64-linux-gnu:$root/usr/lib/x86_64-linux-gnu/pulseaudio
export QEMU_MODULE_DIR="$root/usr/lib/x86_64-linux-gnu/qemu"
case $program in
qemu-system-*)
    exec "$loader" --library-path "$libraries" "$binary" -L "$root/usr/share/qemu" -L "$root/usr/share/seabios" "$@"
    ;;
esac
exec "$loader" --library-path "$libraries" "$binary" "$@"
