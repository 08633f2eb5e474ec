#!/usr/bin/env bash
# run.sh OUT: everything that `make test` promises, with a closing line that counts.
#
# Each step runs even if one before it failed, so that one run tells all that is wrong; the exit status is that of the
# worst. A test that could not run here (no root, no /dev/net/tun, a program missing) says so by adding a line to
# OUT/skipped, because the test runner itself counts it as passed.
set -u
out=$1
mkdir -p "$out"
out=$(cd "$out" && pwd)
cd "$(dirname "$0")/../.." || exit
: >"$out/skipped"
: >"$out/log"
export FRAMEWIRE_SKIPPED="$out/skipped"
failed_steps=()

step() { # step NAME COMMAND...
    local name=$1 start=$SECONDS
    shift
    echo "=== $name: $*"
    "$@" 2>&1 | tee -a "$out/log"
    local status=${PIPESTATUS[0]}
    [ "$status" -eq 0 ] || failed_steps+=("$name")
    echo "=== $name: $([ "$status" -eq 0 ] && echo ok || echo FAILED) after $((SECONDS - start)) s"
}

step format cargo fmt --all --check
step lint cargo clippy --workspace --all-targets --locked -- -D warnings
step build cargo build --workspace --locked
# The harness looks for the programs here and so need not build them again.
export FRAMEWIRE_BIN_DIR="$PWD/target/debug"
step test cargo test --workspace --locked --no-fail-fast
step models tests/scripts/models.sh

count() { # count WORD: sum of "N WORD" over the runner's result lines
    awk -v word="$1" '/^test result:/ { for (i = 2; i <= NF; i++) { w = $i; sub(/;$/, "", w); if (w == word) n += $(i - 1) } }
        END { print n + 0 }' "$out/log"
}
# A skipped part of a test is listed below, but its test did run.
skipped=$(grep -c '^test ' "$out/skipped")
passed=$(($(count passed) - skipped))
failed=$(count failed)
for name in "${failed_steps[@]}"; do
    # A step that failed without a failed test (a lint, a build) counts as one.
    case $name in test | models) [ "$failed" -gt 0 ] || failed=1 ;; *) failed=$((failed + 1)) ;; esac
done

if [ -s "$out/skipped" ]; then
    echo
    echo "SKIPPED here, and why:"
    sort "$out/skipped" | sed 's/^/  /'
fi
if [ ${#failed_steps[@]} -gt 0 ]; then
    echo
    echo "FAILED steps: ${failed_steps[*]}"
    grep -E '^test .* FAILED$' "$out/log" | sort -u
fi
echo
echo "$passed passed, $failed failed, $((skipped + $(count ignored))) skipped"
[ ${#failed_steps[@]} -eq 0 ]
