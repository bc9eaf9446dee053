#!/usr/bin/env bash
# Installs the Debian package in a new minimal Debian with a running systemd, uses it, upgrades it with a changed
# configuration, removes and purges it: users keep what is theirs, and nothing is left behind.
#
# Needs root and Debian's packages debootstrap, systemd-container and dpkg-dev. Takes about two minutes, most of it for
# the download of a minimal system; with BASE=FOLDER that is kept in FOLDER for the next time.
#
# Usage: deb.sh PACKAGE.deb
set -euo pipefail

# Mounts in a namespace of their own: whatever ends this, none of them is left.
[ "${OWN_MOUNTS-}" ] || OWN_MOUNTS=yes exec unshare --mount "$0" "$@"

tree=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
package=$(realpath "$1")
work=$(mktemp -d "${TMPDIR:-/tmp}/btblocker-deb.XXXXXX")
base=${BASE:-$work/base}
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
    rm -rf --one-file-system "$work"
}
trap cleanup EXIT

step() { printf '== %s (%s s)\n' "$1" "$SECONDS"; }
fail() {
    printf 'FAILED: %s\n' "$1" >&2
    inside journalctl --no-pager --lines=30 --unit=btblocker >&2 || true
    exit 1
}
inside() { timeout 120 nsenter -t "$leader" -a env PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive "$@"; }
is_there() { inside test -e "$1" || fail "$1 is missing"; }
is_gone() { ! inside test -e "$1" || fail "$1 is left"; }

[ "$(dpkg-parsechangelog -l "$tree/contrib/debian/changelog" -S Version)" = "$(dpkg-deb -f "$package" Version)" ] ||
    { echo "contrib/debian/changelog has another version than the package" >&2; exit 1; }

step "a minimal Debian"
if [ ! -e "$base/etc/debian_version" ]; then
    # shellcheck disable=SC2016  # apt's own variable
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Label: Debian' | head -n 1)
    # What the package depends on, too: the system below has no network.
    libraries=$(dpkg-deb -f "$package" Depends | tr ',' '\n' | sed 's/^ *//; s/[ (|].*//' | grep '^lib' | paste -sd,)
    debootstrap --variant=minbase --include="systemd-sysv,procps,iproute2,iputils-ping,nftables,logrotate,$libraries" bookworm "$base" "$mirror" \
        >"$work/debootstrap.log" 2>&1 || { tail -n 20 "$work/debootstrap.log"; exit 1; }
fi
mkdir -p "$root" "$work/upper" "$work/internal"
mount -t overlay -o "lowerdir=$base,upperdir=$work/upper,workdir=$work/internal" overlay "$root"
rm -f "$root/etc/machine-id"
# There is no network to wait for.
ln -s /dev/null "$root/etc/systemd/system/systemd-networkd-wait-online.service"
mkdir "$root/packages"
cp "$package" "$root/packages/old.deb"
# The next version, with another default configuration.
dpkg-deb -R "$package" "$work/next"
sed -i 's/^Version: .*/&+next/' "$work/next/DEBIAN/control"
echo '# A line of the next version.' >>"$work/next/etc/btblocker/btblocker.toml"
dpkg-deb --root-owner-group -b "$work/next" "$root/packages/new.deb" >/dev/null

step "boot"
setpriv --pdeathsig KILL systemd-nspawn -q --register=no --keep-unit --private-network --machine="btblocker-deb-$$" --console=pipe \
    -b -D "$root" systemd.unit=basic.target </dev/null >"$work/console" 2>&1 &
container=$!
for _ in $(seq 200); do
    leader=$(pgrep -P "$container" | tail -n 1 || true)
    [ -n "$leader" ] && nsenter -t "$leader" -a systemctl is-active -q basic.target 2>/dev/null && break
    sleep 0.1
done
if ! inside systemctl is-active -q basic.target; then
    cat "$work/console" >&2
    exit 1
