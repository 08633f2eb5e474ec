#!/usr/bin/env bash
# packages.sh WHO: makes sure that the Debian packages that WHO (demo, test, perf) needs are there.
#
# As root it installs what is missing, with the machine's own apt configuration. Otherwise it prints the one command
# to run and ends in failure: silently running without a peer would turn tests into skips that nobody sees.
set -eu
who=$1
list=$(dirname "$0")/../packages.txt

if ! command -v cargo >/dev/null; then
    echo "packages: cargo is missing; install the Rust toolchain (rust-version in Cargo.toml) first" >&2
    exit 1
fi

missing=()
while read -r name users _why; do
    case $name in '' | '#'*) continue ;; esac
    case ",$users," in *",$who,"*) ;; *) continue ;; esac
    state=$(dpkg-query --show --showformat='${db:Status-Status}' "$name" 2>/dev/null || true)
    [ "$state" = installed ] || missing+=("$name")
done <"$list"

[ ${#missing[@]} -eq 0 ] && exit 0

install="apt-get install --yes --no-install-recommends ${missing[*]}"
if ! command -v apt-get >/dev/null; then
    echo "packages: this is no Debian; install what these packages hold: ${missing[*]}" >&2
    exit 1
fi
if [ "$(id -u)" -ne 0 ]; then
    echo "packages: run this first:  sudo $install" >&2
    exit 1
fi
echo "packages: installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086 # the words of the command are meant to be split
$install || { apt-get update && $install; }
