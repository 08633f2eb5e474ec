#!/usr/bin/env bash
# demo.sh DIRECTORY: joins two network namespaces through the Framewire built in DIRECTORY, under live QMP control.
#
# Everything happens in three namespaces of its own (left, right, and one that Framewire lives in), so the network of
# the machine is not touched, and everything is gone when it ends, however it ends. It ends non-zero if a step fails.
set -euo pipefail
bin=$(cd "$1" && pwd)

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
fail() {
    printf '\ndemo: FAILED: %s\n' "$*" >&2
    [ -s "$work/log" ] && sed 's/^/  framewire: /' "$work/log" >&2
    exit 1
}

if [ "$(id -u)" -ne 0 ]; then
    echo "demo: network namespaces need root; run:  sudo make demo" >&2
    exit 1
fi
if [ ! -c /dev/net/tun ]; then
    echo "demo: /dev/net/tun is missing; run:  modprobe tun" >&2
    exit 1
fi

work=$(mktemp -d /tmp/framewire-demo.XXXXXX)
id=${work##*.}
home=fw-$id left=fw-$id-left right=fw-$id-right
socket=$work/qmp
background=()

clean_up() {
    for pid in "${background[@]}"; do kill "$pid" 2>/dev/null || true; done
    for pid in "${background[@]}"; do wait "$pid" 2>/dev/null || true; done
    for namespace in "$home" "$left" "$right"; do ip netns del "$namespace" 2>/dev/null || true; done
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

in_left() { ip netns exec "$left" "$@"; }
in_right() { ip netns exec "$right" "$@"; }
qmp() { # qmp COMMAND: shows it, runs it, shows the answer
    printf '  -> %s\n' "$1"
    "$bin/framewire" qmp --socket "$socket" "$1" | sed 's/^/  <- /'
}

say "1. Three network namespaces: left, right, and one for Framewire"
for namespace in "$home" "$left" "$right"; do
    ip netns add "$namespace"
    ip -n "$namespace" link set dev lo up
done

say "2. Framewire starts: a control plane that speaks QMP, and a data plane that moves frames"
ip netns exec "$home" "$bin/framewire" run --qmp "unix:$socket,server=on,wait=off" --runtime-dir "$work/run" \
    >"$work/log" 2>&1 &
framewire=$!
background+=("$framewire")
for _ in $(seq 100); do
    [ -S "$socket" ] && break
    kill -0 "$framewire" 2>/dev/null || fail "framewire ended at once"
    sleep 0.05
done
[ -S "$socket" ] || fail "no monitor at $socket"

say "3. Two taps, and a hub of two ports between them: a plain cable"
for side in left right; do
    qmp "{\"execute\":\"netdev_add\",\"arguments\":{\"type\":\"tap\",\"id\":\"$side\",\"ifname\":\"$side\",\"script\":\"no\",\"downscript\":\"no\"}}"
    qmp "{\"execute\":\"netdev_add\",\"arguments\":{\"type\":\"hubport\",\"id\":\"port-$side\",\"hubid\":0,\"netdev\":\"$side\"}}"
done

say "4. Each tap's interface goes to its namespace"
ip -n "$home" link set dev left netns "$left"
ip -n "$home" link set dev right netns "$right"
ip -n "$left" address add 192.0.2.1/24 dev left
ip -n "$right" address add 192.0.2.2/24 dev right
ip -n "$left" link set dev left up
ip -n "$right" link set dev right up

say "5. They ping each other"
in_left ping -c 3 -i 0.2 -W 5 192.0.2.2 || fail "no ping"

say "6. iperf3 from left to right"
in_right iperf3 --server --one-off --pidfile "$work/iperf3" >"$work/iperf3.log" 2>&1 &
background+=($!)
for _ in $(seq 100); do
    in_right ss -Hltn 'sport = :5201' | grep -q . && break
    sleep 0.05
done
in_left iperf3 --client 192.0.2.2 --time 3 --format g | grep -E 'sender|receiver' || fail "iperf3"

say "7. set_link down: the cable is cut"
qmp '{"execute":"set_link","arguments":{"name":"left","up":false}}'
if in_left ping -c 2 -i 0.2 -W 1 192.0.2.2 >/dev/null; then fail "a ping crossed a cut cable"; fi
echo "  no ping crosses"

say "8. set_link up: it is whole again"
qmp '{"execute":"set_link","arguments":{"name":"left","up":true}}'
in_left ping -c 2 -i 0.2 -W 5 192.0.2.2 || fail "no ping after set_link up"

say "9. What Framewire says about its ports"
"$bin/framewire" status --socket "$socket" || fail "framewire status"

say "10. Both taps are deleted; their interfaces vanish with them"
for side in left right; do
    qmp "{\"execute\":\"netdev_del\",\"arguments\":{\"id\":\"port-$side\"}}"
    qmp "{\"execute\":\"netdev_del\",\"arguments\":{\"id\":\"$side\"}}"
done
if ip -n "$left" link show left 2>/dev/null; then fail "an interface is left over"; fi
qmp '{"execute":"quit"}'
wait "$framewire" || fail "framewire ended with status $?"

say "Done: nothing is left behind."
