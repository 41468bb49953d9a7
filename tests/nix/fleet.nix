# The example fleet's machines, as JSON. What NixOS and agenix have beyond our stubs is taken as it is written.
{ nixpkgsLib }:

let
  lib = import (nixpkgsLib + "/lib");
  nixos = import ./nixos.nix { inherit lib; };

  agenix.options.age.secrets = lib.mkOption {
    type = lib.types.attrsOf (
      lib.types.submodule (
        { name, ... }:
        {
          options.file = lib.mkOption { type = lib.types.path; };
          options.path = lib.mkOption { default = "/run/agenix/${name}"; };
        }
      )
    );
  };

  fleet = (import ../../examples/nixos/flake.nix).outputs {
    nixpkgs.lib.nixosSystem =
      { modules }: nixos.evaluate (modules ++ [ { _module.freeformType = lib.types.attrsOf lib.types.anything; } ]);
    agenix.nixosModules.default = agenix;
    wgautomesh.nixosModules.default = ../../nix/module.nix;
  };
in
lib.mapAttrs (
  _:
  { config, ... }:
  {
    failed = map (each: each.message) (lib.filter (each: !each.assertion) config.assertions);
    toml = config.environment.etc."wgautomesh.toml".source.content;
    credential = config.systemd.services.wgautomesh.serviceConfig.LoadCredential;
    inherit (config.networking.wireguard.interfaces.wg0) ips privateKeyFile;
  }
) fleet.nixosConfigurations
