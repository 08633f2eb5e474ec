#!/usr/bin/env bash
# Builds a fuzz target and lets the fuzzer drive it: tests/scripts/fuzz.sh TARGET [SECONDS [LIBFUZZER-OPTION...]]
#
# A stable compiler is enough: it is told to instrument as LLVM's fuzzer wants, and the target is named so that build
# scripts are not instrumented too. There is no address sanitizer without a nightly compiler; what is fuzzed is safe
# Rust. New inputs go to target/fuzz/corpus/TARGET; those of tests/fuzz/corpus/TARGET are read only, and
# tests/fuzz/regressions/TARGET holds what was once found.
set -eu
cd "$(dirname "$0")/../.."
root=$PWD
target=${1:?which target?}
seconds=${2:-600}
shift $(($# < 2 ? $# : 2))
host=$(rustc -vV | sed -n 's/^host: //p')
flags='-Cpasses=sancov-module -Ccodegen-units=1 --cfg fuzzing'
for option in level=4 inline-8bit-counters pc-table trace-compares; do
    flags="$flags -Cllvm-args=-sanitizer-coverage-$option"
done
export CARGO_TARGET_DIR="$root/target/fuzz"
RUSTFLAGS=$flags cargo build --release --quiet --manifest-path tests/fuzz/Cargo.toml \
    --target "$host" --bin "$target"
found=$CARGO_TARGET_DIR/corpus/$target
artifacts=$CARGO_TARGET_DIR/artifacts/$target/
mkdir -p "$found" "$artifacts"
folders=("$found")
for folder in "tests/fuzz/corpus/$target" "tests/fuzz/regressions/$target"; do
    [ -d "$folder" ] && folders+=("$folder")
done
[ -f "tests/fuzz/$target.dict" ] && set -- "-dict=tests/fuzz/$target.dict" "$@"
exec "$CARGO_TARGET_DIR/$host/release/$target" "-max_total_time=$seconds" -timeout=10 -rss_limit_mb=2048 \
    "-artifact_prefix=$artifacts" "$@" "${folders[@]}"
