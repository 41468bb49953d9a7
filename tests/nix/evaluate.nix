# All cases at once, as JSON: what the machine gets, and the messages of the assertions that do not hold.
{ nixpkgsLib }:

let
  lib = import (nixpkgsLib + "/lib");
  nixos = import ./nixos.nix { inherit lib; };
  cases = import ./cases.nix { inherit lib; };
  upstream = ./upstream/services/networking/wgautomesh.nix;

  result =
    modules:
    let
      inherit (nixos.evaluate ([ upstream ../../nix/module.nix ] ++ modules)) config;
    in
    {
      failed = map (each: each.message) (lib.filter (each: !each.assertion) config.assertions);
      files = lib.mapAttrs (_: each: each.source.content) config.environment.etc;
      services = lib.mapAttrs (
        _: each: each // { reloadTriggers = map (trigger: "${trigger}") each.reloadTriggers; }
      ) config.systemd.services;
      ports = config.networking.firewall.allowedUDPPorts;
    };
in
{
  drop_in = lib.mapAttrs (_: result) cases.drop_in;
  ours = lib.mapAttrs (_: result) cases.ours;
  refused = lib.mapAttrs (_: result) cases.refused;

  # The drop-in cases with the stand-in alone: its settings, the proof that they fit that interface.
  upstream = lib.mapAttrs (
    _: modules: (nixos.evaluate ([ upstream ] ++ modules)).config.services.wgautomesh.settings
  ) (removeAttrs cases.drop_in [ "disabled" ]);
}
