#!/bin/sh
# Builds btblocker for another processor on Debian or Ubuntu, into target/TRIPLE/release. Of the machine it needs a cross
# compiler and Rust's standard library for that processor, which are installed; the C libraries that the program is
# linked with are unpacked into target/sysroot-ARCH and nowhere else.
# Usage: cross-build.sh ARCH LIBRARY_PACKAGE...    ARCH: aarch64
set -eu

[ $# -ge 2 ] || { echo "usage: cross-build.sh ARCH LIBRARY_PACKAGE..." >&2; exit 2; }
arch=$1
shift
case $arch in
aarch64) debian=arm64 ;;
*)
    echo "cross-build.sh: cannot build for $arch, only for aarch64" >&2
    exit 2
    ;;
esac
tree=$(cd "$(dirname "$0")/.." && pwd)
rust=$arch-unknown-linux-gnu
root=$tree/target/sysroot-$arch
"$tree/contrib/install-packages.sh" gcc libc6-dev pkg-config clang libclang-dev "gcc-$arch-linux-gnu"
rustup target add "$rust"

# apt for that processor in a folder of its own, where nothing is installed: it fetches what the packages need, too.
rm -rf "$root"
mkdir -p "$root/apt/lists/partial" "$root/apt/archives/partial"
: >"$root/apt/status"
cat >"$root/apt/config" <<END
APT::Architecture "$debian";
APT::Architectures { "$debian"; };
APT::Sandbox::User "root";
Dir::State "$root/apt";
Dir::State::status "$root/apt/status";
Dir::Cache "$root/apt";
END
export APT_CONFIG="$root/apt/config"
apt-get -q update
apt-get -q -y --no-install-recommends --download-only install libc6-dev "$@"
for package in "$root"/apt/archives/*.deb; do dpkg-deb -x "$package" "$root"; done
unset APT_CONFIG
rm -r "$root/apt"
# Links that would lead out of it.
find "$root" -type l -lname '/*' -printf '%p\n%l\n' | while read -r link && read -r target; do
    ln -sfn "$root$target" "$link"
done

# Each for this target only: build scripts are made for this machine, with its own libraries.
name=$(echo "$rust" | tr - _)
cargo_name=CARGO_TARGET_$(echo "$name" | tr '[:lower:]' '[:upper:]')
cd "$tree"
env "PKG_CONFIG_SYSROOT_DIR_$name=$root" "PKG_CONFIG_LIBDIR_$name=$root/usr/lib/$arch-linux-gnu/pkgconfig" \
    "BINDGEN_EXTRA_CLANG_ARGS_$name=--sysroot=$root" "CFLAGS_$name=--sysroot=$root" \
    "${cargo_name}_LINKER=$arch-linux-gnu-gcc" "${cargo_name}_RUSTFLAGS=-C link-arg=--sysroot=$root" \
    cargo build --release --locked --target "$rust"
