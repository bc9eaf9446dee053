# btblocker as a service of NixOS. Options that are not set keep the program's own default; `settings` takes every key
# of the configuration file, of which the other options are the most wanted.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.services.btblocker;
  format = pkgs.formats.toml { };
  configFile = format.generate "btblocker.toml" cfg.settings;
  backend = cfg.settings.backend or "ipset";
  logDirectory = "/var/log/btblocker";
  detectionLog = cfg.settings.detection_log or "";
  xdp = backend == "xdp";
  bpf = xdp || cfg.settings.early_exit or false;

  setting =
    type: description:
    lib.mkOption {
      type = lib.types.nullOr type;
      default = null;
      inherit description;
    };

  duration = lib.types.either (lib.types.ints.between 1 2147483) (
    lib.types.strMatching "[0-9]+ *(ms|s|m|min|h|d)?"
  );

  capabilities = [
    "CAP_NET_RAW"
    "CAP_NET_ADMIN"
  ]
  ++ lib.optional bpf "CAP_BPF";

  modules = {
    ipset = [
      "ip_set"
      "ip_set_hash_net"
      "xt_set"
      "nft_compat"
    ];
    nftables = [ "nf_tables" ];
  };
in
{
  imports = [
    (lib.mkRenamedOptionModule
      [ "services" "btblocker" "firewallBackend" ]
      [ "services" "btblocker" "backend" ]
    )
  ];

  options.services.btblocker = {
    enable = lib.mkEnableOption "btblocker, which bans hosts that speak BitTorrent";

    package = lib.mkOption {
      type = lib.types.package;
      default = pkgs.btblocker or (pkgs.callPackage ./package.nix { });
      defaultText = lib.literalExpression "pkgs.btblocker";
      description = "The package to use.";
    };

    interface = setting lib.types.str ''
      Interface to watch, or several with commas between. `auto`, the program's default, is the one of the default
      route. An interface that does not exist yet is waited for.
    '';
    interfaces = setting (lib.types.listOf lib.types.str) "Interfaces to watch as a list, instead of `interface`.";

    backend = setting (lib.types.enum [
      "ipset"
      "nftables"
      "xdp"
      "dry-run"
    ]) "Who holds the bans; `ipset` by default.";
    ipsetName = setting (lib.types.strMatching "[A-Za-z][A-Za-z0-9_.-]{0,25}") ''
      Name of the IPv4 set, `torrent_block` by default; the IPv6 set has a `6` behind it.
    '';
    banDuration = setting duration "How long a host is banned: seconds, or text such as `30m`; `5h` by default.";
    xdpMode =
      setting
        (lib.types.enum [
          "auto"
          "native"
          "generic"
        ])
        "How XDP programs are attached: `auto`, the default, is native where the driver can, else generic.";
    cleanupInterval = setting duration ''
      How often bans that have run out are removed from XDP maps: seconds, or text such as `30m`; `5m` by default.
    '';
    cleanupOnStop = setting lib.types.bool "Lift all bans when the service stops.";
    monitorOnly = setting lib.types.bool "Detect and report, but ban nobody.";

    entropyThreshold = setting (lib.types.numbers.between 0 6.585) ''
      Least entropy of 96 bytes, in bits per byte, for a block to look random; 5.9 by default.
    '';
    minPayloadSize = setting (lib.types.ints.between 0 65535) ''
      Least payload, in bytes, that statistical tests look at; 60 by default.
    '';
    blockSocks = setting lib.types.bool "Ban the use of SOCKS proxies as such.";
    whitelistPorts = setting (lib.types.listOf lib.types.port) ''
      Ports on which only conclusive evidence counts; 22, 53, 80, 443, 853, 5222 and 5269 by default.
    '';

    logLevel = setting (lib.types.enum [
      "error"
      "warn"
      "info"
      "debug"
      "trace"
    ]) "Least severity of log lines; `info` by default.";

    logFormat = setting (lib.types.enum [
      "text"
      "json"
    ]) "How log lines are written; `text` by default.";
    detectionLogPath = setting lib.types.str ''
      File that gets every recognised flow with the beginning of its payload, below {file}`/var/log/btblocker`. By
      default there is none.
    '';

    settings = lib.mkOption {
      type = format.type;
      default = { };
      example = lib.literalExpression ''
        {
          allow = [ "198.51.100.0/24" ];
          sensitivity = "strict";
        }
      '';
      description = ''
        Keys of {file}`btblocker.toml`, as the README lists them. A key that has an option of its own may be set in
        either place, but not differently in both.
      '';
    };
  };

  config = lib.mkIf cfg.enable {
    assertions = [
      {
        assertion = cfg.interface == null || cfg.interfaces == null;
        message = "services.btblocker: set either interface or interfaces, not both.";
      }
      {
        assertion = cfg.interfaces != [ ];
        message = "services.btblocker.interfaces is empty: name at least one, or leave it out for the one of the default route.";
      }
      {
        assertion = cfg.xdpMode == null || xdp;
        message = ''services.btblocker.xdpMode has no effect on backend = "${backend}": set backend = "xdp", or leave it out.'';
      }
      {
        assertion = detectionLog == "" || lib.hasPrefix "${logDirectory}/" detectionLog;
        message = "services.btblocker.detectionLogPath: the service may write below ${logDirectory} only, not to ${detectionLog}.";
      }
      {
        assertion =
          !(cfg.settings.setup or true) || backend != "nftables" || !config.networking.nftables.flushRuleset;
        message = ''
          services.btblocker: networking.nftables.flushRuleset deletes btblocker's tables with all bans whenever the
          firewall is reloaded. Set networking.nftables.flushRuleset = false, or backend = "ipset".
        '';
      }
    ];

    services.btblocker.settings = lib.filterAttrs (_: value: value != null) {
      interface = if cfg.interface != null then cfg.interface else cfg.interfaces;
      inherit (cfg) backend;
      set_name = cfg.ipsetName;
      ban_duration = cfg.banDuration;
      cleanup_on_stop = cfg.cleanupOnStop;
      monitor_only = cfg.monitorOnly;
      entropy_threshold = cfg.entropyThreshold;
      min_payload_size = cfg.minPayloadSize;
      block_socks = cfg.blockSocks;
      exempt_ports = cfg.whitelistPorts;
      log_level = cfg.logLevel;
      log_format = cfg.logFormat;
      detection_log = cfg.detectionLogPath;
      xdp_mode = cfg.xdpMode;
      cleanup_interval = cfg.cleanupInterval;
    };

    # Where the commands (`btblocker bans`, `unban`) read it, too.
    environment.etc."btblocker/btblocker.toml".source = configFile;
    environment.systemPackages = [ cfg.package ];
    boot.kernelModules = lib.optionals (!(cfg.settings.monitor_only or false)) (
      modules.${backend} or [ ]
    );

    users.users.btblocker = {
      isSystemUser = true;
      group = "btblocker";
      description = "BitTorrent blocker";
    };
    users.groups.btblocker = { };

    systemd.services.btblocker = {
      description = "Ban hosts that speak BitTorrent";
      documentation = [ "https://github.com/btblocker/btblocker" ];
      wantedBy = [ "multi-user.target" ];
      wants = [ "network-online.target" ];
      after = [
        "network-online.target"
        "nftables.service"
        "firewall.service"
      ];
      restartTriggers = [ configFile ];
      startLimitIntervalSec = 0;
      # As in contrib/btblocker.service, where the reasons stand.
      serviceConfig = {
        Type = "notify";
        NotifyAccess = "main";
        ExecStart = lib.getExe cfg.package;
        ExecReload = "${pkgs.coreutils}/bin/kill -HUP $MAINPID";
        TimeoutStartSec = "60s";
        TimeoutStopSec = "30s";
        WatchdogSec = "30s";
        Restart = "on-failure";
        RestartSec = "5s";
        RestartSteps = 6;
        RestartMaxDelaySec = "5min";
        RestartPreventExitStatus = 2;
        OOMScoreAdjust = -500;

        User = "btblocker";
        Group = "btblocker";
        StateDirectory = "btblocker";
        RuntimeDirectory = "btblocker";
        LogsDirectory = "btblocker";
        StateDirectoryMode = "0750";
        RuntimeDirectoryMode = "0750";
        LogsDirectoryMode = "0750";
        UMask = "0027";

        AmbientCapabilities = capabilities;
        CapabilityBoundingSet = capabilities;
        NoNewPrivileges = true;
        RestrictAddressFamilies = [
          "AF_UNIX"
          "AF_INET"
          "AF_INET6"
          "AF_NETLINK"
          "AF_PACKET"
        ];
        SystemCallArchitectures = "native";
        SystemCallFilter = [
          "@system-service"
          "~@privileged @resources"
          # With these btblocker confines its files and narrows the filter itself.
          "seccomp landlock_create_ruleset landlock_add_rule landlock_restrict_self"
        ]
        ++ lib.optional bpf "bpf"
        # A capability that is not needed for good is given up.
        ++ lib.optional (bpf && !xdp) "capset";
        SystemCallErrorNumber = "EPERM";

        ProtectSystem = "strict";
        ProtectHome = true;
        ProtectProc = "invisible";
        ProcSubset = "pid";
        ProtectClock = true;
        ProtectControlGroups = true;
        ProtectHostname = true;
        ProtectKernelLogs = true;
        ProtectKernelModules = true;
        ProtectKernelTunables = true;
        PrivateDevices = true;
        DevicePolicy = "closed";
        PrivateIPC = true;
        PrivateMounts = true;
        PrivateTmp = true;
        RemoveIPC = true;
        KeyringMode = "private";
        LockPersonality = true;
        MemoryDenyWriteExecute = true;
        RestrictNamespaces = true;
        RestrictRealtime = true;
        RestrictSUIDSGID = true;
      }
      // lib.optionalAttrs xdp {
        # Pins need a folder of their own on the bpf filesystem, which otherwise is root's alone.
        ExecStartPre = [
          "+${pkgs.coreutils}/bin/chmod o+x /sys/fs/bpf"
          "+${pkgs.coreutils}/bin/install -d -o btblocker -g btblocker -m 700 /sys/fs/bpf/btblocker"
        ];
        ReadWritePaths = "-/sys/fs/bpf/btblocker";
      };
    };
  };
}
