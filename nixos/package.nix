{
  lib,
  stdenv,
  rustPlatform,
  installShellFiles,
  pkg-config,
  libpcap,
  ipset,
  libnftnl,
  libmnl,
  libbpf,
  elfutils,
  zlib,
}:
let
  manifest = lib.importTOML ../Cargo.toml;
in
rustPlatform.buildRustPackage {
  pname = "btblocker";
  inherit (manifest.workspace.package) version;

  src = lib.fileset.toSource {
    root = ../.;
    fileset = lib.fileset.unions [
      ../Cargo.toml
      ../Cargo.lock
      ../README.md
      ../benches
      ../build.rs
      ../contrib
      ../detectors
      ../examples
      ../signatures
      ../src
      ../tests
    ];
  };
  cargoLock.lockFile = ../Cargo.lock;

  nativeBuildInputs = [
    installShellFiles
    pkg-config
    rustPlatform.bindgenHook
  ];
  buildInputs = [
    libpcap
    ipset
    libnftnl
    libmnl
    libbpf
    elfutils
    zlib
  ];

  # Tests beyond those in the sources need root and network namespaces.
  cargoTestFlags = [
    "--workspace"
    "--lib"
  ];

  # Man page and completions come from the command line's own definition.
  postBuild = lib.optionalString (stdenv.buildPlatform.canExecute stdenv.hostPlatform) ''
    cargo run --offline --release --example manual -- manual
  '';
  postInstall = lib.optionalString (stdenv.buildPlatform.canExecute stdenv.hostPlatform) ''
    installManPage manual/btblocker.8
    installShellCompletion manual/btblocker.{bash,fish} manual/_btblocker
  '';

  meta = {
    inherit (manifest.package) description;
    homepage = manifest.workspace.package.repository;
    # Linked with libipset and libnftnl.
    license = with lib.licenses; [
      mit
      gpl2Only
    ];
    mainProgram = "btblocker";
    platforms = lib.platforms.linux;
  };
}
