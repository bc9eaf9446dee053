#!/usr/bin/env bash
# Packs what is built already into an rpm as contrib/btblocker.spec tells, and compares its files with what the Debian
# package has. Needs Debian's package rpm. Fedora's own macros, and compiling by rpmbuild, are left out: Debian has neither.
#
# Usage: rpm.sh BINARY MANUAL PACKAGE.deb    MANUAL: folder that `make manual` filled
set -euo pipefail

tree=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
binary=$(realpath "$1") manual=$(realpath "$2") package=$(realpath "$3")
spec=$tree/contrib/btblocker.spec
work=$(mktemp -d "${TMPDIR:-/tmp}/btblocker-rpm.XXXXXX")
trap 'rm -rf "$work"' EXIT
fail() {
    printf 'FAILED: %s\n' "$1" >&2
    exit 1
}

version=$(sed -n '/^\[workspace.package\]/,/^$/s/^version = "\(.*\)"/\1/p' "$tree/Cargo.toml")
[ "$(rpmspec -q --qf '%{version}' "$spec")" = "$version" ] || fail "contrib/btblocker.spec is not of version $version"
source=$work/BUILD/btblocker-$version
mkdir -p "$source/target/release"
git -C "$tree" archive HEAD | tar -x -C "$source"
cp "$binary" "$source/target/release/btblocker"
cp -r "$manual" "$source/manual"

options=(--nodeps --nocheck --short-circuit --define "_topdir $work" --define '_unitdir /usr/lib/systemd/system'
    --define '_sysusersdir /usr/lib/sysusers.d')
for macro in systemd_post systemd_preun systemd_postun_with_restart; do
    options+=(--define "$macro() systemctl daemon-reload || :")
done
for stage in -bi -bb; do
    rpmbuild "$stage" "${options[@]}" "$spec" >"$work/log" 2>&1 || { cat "$work/log" >&2; fail "rpmbuild $stage"; }
done
rpm=$(echo "$work"/RPMS/*/btblocker-"$version"-*.rpm)
[ -e "$rpm" ] || fail "there is no rpm"

# As in the Debian package, but for documents, the place of one completion, and manuals, which only Fedora's rpmbuild packs.
listed() { grep -v -e '^usr/share/doc/' -e '^usr/share/licenses/' -e '/\.build-id' | sed 's|vendor-completions|site-functions|; s|\.gz$||' | sort; }
rpm -qp --qf '[%{FILEMODES:perms} %{FILENAMES}\n]' "$rpm" 2>/dev/null | sed -n 's/^-[^ ]* \/\(.*\)/\1/p' | listed >"$work/rpm"
dpkg-deb -c "$package" | sed -n 's/^-.* \.\/\(.*\)/\1/p' | listed >"$work/deb"
diff "$work/deb" "$work/rpm" || fail "deb (<) and rpm (>) have different files"
# What administrators change is kept by upgrades.
diff <(dpkg-deb -I "$package" conffiles | sort) <(rpm -qpc "$rpm" 2>/dev/null | sort) || fail "deb (<) and rpm (>) keep different files"
(cd "$work" && rpm2archive - <"$rpm" | tar -xz ./usr/bin/btblocker)
[ "$("$work/usr/bin/btblocker" --version)" = "$("$binary" --version)" ] || fail "another program is in it"
echo "$(basename "$rpm"): $(wc -l <"$work/rpm") files as in the Debian package"
