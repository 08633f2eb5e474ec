#!/usr/bin/env bash
# Memory-order models: the tests of the crate `shared` that exist only under `--cfg loom`.
#
# They get a target directory of their own, since the flag changes every crate and would evict the ordinary build.
set -eu
cd "$(dirname "$0")/../.."
if ! grep -rqs 'cfg(loom)' shared/src shared/tests; then
    echo "models: none yet"
    exit 0
fi
RUSTFLAGS="--cfg loom" LOOM_MAX_PREEMPTIONS="${LOOM_MAX_PREEMPTIONS:-3}" CARGO_TARGET_DIR=target/loom \
    cargo test --release --locked --package framewire-shared --lib --tests
