#!/usr/bin/env bash
# Evaluates the NixOS module with a dozen configurations, right and wrong ones, and compares unit, configuration file and
# complaints with what is expected. Needs no nixpkgs and no store, only Debian's packages nix-bin, systemd and python3.
#
# Usage: nix.sh [BINARY]    default: target/debug/btblocker
set -euo pipefail

tree=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
binary=${1:-$tree/target/debug/btblocker}

NIX_STATE_DIR=$(mktemp -d)
export NIX_STATE_DIR NIX_CONFIG='build-users-group ='
trap 'rm -rf "$NIX_STATE_DIR"' EXIT
for file in "$tree"/flake.nix "$tree"/nixos/*.nix "$tree"/nixos/tests/*.nix; do
    nix-instantiate --parse "$file" >/dev/null
done
evaluate() { nix-instantiate --store dummy:// --eval --strict --json --read-write-mode "$@"; }

# The flake gives what its readers name, for each system, with whatever nixpkgs gives.
given=$(evaluate --expr "
  let
    lib = import $tree/nixos/tests/lib.nix;
    outputs = (import $tree/flake.nix).outputs {
      self = outputs;
      nixpkgs = {
        inherit lib;
        legacyPackages = lib.genAttrs [ \"x86_64-linux\" \"aarch64-linux\" ] (system: {
          callPackage = file: _: toString file + system;
          nixfmt = \"nixfmt\";
        });
      };
    };
  in [
    outputs.packages.x86_64-linux.default
    outputs.packages.aarch64-linux.btblocker
    outputs.checks.x86_64-linux.package
    (outputs.overlays.default { callPackage = file: _: toString file; } { }).btblocker
    (builtins.isFunction outputs.nixosModules.default)
  ]")
file=$tree/nixos/package.nix
wanted="[\"${file}x86_64-linux\",\"${file}aarch64-linux\",\"${file}x86_64-linux\",\"$file\",true]"
[ "$given" = "$wanted" ] || { printf 'flake.nix gives %s\ninstead of       %s\n' "$given" "$wanted" >&2; exit 1; }

# The package's sources have all that cargo compiles.
sources=$(sed -n '/fileset.unions/,/\]/s|^ *\.\./||p' "$file")
git -C "$tree" ls-files '*.rs' 'Cargo.*' ':!fuzz' | while read -r path; do
    grep -qxF -e "${path%%/*}" <<<"$sources" || { echo "nixos/package.nix lacks $path" >&2; exit 1; }
done

evaluate "$tree/nixos/tests/cases.nix" |
    python3 -B "$tree/nixos/tests/check.py" "$tree" "$binary"
