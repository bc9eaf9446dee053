#!/usr/bin/env bash
# Tries the README on a Debian that has nothing but Rust and make: a new minimal system in a container, a clean clone of the
# committed tree, then `make run` and `make test`. Shows that they install everything else by themselves.
#
# Needs root, git, rustc and Debian's packages debootstrap and systemd-container. Downloads packages and crates as this
# machine does (its apt sources, proxies and certificates), and removes the container at the end.
#
# Usage: fresh-debian.sh [COMMAND...]    instead of both README commands runs COMMAND in the clone
set -euo pipefail

# Mounts in a namespace of their own: whatever ends this, none of them is left.
[ "${OWN_MOUNTS-}" ] || OWN_MOUNTS=yes exec unshare --mount "$0" "$@"

tree=$(git -C "$(dirname "${BASH_SOURCE[0]}")" rev-parse --show-toplevel)
root=$(mktemp -d "${TMPDIR:-/tmp}/fresh-debian.XXXXXX")
trap 'rm -rf --one-file-system "$root"' EXIT
step() { printf '\n== %s (%s s)\n' "$1" "$SECONDS"; }

chmod 755 "$root"
step "new system in $root"
# shellcheck disable=SC2016  # apt's own variable
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Label: Debian' | head -n 1)
debootstrap --variant=minbase --include=make,ca-certificates bookworm "$root" "$mirror" >"$root.log" 2>&1 ||
    { tail -n 20 "$root.log"; exit 1; }
rm -f "$root.log" "$root/etc/apt/sources.list"
for part in sources.list sources.list.d apt.conf.d preferences.d keyrings trusted.gpg.d; do
    [ ! -e "/etc/apt/$part" ] || cp -a "/etc/apt/$part" "$root/etc/apt/"
done
# Cleaning hooks of container images would throw away what is installed next.
rm -f "$root"/etc/apt/apt.conf.d/docker-* "$root"/etc/apt/apt.conf.d/*packagekit "$root"/etc/apt/apt.conf.d/*appstream
cp -a /etc/hosts "$root/etc/hosts"
git clone --quiet --no-local --depth 1 "file://$tree" "$root/root/btblocker"
[ ! -f "${CARGO_HOME:-$HOME/.cargo}/config.toml" ] ||
    install -D -m 644 "${CARGO_HOME:-$HOME/.cargo}/config.toml" "$root/root/.cargo/config.toml"

# The daemon of `make run` gets a network of its own, with one interface and a default route, and is stopped after a while.
cat >"$root/usr/local/bin/in-own-network" <<'SCRIPT'
#!/bin/sh
exec unshare --net sh -ec '
    ip link add lab0 type veth peer name lab1
    ip link set lab0 up
    ip link set lab1 up
    ip addr add 192.0.2.2/24 dev lab0
    ip route add default via 192.0.2.1
    exec timeout --preserve-status --signal TERM 10 "$@"' own-network "$@"
SCRIPT
chmod 755 "$root/usr/local/bin/in-own-network"

options=(-q --register=no --keep-unit --as-pid2 --resolv-conf=copy-host --capability=all --system-call-filter=bpf --console=pipe -D "$root"
    --bind-ro="$(rustc --print sysroot)":/opt/rust --bind=/dev/net/tun --chdir=/root/btblocker
    --setenv=PATH=/opt/rust/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin)
certificates=${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}
if [ -f "$certificates" ]; then
    install -m 644 "$certificates" "$root/etc/certificates-of-the-host.pem"
    options+=(--setenv=SSL_CERT_FILE=/etc/certificates-of-the-host.pem --setenv=CARGO_HTTP_CAINFO=/etc/certificates-of-the-host.pem)
fi
for name in http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY; do
    [ -z "${!name:-}" ] || options+=(--setenv="$name=${!name}")
done
# As on a real machine, the tests may set the sysctls of their own network namespaces.
export SYSTEMD_NSPAWN_API_VFS_WRITABLE=network
inside() { systemd-nspawn "${options[@]}" "$@" </dev/null; }

if [ $# -gt 0 ]; then
    step "$*"
    inside "$@"
    exit
fi

step "make run"
inside make run RUN_WITH=in-own-network 2>&1 | tee "$root/run.log"
grep -qw ready "$root/run.log" || { echo "the daemon did not become ready"; exit 1; }
step "make test"
inside make test
step "both README commands work"
