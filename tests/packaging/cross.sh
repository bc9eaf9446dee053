#!/usr/bin/env bash
# Runs a program that was built for another processor in an emulator: it starts, and judges all recorded cases as the
# program for this processor does. Needs Debian's package qemu-user.
#
# Usage: cross.sh ARCH BINARY    BINARY: for this processor; the other one is where contrib/cross-build.sh leaves it
set -euo pipefail

tree=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
arch=$1 binary=$(realpath "$2")
emulated=("qemu-$arch" -L "$tree/target/sysroot-$arch" "$tree/target/$arch-unknown-linux-gnu/release/btblocker")
[ "$("${emulated[@]}" --version)" = "$("$binary" --version)" ] || { echo "it is of another version" >&2; exit 1; }
replay() { "$@" replay --format json "$tree/tests/cases"; }
diff <(replay "$binary") <(replay "${emulated[@]}") || { echo "it judges otherwise than the native program (<)" >&2; exit 1; }
echo "$arch: $(replay "$binary" | wc -l) findings of all cases as on this machine"
