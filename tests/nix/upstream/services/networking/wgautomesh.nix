# Stands in for nixpkgs' module of the same name: its options and their types, and no behaviour. What evaluates
# with it must evaluate with ours; and where ours did not disable it, each option would be declared twice.
{ lib, ... }:

let
  inherit (lib) mkOption types;
  yes = mkOption { type = types.bool; default = true; };
  maybe = type: mkOption { type = types.nullOr type; default = null; };
in
{
  options.services.wgautomesh = {
    enable = lib.mkEnableOption "the daemon";
    logLevel = mkOption {
      type = types.enum [ "trace" "debug" "info" "warn" "error" ];
      default = "info";
    };
    enableGossipEncryption = yes;
    gossipSecretFile = mkOption { type = types.path; };
    enablePersistence = yes;
    openFirewall = yes;
    settings = mkOption {
      default = { };
      type = types.submodule {
        freeformType = types.attrsOf types.anything;
        options = {
          interface = mkOption { type = types.str; };
          gossip_port = mkOption { type = types.port; default = 1666; };
          lan_discovery = yes;
          upnp_forward_external_port = maybe types.port;
          peers = mkOption {
            default = [ ];
            type = types.listOf (types.submodule {
              options = {
                pubkey = mkOption { type = types.str; };
                address = mkOption { type = types.str; };
                endpoint = maybe types.str;
              };
            });
          };
        };
      };
    };
  };
}
