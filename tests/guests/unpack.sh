#!/usr/bin/env bash
# Unpacks Debian packages of any suite into a folder, without installing anything.
#
#   unpack.sh [-p] SUITE FOLDER CACHE PACKAGE...
#
# With -p also all that the packages depend on: a private root, whose programs run.sh starts. A meta package of a kernel
# is followed to the kernel that it stands for. The mirror is the one that this machine's apt uses; lists and packages
# are kept in CACHE; the machine's own apt, dpkg and their state are not touched.
set -eu
deps=0
[ "$1" = -p ] && { deps=1; shift; }
suite=$1 folder=$2
mkdir -p "$2" "$3"
cache=$(cd "$3" && pwd)
shift 3
mirror=$(apt-get indextargets --format '$(REPO_URI)' | sed -n 's#/debian/*$##p' | head -n 1)
state=$cache/$suite
mkdir -p "$state/lists/partial" "$state/cache/archives/partial" "$state/debs"
: >"$state/status"
key=/usr/share/keyrings/debian-archive-keyring.gpg
{
    echo "deb [signed-by=$key] $mirror/debian $suite main"
    echo "deb [signed-by=$key] $mirror/debian-security $suite-security main"
} >"$state/sources.list"
with_state() {
    local tool=$1
    shift
    "$tool" -qq -o Dir::Etc::SourceList="$state/sources.list" -o Dir::Etc::SourceParts=/dev/null \
        -o Dir::State::Lists="$state/lists" -o Dir::State::Status="$state/status" -o Dir::Cache="$state/cache" \
        -o APT::Install-Recommends=false -o APT::Sandbox::User="$(id -un)" -o Debug::NoLocking=true \
        -o Acquire::Retries=3 "$@"
}
fresh=$(find "$state/lists" -maxdepth 1 -name '*Packages*' -mmin -720 | head -n 1)
[ -n "$fresh" ] || with_state apt-get update
if [ $deps = 1 ]; then
    with_state apt-get -y --download-only install "$@" </dev/null >/dev/null
    for package in $(with_state apt-get -s install "$@" | awk '/^Inst /{print $2}' | sort -u); do
        dpkg-deb -x "$(find "$state/cache/archives" -name "${package}_*.deb" | sort | tail -n 1)" "$folder"
    done
    exit 0
fi
for package in "$@"; do
    case $package in
    linux-image-*)
        package=$(with_state apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks \
            --no-replaces --no-enhances --no-pre-depends "$package" |
            grep -E '^linux-(image|binary|modules)-[0-9]+\.[0-9]+\.[0-9]' | sort -u)
        ;;
    esac
    for real in $package; do
        file=$(cd "$state/debs" && with_state apt-get --print-uris download "$real" | awk '{print $2}')
        [ -s "$state/debs/$file" ] || (cd "$state/debs" && with_state apt-get download "$real" && [ -s "$file" ])
        dpkg-deb -x "$state/debs/$file" "$folder"
    done
done
