# What flake.nix has to offer, as JSON, evaluated against a nixpkgs with just the functions it may use.
let
  lib = {
    inherit (builtins) head;
    genAttrs = names: make: builtins.listToAttrs (map (name: { inherit name; value = make name; }) names);
    fileset = {
      toSource = given: given.fileset;
      unions = map toString;
    };
    licenses.mit = "MIT";
    platforms.linux = [ ];
  };
  inherit (import ./nixos.nix { inherit lib; }) pkgs;

  outputs = (import ../../flake.nix).outputs {
    self = throw "the outputs need nothing of themselves";
    nixpkgs = {
      inherit lib;
      legacyPackages = lib.genAttrs [ "x86_64-linux" "aarch64-linux" "riscv64-linux" ] (_: pkgs);
    };
  };

  show = package: {
    inherit (package) pname version src doCheck meta;
    build = map (each: each.name) package.build-system;
    needs = map (each: each.name) package.dependencies;
  };
  each = f: builtins.mapAttrs (_: builtins.mapAttrs (_: f));
in
{
  names = builtins.attrNames outputs;
  packages = each show outputs.packages;
  apps = each (app: { inherit (app) type program; }) outputs.apps;
  overlay = show (outputs.overlays.default pkgs (throw "the overlay takes nothing of what was there")).wgautomesh;
  modules = builtins.mapAttrs (_: toString) outputs.nixosModules;
  shells = each (shell: builtins.length shell.packages) outputs.devShells;
  unit = builtins.mapAttrs (_: checks: checks.unit.doCheck) outputs.checks;
  vm = builtins.mapAttrs (_: checks: toString checks.vm.file) outputs.checks;
}
