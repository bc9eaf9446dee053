#!/usr/bin/env bash
# Follows contrib/Dockerfile without a container engine: each stage is a new minimal Debian, each step is done in it as it is
# written there. Then the entry point is run with the capabilities that the file names, and its health check, and a ban.
#
# Needs root, rustc and Debian's packages debootstrap, iproute2 and iputils-ping. Downloads packages and crates.
#
# Usage: container.sh
set -euo pipefail

# Mounts in a namespace of their own: whatever ends this, none of them is left.
[ "${OWN_MOUNTS-}" ] || OWN_MOUNTS=yes exec unshare --mount "$0" "$@"

tree=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/btblocker-container.XXXXXX")
daemon=""
cleanup() {
    [ -z "$daemon" ] || kill "$daemon" 2>/dev/null || true
    ip netns del "$space" 2>/dev/null || true
    ip netns del "$space-peer" 2>/dev/null || true
    mountpoint -q "$work/rust" && umount "$work/rust"
    for root in "$work"/stage-*; do
        for inner in proc dev opt/rust; do
            if mountpoint -q "$root/$inner"; then umount "$root/$inner"; fi
        done
    done
    rm -rf --one-file-system "$work"
}
space=btblocker-container-$$
trap cleanup EXIT
step() { printf '== %s (%s s)\n' "$1" "$SECONDS"; }
fail() {
    printf 'FAILED: %s\n' "$1" >&2
    [ ! -e "$work/daemon.log" ] || cat "$work/daemon.log" >&2
    exit 1
}

step "a minimal Debian"
# shellcheck disable=SC2016  # apt's own variable
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Label: Debian' | head -n 1)
debootstrap --variant=minbase --include=ca-certificates bookworm "$work/base" "$mirror" >"$work/debootstrap.log" 2>&1 ||
    { tail -n 20 "$work/debootstrap.log"; exit 1; }
cp -a /etc/hosts /etc/resolv.conf "$work/base/etc/"
for part in sources.list sources.list.d apt.conf.d keyrings trusted.gpg.d; do
    [ ! -e "/etc/apt/$part" ] || cp -aT "/etc/apt/$part" "$work/base/etc/apt/$part"
done
certificates=${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}
install -m 644 "$certificates" "$work/base/etc/certificates-of-the-host.pem"

stages=0 root="" folder=/ built=""
new_stage() { # IMAGE
    built=$root
    stages=$((stages + 1)) root=$work/stage-$stages folder=/
    cp -a "$work/base" "$root"
    mount -t proc proc "$root/proc"
    mount --bind /dev "$root/dev"
    case $1 in
        rust:*)
            mkdir -p "$root/opt/rust"
            mount --bind "$(rustc --print sysroot)" "$root/opt/rust"
            ;;
        debian:bookworm-slim) ;;
        *) fail "no stand-in for the image $1" ;;
    esac
}
inside() {
    chroot "$root" env -C "$folder" PATH=/opt/rust/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root \
        DEBIAN_FRONTEND=noninteractive CARGO_HTTP_CAINFO=/etc/certificates-of-the-host.pem "$@" </dev/null
}
json_words() { python3 -c 'import json, sys; print("\n".join(json.loads(sys.argv[1])))' "$1"; }

entry=() health=()
# Steps without comments, one in a line.
sed '/^ *#/d' "$tree/contrib/Dockerfile" | sed -e ':a' -e '/\\$/N; s/\\\n//; ta' | sed '/^ *$/d' >"$work/steps"
while read -r word rest <&3; do
    step "$word ${rest:0:90}"
    case $word in
        FROM) new_stage "${rest%% *}" ;;
        WORKDIR) folder=$rest && mkdir -p "$root$folder" ;;
        RUN) inside sh -c "$rest" >"$work/run.log" 2>&1 || { tail -n 30 "$work/run.log"; fail "RUN $rest"; } ;;
        COPY)
            case $rest in
                ". .")
                    # As an engine would: what the ignore file lets through, of what is committed.
                    mapfile -t context < <(sed -n 's/^!//p' "$tree/contrib/Dockerfile.dockerignore")
                    git -C "$tree" archive HEAD "${context[@]}" | tar -x -C "$root$folder"
                    sed '/^[!*]/d' "$tree/contrib/Dockerfile.dockerignore" | xargs -I{} rm -rf "$root$folder/{}"
                    ;;
                --from=build\ *)
                    read -r _ from to <<<"$rest"
                    install -D "$built$from" "$root$to"
                    ;;
                *)
                    read -r from to <<<"$rest"
                    install -D -m 644 "$tree/$from" "$root$to"
                    ;;
            esac
            ;;
        STOPSIGNAL) [ "$rest" = SIGTERM ] || fail "another signal than the daemon's" ;;
        HEALTHCHECK) mapfile -t health < <(json_words "${rest#*CMD }") ;;
        ENTRYPOINT) mapfile -t entry < <(json_words "$rest") ;;
        *) fail "no stand-in for the step $word" ;;
    esac
done 3<"$work/steps"

step "the entry point runs the main job"
ip netns add "$space"
ip netns add "$space-peer"
ip -n "$space" link add lan0 type veth peer name lan0 netns "$space-peer"
ip -n "$space" addr add 192.0.2.1/24 dev lan0
ip -n "$space-peer" addr add 192.0.2.9/24 dev lan0
ip -n "$space" link set lo up
ip -n "$space" link set lan0 up
ip -n "$space-peer" link set lan0 up
mapfile -t capabilities < <(sed -n 's/^#.*docker run.*$/&/p' "$tree/contrib/Dockerfile" | grep -o 'cap-add [A-Z_]*' | cut -d ' ' -f 2)
[ "${#capabilities[@]}" -gt 0 ] || fail "the Dockerfile names no capabilities"
bounds=-all
for capability in "${capabilities[@]}"; do bounds+=",+$(tr '[:upper:]' '[:lower:]' <<<"$capability")"; done
in_container() { ip netns exec "$space" chroot "$root" setpriv --bounding-set="$bounds" --no-new-privs "$@"; }
ip netns exec "$space" chroot "$root" setpriv --bounding-set="$bounds" --no-new-privs "${entry[@]}" --interface lan0 \
    >"$work/daemon.log" 2>&1 &
daemon=$!
for _ in $(seq 300); do
    if grep -q 'ready: ' "$work/daemon.log" || ! kill -0 "$daemon" 2>/dev/null; then break; fi
    sleep 0.1
done
grep -q 'ready: ' "$work/daemon.log" || fail "it is not ready"
in_container "${health[@]}" >/dev/null || fail "the health check fails while it runs"

step "a ban drops"
from_peer() { ip netns exec "$space-peer" ping -q -c 1 -W "$1" 192.0.2.1 >/dev/null; }
from_peer 5 || fail "packets do not pass without a ban"
in_container "${entry[@]}" ban 192.0.2.9
if from_peer 1; then fail "packets of a banned host pass"; fi
in_container "${entry[@]}" unban 192.0.2.9
from_peer 5 || fail "packets do not pass after the ban was lifted"

step "it stops on its signal"
kill -TERM "$daemon"
wait "$daemon" || fail "exit status $?"
daemon=""
if in_container "${health[@]}" >/dev/null 2>&1; then fail "the health check passes without a daemon"; fi
step "all is well"