fi
# A client on the watched interface.
inside ip netns add client
inside ip link add lan0 type veth peer name lan1 netns client
inside ip addr add 192.0.2.1/24 dev lan0
inside ip link set lan0 up
inside ip -n client addr add 192.0.2.9/24 dev lan1
inside ip -n client link set lan1 up
client_passes() { inside ip netns exec client ping -q -c 1 -W "$1" 192.0.2.1 >/dev/null; }

step "install"
inside dpkg -i /packages/old.deb
is_there /etc/btblocker/btblocker.toml
is_there /usr/share/man/man8/btblocker.8.gz
inside getent passwd btblocker >/dev/null || fail "there is no user btblocker"
! inside systemctl is-enabled -q btblocker || fail "the installation enabled the service"
! inside systemctl is-active -q btblocker || fail "the installation started the service"
inside btblocker --version
inside btblocker config | grep -q '# default' || fail "it does not read the default configuration"
inside logrotate --debug /etc/logrotate.d/btblocker 2>&1 | grep -qi '^error' && fail "logrotate refuses its file"

inside systemd-analyze verify btblocker.service
# There is no default route that `auto` could follow: the check says so, and what to do.
if inside btblocker check >"$work/check" 2>&1; then fail "the check finds nothing to do"; fi
grep -q 'name the interface with --interface' "$work/check" || { cat "$work/check"; fail "the check does not say what to do"; }

inside sh -c 'echo "interface = \"lan0\"" >>/etc/btblocker/btblocker.toml'
# Now only the service is missing.
inside btblocker check >"$work/check" 2>&1 || { cat "$work/check"; fail "the check finds an error before the first start"; }
for said in 'the daemon makes them when it starts' 'no daemon is running'; do
    grep -qF "$said" "$work/check" || { cat "$work/check"; fail "the check does not say: $said"; }
done

step "use"
inside systemctl enable -q --now btblocker
inside systemctl is-active -q btblocker || fail "the service does not run"
inside btblocker check
client_passes 5 || fail "packets do not pass without a ban"
inside btblocker ban 192.0.2.9
if client_passes 1; then fail "packets of a banned host pass"; fi
inside btblocker unban 192.0.2.9
client_passes 5 || fail "packets do not pass after the ban was lifted"
inside btblocker ban 203.0.113.9
before=$(inside systemctl show --value -p MainPID btblocker)

step "upgrade"
inside dpkg -i --force-confold /packages/new.deb
inside grep -qx 'interface = "lan0"' /etc/btblocker/btblocker.toml || fail "the upgrade overwrote the configuration"
inside systemctl is-enabled -q btblocker || fail "the upgrade disabled the service"
inside systemctl is-active -q btblocker || fail "the service does not run after the upgrade"
[ "$(inside systemctl show --value -p MainPID btblocker)" != "$before" ] || fail "the old program still runs"
inside btblocker bans | grep -qF 203.0.113.9 || fail "the upgrade lost a ban"

step "remove"
inside dpkg -r btblocker
! inside systemctl is-active -q btblocker || fail "the service still runs"
! inside nft list tables | grep -q btblocker || fail "drop rules are left"
is_gone /usr/bin/btblocker
is_there /etc/btblocker/btblocker.toml
is_there /var/lib/btblocker

step "install again"
inside dpkg -i --force-confold /packages/new.deb
inside grep -qx 'interface = "lan0"' /etc/btblocker/btblocker.toml || fail "the configuration was not kept"
inside systemctl start btblocker

step "purge"
inside dpkg -P btblocker
for path in /etc/btblocker /var/lib/btblocker /var/log/btblocker /run/btblocker /etc/logrotate.d/btblocker \
    /usr/lib/systemd/system/btblocker.service /etc/systemd/system/multi-user.target.wants/btblocker.service; do
    is_gone "$path"
done
! inside nft list tables | grep -q btblocker || fail "drop rules are left"
if inside dpkg -s btblocker >/dev/null 2>&1; then fail "dpkg still knows it"; fi

step "all is well"
