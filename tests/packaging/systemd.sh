#!/usr/bin/env bash
# Starts contrib/btblocker.service under a real systemd and shows: readiness means that bans drop, an interface may come
# late, a hung or crashed daemon is restarted until the limit, wrong configuration is not, and bans outlive the daemon.
#
# systemd is the first process of a container: a copy-on-write view of this machine's root with a network of its own.
# Needs root and Debian's packages systemd-container, iproute2, iputils-ping and python3. Takes about half a minute.
#
# Usage: systemd.sh [BINARY]    default: target/debug/btblocker
set -euo pipefail

# Mounts in a namespace of their own: whatever ends this, none of them is left.
[ "${OWN_MOUNTS-}" ] || OWN_MOUNTS=yes exec unshare --mount "$0" "$@"

tree=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
binary=$(realpath "${1:-$tree/target/debug/btblocker}")
unit=$tree/contrib/btblocker.service
work=$(mktemp -d "${TMPDIR:-/tmp}/btblocker-systemd.XXXXXX")
root=$work/root
container="" leader=""

cleanup() {
    if [ -n "$leader" ] && kill -0 "$leader" 2>/dev/null; then
        timeout 20 nsenter -t "$leader" -a systemctl poweroff >/dev/null 2>&1 || true
    fi
    if [ -n "$container" ]; then
        timeout 20 tail --pid="$container" -f /dev/null || kill -KILL "$container" || true
        wait "$container" 2>/dev/null || true
    fi
    umount -q "$root" || true
    umount -q "$work" || true
    rmdir "$work"
}
trap cleanup EXIT

step() { printf '== %s (%s s)\n' "$1" "$SECONDS"; }
fail() {
    printf 'FAILED: %s\n' "$1" >&2
    inside systemctl status --no-pager --lines=0 btblocker >&2 || true
    inside journalctl --no-pager --lines=30 --unit=btblocker >&2 || true
    exit 1
}
inside() { timeout 60 nsenter -t "$leader" -a "$@"; }
# Polls for at most 20 seconds.
eventually() {
    local what=$1 end=$((SECONDS + 20))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$end" ] || fail "$what"
        sleep 0.1
    done
}
property() { inside systemctl show --value -p "$1" btblocker; }
is() { [ "$(property "$1")" = "$2" ]; }
must_be() { is "$1" "$2" || fail "$1 is $(property "$1") instead of $2"; }
from_client() { inside ip netns exec client "$@"; }
passes() { from_client ping -q -c 1 -W 1 192.0.2.1 >/dev/null; }
drops() { ! passes; }
configure() { printf '%s\n' "$@" >"$root/etc/btblocker/btblocker.toml"; }

step "systemd-analyze"
mount -t tmpfs -o mode=755 tmpfs "$work"
mkdir "$root" "$work/upper" "$work/internal"
mount -t overlay -o "lowerdir=/,upperdir=$work/upper,workdir=$work/internal" overlay "$root"
install -m 755 "$binary" "$root/usr/bin/btblocker"
install -D -m 644 "$unit" "$root/usr/lib/systemd/system/btblocker.service"
install -D -m 644 "$tree/contrib/btblocker.sysusers" "$root/usr/lib/sysusers.d/btblocker.conf"
mkdir -p "$root/etc/btblocker"
said=$(systemd-analyze verify --root="$root" btblocker.service 2>&1 | grep -F btblocker || true)
[ -z "$said" ] || { echo "$said" >&2; exit 1; }
# Drop-ins that this version of systemd knows are verified with the unit.
for variant in none xdp early-exit; do
    mkdir -p "$work/$variant/btblocker.service.d"
    cp "$unit" "$work/$variant/"
    [ "$variant" = none ] || cp "$tree/contrib/systemd/$variant.conf" "$work/$variant/btblocker.service.d/"
    exposure=$(systemd-analyze security --offline=yes --no-pager "$work/$variant/btblocker.service" |
        sed -n 's/.*Overall exposure level.*: \([0-9]*\)\.\([0-9]*\) .*/\1\2/p')
    echo "exposure with drop-in $variant: ${exposure%?}.${exposure#"${exposure%?}"}"
    [ "$exposure" -le 20 ] || { echo "more than 2.0" >&2; exit 1; }
done

