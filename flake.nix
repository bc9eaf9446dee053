{
  description = "Recognises BitTorrent on network interfaces and bans the hosts that speak it in the kernel";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";

  outputs =
    { self, nixpkgs }:
    let
      forAllSystems = nixpkgs.lib.genAttrs [
        "x86_64-linux"
        "aarch64-linux"
      ];
      pkgsFor = system: nixpkgs.legacyPackages.${system};
    in
    {
      packages = forAllSystems (system: rec {
        btblocker = (pkgsFor system).callPackage ./nixos/package.nix { };
        default = btblocker;
      });

      overlays.default = final: _: { btblocker = final.callPackage ./nixos/package.nix { }; };

      nixosModules.default = import ./nixos/module.nix;

      checks = forAllSystems (system: {
        package = self.packages.${system}.btblocker;
        network = import ./nixos/test.nix {
          pkgs = pkgsFor system;
          module = self.nixosModules.default;
        };
      });

      formatter = forAllSystems (system: (pkgsFor system).nixfmt);
    };
}
