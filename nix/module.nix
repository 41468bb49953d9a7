# The NixOS service: options in, one TOML file and one hardened unit out.
# It takes the place of nixpkgs' module of the same name and keeps its options.
{
  config,
  lib,
  pkgs,
  ...
}:

let
  inherit (lib) mkDefault mkIf mkOption types;

  cfg = config.services.wgautomesh;
  toml = pkgs.formats.toml { };

  # What TOML can say, or null, which means "not given" and is left out of the file.
  value =
    types.nullOr (
      types.oneOf [
        types.bool
        types.int
        types.float
        types.str
        types.path
        (types.attrsOf value)
        (types.listOf value)
      ]
    )
    // {
      description = "TOML value or null";
    };

  withoutNulls =
    given:
    if lib.isAttrs given && !lib.isDerivation given then
      lib.mapAttrs (_: withoutNulls) (lib.filterAttrs (_: each: each != null) given)
    else if lib.isList given then
      map withoutNulls (lib.filter (each: each != null) given)
    else
      given;

  peer = types.submodule {
    freeformType = types.attrsOf value;
    options = {
      pubkey = mkOption {
        type = types.str;
        description = "The peer's WireGuard public key.";
      };
      address = mkOption {
        type = types.str;
        example = "10.14.4.2";
        description = "The peer's address in the mesh: one IPv4 or IPv6 address without a prefix length.";
      };
      endpoint = mkOption {
        type = types.nullOr types.str;
        default = null;
        example = "hub.example.org:51820";
        description = ''
          Where the peer can be reached when nothing better is known: `host:port` or `[v6]:port`.
          At least one peer needs one.
        '';
      };
      name = mkOption {
        type = types.nullOr types.str;
        default = null;
        example = "attic";
        description = "What the log calls the peer.";
      };
    };
  };

  # A key read from a file has its newline with it.
  keys = map (each: lib.removeSuffix "\n" each.pubkey) cfg.settings.peers;
  duplicateKeys = lib.unique (lib.filter (key: lib.count (each: each == key) keys > 1) keys);

  hasSecretFile = cfg.enableGossipEncryption && cfg.gossipSecretFile != null;