step "boot"
dropins=$root/etc/systemd/system/btblocker.service.d
mkdir -p "$dropins"
# The same behaviour in less time.
cat >"$dropins/hurry.conf" <<'END'
[Unit]
StartLimitBurst=4
[Service]
WatchdogSec=2s
TimeoutAbortSec=1s
RestartSec=300ms
TimeoutStartSec=3s
END
rm -f "$root/etc/machine-id"
setpriv --pdeathsig KILL systemd-nspawn -q --register=no --keep-unit --private-network --capability=all --system-call-filter="bpf landlock_create_ruleset landlock_add_rule landlock_restrict_self" --machine="btblocker-$$" --console=pipe \
    -b -D "$root" systemd.unit=basic.target </dev/null >"$work/console" 2>&1 &
container=$!
for _ in $(seq 100); do
    leader=$(pgrep -P "$container" | tail -n 1 || true)
    [ -n "$leader" ] && nsenter -t "$leader" -a systemctl is-active -q basic.target 2>/dev/null && break
    sleep 0.1
done
if ! inside systemctl is-active -q basic.target; then
    cat "$work/console" >&2
    exit 1
fi
inside systemd-sysusers

step "an interface that comes late"
configure 'interface = "lan0"'
inside systemctl start --no-block btblocker
eventually "it does not tell what it waits for" is StatusText "waiting for lan0; 0 bans"
# Longer than TimeoutStartSec: the daemon extends the start.
sleep 4
must_be ActiveState activating
must_be NRestarts 0
inside ip netns add client
inside ip link add lan0 type veth peer name eth0 netns client
inside ip addr add 192.0.2.1/24 dev lan0
inside ip link set lan0 up
from_client ip link set lo up
from_client ip addr add 192.0.2.2/24 dev eth0
from_client ip link set eth0 up
eventually "it is not ready when the interface is there" is ActiveState active
must_be StatusText "capturing on lan0; 0 bans"
eventually "the client does not reach the machine" passes

step "privileges"
pid=$(property MainPID)
rights=$(inside cat "/proc/$pid/status")
for line in 'CapEff:	0000000000003000' 'CapBnd:	0000000000003000' 'NoNewPrivs:	1' 'Seccomp:	2'; do
    grep -qxF "$line" <<<"$rights" || fail "/proc/PID/status lacks $line"
done
[ "$(inside ps -o user= -p "$pid")" = btblocker ] || fail "it does not run as the user btblocker"
[ "$(inside stat -c %U:%a /var/lib/btblocker)" = btblocker:750 ] || fail "owner and mode of the state directory"

for backend in nftables ipset; do
    step "ready means that bans drop: $backend"
    inside systemctl stop btblocker
    inside btblocker teardown
    configure 'interface = "lan0"' "backend = \"$backend\""
    inside systemctl restart btblocker
    said=$(inside btblocker check) || fail "check finds something missing right after the start"
    echo "$said"
    grep -q "system calls: only the daemon's own" <<<"$said" || fail "the daemon's system calls are not filtered"
    inside btblocker ban 192.0.2.2
    drops || fail "packets of a host that was banned by hand pass"
    inside btblocker unban 192.0.2.2
    passes || fail "packets of an unbanned host are dropped"
done

step "XDP with its drop-in"
inside systemctl stop btblocker
inside btblocker teardown
# The container's /sys has no place for it.
inside sh -c 'mount -o remount,rw /sys; mkdir -p /sys/fs/bpf; mount -t bpf -o mode=700 bpf /sys/fs/bpf'
cp "$tree/contrib/systemd/xdp.conf" "$dropins/"
inside systemctl daemon-reload
configure 'interface = "lan0"' 'backend = "xdp"'
inside systemctl restart btblocker || fail "it does not start"
must_be StatusText "capturing on lan0; 0 bans"
inside sh -c 'ls /sys/fs/bpf/btblocker' | grep -q link_ || fail "the XDP link is not pinned"
inside systemctl stop btblocker
inside btblocker teardown
rm "$dropins/xdp.conf"
inside systemctl daemon-reload
configure 'interface = "lan0"'
inside systemctl start btblocker

