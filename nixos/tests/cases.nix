# The module evaluated with a dozen configurations. Needs no nixpkgs: see lib.nix. The answer is data for check.py.
let
  lib = import ./lib.nix;
  inherit (lib) mkOption types;

  option = type: default: mkOption { inherit type default; };

  pkgs = rec {
    btblocker = {
      outPath = "@package@";
      meta.mainProgram = "btblocker";
    };
    coreutils.outPath = "@coreutils@";
    formats.toml = _: {
      type = types.attrsOf types.anything;
      generate =
        _: value:
        builtins.concatStringsSep "" (
          map (key: "${key} = ${builtins.toJSON value.${key}}\n") (builtins.attrNames value)
        );
    };
  };

  # Those options of NixOS that the module sets or reads.
  nixos.options = {
    assertions = option (types.listOf types.anything) [ ];
    boot.kernelModules = option (types.listOf types.str) [ ];
    environment.etc = option (types.attrsOf (
      types.among [
        "source"
        "text"
        "mode"
      ]
    )) { };
    environment.systemPackages = option (types.listOf types.package) [ ];
    networking.nftables.flushRuleset = option types.bool false;
    users.users = option (types.attrsOf (
      types.among [
        "isSystemUser"
        "group"
        "description"
      ]
    )) { };
    users.groups = option (types.attrsOf types.anything) { };
    systemd.services = option (types.attrsOf (
      types.among [
        "description"
        "documentation"
        "wantedBy"
        "wants"
        "after"
        "restartTriggers"
        "startLimitIntervalSec"
        "serviceConfig"
      ]
    )) { };
  };

  evaluate =
    case:
    let
      result = lib.evalModules {
        modules = [
          nixos
          ../module.nix
          case.given
        ];
        specialArgs = { inherit pkgs; };
      };
      inherit (result) config;
      works = result.errors == [ ];
    in
    {
      inherit (case) name;
      expected = {
        settings = case.settings or null;
        wrong = case.wrong or [ ];
        modules = case.modules or null;
      };
      wrong =
        if works then
          map (one: one.message) (builtins.filter (one: !one.assertion) config.assertions)
        else
          result.errors;
      settings = if works then config.services.btblocker.settings else null;
      toml = if works then config.environment.etc."btblocker/btblocker.toml".source or null else null;
      unit = if works then config.systemd.services.btblocker or null else null;
      modules = if works then config.boot.kernelModules else null;
      users = if works then builtins.attrNames config.users.users else null;
    };

  enabled = options: {
    services.btblocker = {
      enable = true;
    }
    // options;
  };
in
map evaluate [
  {
    name = "nothing without enable";
    given = { };
    settings = { };
    modules = [ ];
  }
  {
    name = "defaults are the program's";
    given = enabled { };
    settings = { };
    modules = [
      "ip_set"
      "ip_set_hash_net"
      "xt_set"
      "nft_compat"
    ];
  }
  {
    name = "every option";
    given = enabled {
      interfaces = [
        "eth0"
        "wg0"
      ];
      backend = "nftables";
      ipsetName = "bt";
      banDuration = "30m";
      cleanupOnStop = true;
      monitorOnly = false;
      entropyThreshold = 5.5;
      minPayloadSize = 100;
      blockSocks = true;
      whitelistPorts = [
        22
        443
      ];
      logLevel = "debug";
      logFormat = "json";
      detectionLogPath = "/var/log/btblocker/detections.log";
    };
    settings = {
      interface = [
        "eth0"
        "wg0"
      ];
      backend = "nftables";
      set_name = "bt";
      ban_duration = "30m";
      cleanup_on_stop = true;
      monitor_only = false;
      entropy_threshold = 5.5;
      min_payload_size = 100;
      block_socks = true;
      exempt_ports = [
        22
        443
      ];
      log_level = "debug";
      log_format = "json";
      detection_log = "/var/log/btblocker/detections.log";
    };
    modules = [ "nf_tables" ];
  }
  {
    name = "interfaces as text, seconds";
    given = enabled {
      interface = "ppp0,wg0";
      banDuration = 7200;
    };
    settings = {
      interface = "ppp0,wg0";
      ban_duration = 7200;
    };
  }
  {
    name = "xdp";
    given = enabled {
      backend = "xdp";
      xdpMode = "generic";
      cleanupInterval = "10m";
    };
    settings = {
      backend = "xdp";
      xdp_mode = "generic";
      cleanup_interval = "10m";
    };
    modules = [ ];
  }
  {
    name = "monitoring needs no kernel modules";
    given = enabled { monitorOnly = true; };
    settings.monitor_only = true;
    modules = [ ];
  }
  {
    name = "keys without an option of their own";
    given = enabled {
      settings = {
        sensitivity = "strict";
        allow = [ "198.51.100.0/24" ];
        max_bans = 1000;
      };
    };
    settings = {
      sensitivity = "strict";
      allow = [ "198.51.100.0/24" ];
      max_bans = 1000;
    };
  }
  {
    name = "the backend under its other name";
    given = enabled { firewallBackend = "nftables"; };
    settings.backend = "nftables";
    modules = [ "nf_tables" ];
  }
  {
    name = "a stronger definition wins";
    given = enabled {
      banDuration = "1h";
      settings.ban_duration = lib.mkForce "2h";
    };
    settings.ban_duration = "2h";
  }
  {
    name = "interface and interfaces";
    given = enabled {
      interface = "eth0";
      interfaces = [ "wg0" ];
    };
    wrong = [ "set either interface or interfaces, not both" ];
  }
  {
    name = "no interface";
    given = enabled { interfaces = [ ]; };
    wrong = [ "interfaces is empty" ];
  }
  {
    name = "a mode of another backend";
    given = enabled { xdpMode = "native"; };
    wrong = [ ''xdpMode has no effect on backend = "ipset"'' ];
  }
  {
    name = "a log where the service may not write";
    given = enabled { detectionLogPath = "/srv/detections.log"; };
    wrong = [ "may write below /var/log/btblocker only, not to /srv/detections.log" ];
  }
  {
    name = "a firewall that flushes all tables";
    given = enabled { backend = "nftables"; } // {
      networking.nftables.flushRuleset = true;
    };
    wrong = [ "flushRuleset = false" ];
  }
  {
    name = "an unknown option";
    given = enabled { banDuratoin = 5; };
    wrong = [ "`services.btblocker.banDuratoin' does not exist" ];
  }
  {
    name = "wrong types";
    given = enabled {
      banDuration = "5 weeks";
      backend = "pf";
      entropyThreshold = 7;
      whitelistPorts = [ 70000 ];
      ipsetName = "1 set";
      minPayloadSize = "much";
    };
    wrong = [
      "`services.btblocker.backend' is not of type"
      "`services.btblocker.banDuration' is not of type"
      "`services.btblocker.entropyThreshold' is not of type"
      "`services.btblocker.ipsetName' is not of type"
      "`services.btblocker.minPayloadSize' is not of type"
      "`services.btblocker.whitelistPorts' is not of type"
    ];
  }
  {
    name = "two different values";
    given = enabled {
      banDuration = "1h";
      settings.ban_duration = "2h";
    };
    wrong = [ "`services.btblocker.settings.ban_duration' has conflicting definition values" ];
  }
]
