# Configurations a person might write, by what is special about them.
{ lib }:

let
  inherit (lib) mkForce mkIf;

  # 32 bytes in base64 that differ in the first letter
  key = letter: "${letter}AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
  hub = { pubkey = key "h"; address = "10.14.4.1"; endpoint = "hub.example.org:51820"; };
  attic = { pubkey = key "a"; address = "10.14.4.2"; };
  cellar = { pubkey = key "c"; address = "10.14.4.3"; endpoint = null; };

  settings = given: { services.wgautomesh.settings = given; };
  base = {
    services.wgautomesh = {
      enable = true;
      gossipSecretFile = "/run/agenix/gossip-secret";
      settings.interface = "wg0";
    };
  };
in
{
  # Valid with the options that NixOS users already have.
  drop_in = {
    disabled = [ { services.wgautomesh.settings.peers = [ hub ]; } ];
    minimal = [ base ];
    full = [
      base
      {
        services.wgautomesh = {
          logLevel = "debug";
          openFirewall = false;
          settings = {
            gossip_port = 1777;
            lan_discovery = false;
            upnp_forward_external_port = 33000;
            peers = [ hub attic cellar ];
          };
        };
        systemd.services.wgautomesh = {
          after = [ "wireguard-wg0.service" ];
          requires = [ "wireguard-wg0.service" ];
        };
      }
    ];
    no_encryption = [
      {
        services.wgautomesh = {
          enable = true;
          enableGossipEncryption = false;
          settings.interface = "wg0";
        };
      }
    ];
    no_persistence = [ base { services.wgautomesh.enablePersistence = false; } ];
    path_literal = [ base { services.wgautomesh.gossipSecretFile = mkForce ./cases.nix; } ];
    one_module = [ base (settings { peers = [ hub ]; }) ];
    merged = [
      base
      (settings { peers = [ hub ]; })
      (settings { peers = [ attic (mkIf false cellar) ]; })
      (settings { peers = mkIf true [ (mkIf true cellar) ]; })
    ];
  };

  # What is new with ours.
  ours = {
    lans = [ base (settings { lan_interfaces = [ "eth0" "br-*" ]; }) ];
    dns = [
      base
      (settings {
        dns_mesh = "_p2p.example.com";
        dns_port = 51821;
        resolver = "10.0.0.53:5353";
        direct_sites = true;
        routes = "all";
      })
    ];
    nulls = [
      base
      (settings {
        upnp_forward_external_port = null;
        persist_file = null;
        ipv6 = null;
        peers = [ (hub // { name = null; later = null; }) cellar ];
      })
    ];
    deep_nulls = [
      base
      (settings {
        later = { a = null; b = [ null [ null 1 ] { c = null; d = 2; } ]; };
        peers = [ (attic // { later = { a = null; b = true; }; }) ];
      })
    ];
    named = [ base (settings { peers = [ (attic // { name = "attic"; }) ]; }) ];
    elsewhere = [ base (settings { persist_file = "/srv/wgautomesh.state"; }) ];
    other_package = [ base ({ pkgs, ... }: { services.wgautomesh.package = pkgs.coreutils; }) ];
  };

  # What an assertion refuses.
  refused = {
    no_secret_file = [ base { services.wgautomesh.gossipSecretFile = mkForce null; } ];
    duplicate_key = [ base (settings { peers = [ hub (attic // { pubkey = "${hub.pubkey}\n"; }) ]; }) ];
    secret_in_settings = [ base (settings { gossip_secret = "everyone can read this"; }) ];
  };
}