step "early exit with its drop-in"
cp "$tree/contrib/systemd/early-exit.conf" "$dropins/"
inside systemctl daemon-reload
configure 'interface = "lan0"' 'early_exit = true'
inside systemctl restart btblocker || fail "it does not start"
said=$(inside btblocker status) || fail "it does not answer"
grep -Eq "^early_exit +on$" <<<"$said" || fail "settled flows do not end early: $said"
grep -Eq "^capabilities +CAP_NET_ADMIN, CAP_NET_RAW$" <<<"$said" || fail "it keeps what it needed at the start only: $said"
rm "$dropins/early-exit.conf"
inside systemctl daemon-reload
configure 'interface = "lan0"'
inside systemctl restart btblocker

step "a peer handshake leads to a ban"
# A peer handshake in both directions.
cat >"$root/usr/bin/handshake" <<'END'
#!/usr/bin/python3
"""Both ends of a peer connection: handshake, bitfield, interested."""
import hashlib, socket, sys
hello = b"\x13BitTorrent protocol" + bytes(5) + b"\x10\0\5" + hashlib.sha1(b"torrent").digest()
after = b"\0\0\0\5\5\xff\xff\xff\xff" + b"\0\0\0\1\2"
if sys.argv[1] == "listen":
    with socket.create_server(("192.0.2.1", 51413)) as listener:
        peer = listener.accept()[0]
        peer.recv(4096)
        peer.sendall(hello + b"-TR4050-k2mzx81hq0ap" + after)
        peer.settimeout(10)
        peer.recv(4096)
else:
    with socket.create_connection(("192.0.2.1", 51413), 5) as peer:
        peer.settimeout(5)
        peer.sendall(hello + b"-LT2080-h2v9s7ab3kqz")
        peer.recv(4096)
        peer.sendall(after)
END
chmod 755 "$root/usr/bin/handshake"
inside systemd-run -q --unit=listener handshake listen
eventually "nobody listens" sh -c "nsenter -t $leader -a ss -ltn | grep -q 51413"
from_client handshake connect 2>/dev/null || true
eventually "no ban follows a peer handshake" is StatusText "capturing on lan0; 1 bans"
inside btblocker bans | grep -qF 192.0.2.2 || fail "the kernel does not hold the ban"
drops || fail "packets of a banned host pass"

step "reload"
before=$(property MainPID)
configure 'interface = "lan0"' 'allow = ["192.0.2.2"]'
inside systemctl reload btblocker
eventually "a reload does not free a host that is allowed now" is StatusText "capturing on lan0; 0 bans"
must_be MainPID "$before"
configure 'interface = "lan0"'
inside systemctl reload btblocker
# The signal does not wait until the file has been read.
eventually "a reload does not forget what was allowed" inside btblocker ban 192.0.2.2
eventually "the ban by hand is not counted" is StatusText "capturing on lan0; 1 bans"

step "a hung daemon is restarted, its bans go on"
before=$(property MainPID) restarts=$(property NRestarts)
inside kill -STOP "$before"
eventually "the watchdog does not bite" is NRestarts "$((restarts + 1))"
eventually "it is not ready after the watchdog's restart" is ActiveState active
[ "$(property MainPID)" != "$before" ] || fail "the same process goes on"
drops || fail "the ban did not outlive the hung daemon"
eventually "the former ban was not adopted" is StatusText "capturing on lan0; 1 bans"

step "stop"
began=$SECONDS
inside systemctl stop btblocker
[ $((SECONDS - began)) -le 3 ] || fail "stopping takes too long"
must_be Result success
drops || fail "the ban did not outlive the daemon"

step "crashes are restarted up to the limit"
inside systemctl start btblocker
settled_after() { # PID
    ! is MainPID "$1" && { is ActiveState active || is ActiveState failed; }
}
while is ActiveState active; do
    pid=$(property MainPID)
    inside kill -KILL "$pid"
    eventually "neither restarted nor given up" settled_after "$pid"
done
must_be ActiveState failed
must_be NRestarts 4
inside journalctl -u btblocker --no-pager -n 20 | grep -q 'repeated too quickly' || fail "it was not the limit that ended it"
drops || fail "the ban did not outlive the crashes"

step "wrong configuration is not tried again"
inside systemctl reset-failed btblocker
configure 'interface = "lan0"' 'ban_duraton = "5h"'
if inside systemctl start btblocker 2>/dev/null; then fail "it starts with an unknown key"; fi
must_be ActiveState failed
must_be NRestarts 0
must_be ExecMainStatus 2
inside journalctl -u btblocker --no-pager -n 20 | grep -q 'did you mean ban_duration' || fail "the journal does not say why"

step "all is well"