in
{
  disabledModules = [ "services/networking/wgautomesh.nix" ];

  options.services.wgautomesh = {
    enable = lib.mkEnableOption "wgautomesh, which turns an existing WireGuard interface into a full mesh";

    package = mkOption {
      type = types.package;
      default = pkgs.callPackage ./package.nix { };
      defaultText = lib.literalMD "the package that comes with this module";
      description = "The package to run. `pkgs.wgautomesh` of nixpkgs is another program and does not fit.";
    };

    logLevel = mkOption {
      type = types.enum [
        "trace"
        "debug"
        "info"
        "warn"
        "error"
      ];
      default = "info";
      description = "From which level on events are logged.";
    };

    enableGossipEncryption = mkOption {
      type = types.bool;
      default = true;
      description = ''
        Seal gossip with the secret in {option}`services.wgautomesh.gossipSecretFile`. Without it, gossip is
        protected by the tunnel alone, and nothing is sent or believed on the LAN.
      '';
    };

    gossipSecretFile = mkOption {
      type = types.nullOr types.path;
      default = null;
      example = "/run/agenix/gossip-secret";
      description = ''
        A file with the gossip secret, the same on all nodes: any UTF-8 text, such as
        `openssl rand -base64 32` prints. systemd hands it to the agent, so it may belong to root alone.
        Of several lines, the first seals and all open: that is how a fleet changes its secret.
        Write it as a string: in a flake, a Nix path lies in the store, where everybody can read it.
      '';
    };

    enablePersistence = mkOption {
      type = types.bool;
      default = true;
      description = "Keep learned endpoints in `/var/lib/wgautomesh` for the next start.";
    };

    openFirewall = mkOption {
      type = types.bool;
      default = true;
      description = "Let the gossip port (UDP) through the firewall.";
    };

    settings = mkOption {
      default = { };
      description = "The configuration file, `/etc/wgautomesh.toml`. Null means that the key is not written.";
      type = types.submodule {
        freeformType = types.attrsOf value;
        options = {
          interface = mkOption {
            type = types.str;
            example = "wg0";
            description = "The WireGuard interface. Something else makes it, at any time; the agent waits for it.";
          };
          gossip_port = mkOption {
            type = types.port;
            default = 1666;
            description = "UDP port of the gossip, the same on all nodes.";
          };
          lan_discovery = mkOption {
            type = types.bool;
            default = true;
            description = "Look for peers on the same LAN.";
          };
          lan_interfaces = mkOption {
            type = types.nullOr (types.listOf types.str);
            default = null;
            example = [
              "eth0"
              "br-*"
            ];
            description = ''
              Devices to look for peers on, by name or pattern. Null means all that lead to a LAN, but no tunnels
              and no bridges of containers; a tunnel is used only if its name is written out.
            '';
          };
          upnp_forward_external_port = mkOption {
            type = types.nullOr types.port;
            default = null;
            example = 51820;
            description = ''
              External port that the router shall forward to the WireGuard port, by PCP, NAT-PMP or UPnP;
              0 takes any. Null: the router is not asked.
            '';
          };
          dns_mesh = mkOption {
            type = types.nullOr types.str;
            default = null;
            example = "_p2p.example.com";
            description = "Name whose TXT records name the members, beside those in `peers`.";
          };
          dns_port = mkOption {
            type = types.nullOr types.port;
            default = null;
            description = "WireGuard port of members in DNS without an SRV record. Null means 51820.";
          };
          resolver = mkOption {
            type = types.nullOr types.str;
            default = null;
            example = "10.0.0.53:5353";
            description = "DNS server to ask. Null means those of `/etc/resolv.conf`.";
          };
          direct_sites = mkOption {
            type = types.nullOr types.bool;
            default = null;
            description = "Leave members of our own parent domain unpeered. Null means false.";
          };
          routes = mkOption {
            type = types.nullOr (types.either types.bool (types.enum [ "all" ]));
            default = null;
            description = ''
              Make kernel routes for allowed IPs beyond the interface's own network; default routes only with "all".
              Null means false.
            '';
          };
          peers = mkOption {
            type = types.listOf peer;
            default = [ ];
            description = "The members of the mesh. This node may be among them, so one list can serve all.";
          };
        };
      };
    };
  };

  config = mkIf cfg.enable {
    assertions = [
      {
        assertion = cfg.enableGossipEncryption -> cfg.gossipSecretFile != null;
        message = ''
          services.wgautomesh: gossip encryption is on and there is no secret. Set gossipSecretFile to a file
          that all nodes share, or enableGossipEncryption to false.
        '';
      }
      {
        assertion = cfg.settings.gossip_secret or null == null;
        message = ''
          services.wgautomesh.settings.gossip_secret would be readable by everyone in the Nix store. Put the
          secret in a file outside the store and name it in services.wgautomesh.gossipSecretFile.
        '';
      }
      {
        assertion = duplicateKeys == [ ];
        message = ''
          services.wgautomesh.settings.peers: each peer needs a key of its own, and these appear more than
          once: ${lib.concatStringsSep ", " duplicateKeys}
        '';
      }
    ];

    services.wgautomesh.settings = {
      gossip_secret_file = mkIf hasSecretFile (mkDefault "$CREDENTIALS_DIRECTORY/gossip_secret");
      persist_file = mkIf cfg.enablePersistence (mkDefault "/var/lib/wgautomesh/state");
    };

    environment.etc."wgautomesh.toml".source = toml.generate "wgautomesh.toml" (withoutNulls cfg.settings);

    networking.firewall.allowedUDPPorts = mkIf cfg.openFirewall [ cfg.settings.gossip_port ];

    systemd.services.wgautomesh = {
      description = "WireGuard full mesh";
      # No order with the interface: whenever it comes, goes or comes again, the agent notices.
      wantedBy = [ "multi-user.target" ];
      # The command line never changes, so that other peers mean a reload and not a restart.
      reloadTriggers = [ config.environment.etc."wgautomesh.toml".source ];
      stopIfChanged = false; # one short restart after the switch, not a stop before it
      environment.WGAUTOMESH_LOG = cfg.logLevel;

      serviceConfig = {
        Type = "notify";
        ExecStart = "${cfg.package}/bin/wgautomesh /etc/wgautomesh.toml";
        ExecReload = "${pkgs.coreutils}/bin/kill -HUP $MAINPID";
        Restart = "always";
        RestartSec = "5s";
        WatchdogSec = "30s";

        # toString: a Nix path must not be copied to the store.
        LoadCredential = mkIf hasSecretFile [ "gossip_secret:${toString cfg.gossipSecretFile}" ];
        StateDirectory = "wgautomesh";
        StateDirectoryMode = "0700";
        RuntimeDirectory = "wgautomesh";
        UMask = "0077";

        # The one right it needs. It is valid in the host's user namespace only: PrivateUsers stays off.
        DynamicUser = true;
        AmbientCapabilities = [ "CAP_NET_ADMIN" ];
        CapabilityBoundingSet = [ "CAP_NET_ADMIN" ];
        NoNewPrivileges = true;

        # unix: systemd, the lock, userspace WireGuard. netlink: the kernel's WireGuard, addresses, routes.
        RestrictAddressFamilies = [
          "AF_UNIX"
          "AF_NETLINK"
          "AF_INET"
          "AF_INET6"
        ];
        SystemCallArchitectures = "native";
        SystemCallFilter = [
          "@system-service"
          "~@privileged @resources"
        ];
        SystemCallErrorNumber = "EPERM";

        LockPersonality = true;
        MemoryDenyWriteExecute = true;
        PrivateDevices = true;
        PrivateMounts = true;
        PrivateTmp = true;
        ProcSubset = "pid";
        ProtectClock = true;
        ProtectControlGroups = true;
        ProtectHome = true;
        ProtectHostname = true;
        ProtectKernelLogs = true;
        ProtectKernelModules = true;
        ProtectKernelTunables = true;
        ProtectProc = "invisible";
        ProtectSystem = "strict";
        RemoveIPC = true;
        RestrictNamespaces = true;
        RestrictRealtime = true;
        RestrictSUIDSGID = true;
      };
    };
  };
}
