#!/usr/bin/env bash
# Builds the image of contrib/Dockerfile with a container engine and runs it as the Dockerfile says, but in a network of its
# own: it gets ready and healthy, a ban drops, and it stops on its signal. Without an engine it does nothing: then
# container.sh has followed the same steps.
#
# Needs root, and Debian's packages iproute2 and iputils-ping. Downloads images, packages and crates.
#
# Usage: image.sh [ENGINE]    default: docker or podman, whichever answers
set -euo pipefail

tree=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
engine=${1-}
for name in docker podman; do
    [ -n "$engine" ] || ! timeout 20 "$name" info >/dev/null 2>&1 || engine=$name
done
[ -n "$engine" ] || { echo "no container engine answers: no image is built"; exit 0; }

name=btblocker-image-$$
cleanup() {
    "$engine" rm -f "$name" >/dev/null 2>&1 || true
    "$engine" rmi -f "$name" >/dev/null 2>&1 || true
    ip netns del "$name" 2>/dev/null || true
}
trap cleanup EXIT
step() { printf '== %s (%s s)\n' "$1" "$SECONDS"; }
fail() {
    printf 'FAILED: %s\n' "$1" >&2
    "$engine" logs "$name" >&2 || true
    exit 1
}

step "build with $engine"
# Health checks are no part of podman's own format.
format=()
[ "$(basename "$engine")" != podman ] || format=(--format docker)
"$engine" build "${format[@]}" -t "$name" -f "$tree/contrib/Dockerfile" "$tree"

step "run"
read -r -a rights < <(sed -n 's/^#.*docker run --network host \(.*\) btblocker .*/\1/p' "$tree/contrib/Dockerfile")
"$engine" run -d --name "$name" --network none "${rights[@]}" "$name" --interface lo,lan0 >/dev/null
for _ in $(seq 300); do
    "$engine" logs "$name" 2>&1 | grep -q 'ready: ' && break
    sleep 0.1
done
"$engine" logs "$name" 2>&1 | grep -q 'ready: ' || fail "it is not ready"
network=/proc/$("$engine" inspect -f '{{.State.Pid}}' "$name")/ns/net
inside() { nsenter --net="$network" "$@"; }
ip netns add "$name"
inside ip link add lan0 type veth peer name lan1
inside ip link set lan1 netns "$name"
inside ip addr add 192.0.2.1/24 dev lan0
inside ip link set lan0 up
ip -n "$name" addr add 192.0.2.9/24 dev lan1
ip -n "$name" link set lan1 up
"$engine" exec "$name" /usr/bin/btblocker status >/dev/null || fail "the health check fails"

step "a ban drops"
from_peer() { ip netns exec "$name" ping -q -c 1 -W "$1" 192.0.2.1 >/dev/null; }
from_peer 5 || fail "packets do not pass without a ban"
"$engine" exec "$name" /usr/bin/btblocker ban 192.0.2.9
if from_peer 1; then fail "packets of a banned host pass"; fi
"$engine" exec "$name" /usr/bin/btblocker unban 192.0.2.9
from_peer 5 || fail "packets do not pass after the ban was lifted"

step "it stops on its signal"
"$engine" stop "$name" >/dev/null
[ "$("$engine" inspect -f '{{.State.ExitCode}}' "$name")" = 0 ] || fail "it did not end well"
step "all is well"
