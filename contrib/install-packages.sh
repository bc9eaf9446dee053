#!/bin/sh
# Installs those of the named Debian packages that are missing, and says which. Does nothing when all are there.
# Usage: install-packages.sh PACKAGE...
set -eu

if ! command -v dpkg-query >/dev/null 2>&1; then
    echo "This is no Debian or Ubuntu: install what corresponds to these packages yourself:" "$@"
    exit 0
fi

missing=""
for package in "$@"; do
    state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$state" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

echo "Installing:$missing"
as_root=""
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null 2>&1; then
        echo "Run this as root, or install sudo." >&2
        exit 1
    fi
    as_root="sudo"
fi
$as_root apt-get update -q
# Policy 101: no service of these packages (tracker, BitTorrent client, sshd) is started, neither now nor at the next boot.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | $as_root tee "$policy" >/dev/null
    $as_root chmod 755 "$policy"
    trap '$as_root rm -f "$policy"' EXIT
fi
# shellcheck disable=SC2086  # a list of names without blanks
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $missing
if command -v systemctl >/dev/null 2>&1; then
    # shellcheck disable=SC2086
    for unit in $(dpkg -L $missing | sed -n 's|.*/systemd/system/\([^/@]*\.\(service\|socket\)\)$|\1|p'); do
        $as_root systemctl disable --quiet "$unit" || true
    done
fi
