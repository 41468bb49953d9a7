{
  description = "Turns existing WireGuard interfaces into a full mesh";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs =
    { nixpkgs, ... }:
    let
      systems = [
        "x86_64-linux"
        "aarch64-linux"
      ];
      eachSystem = make: nixpkgs.lib.genAttrs systems (system: make nixpkgs.legacyPackages.${system});
      package = pkgs: pkgs.callPackage ./nix/package.nix { };
    in
    {
      packages = eachSystem (pkgs: rec {
        wgautomesh = package pkgs;
        default = wgautomesh;
      });

      apps = eachSystem (pkgs: rec {
        wgautomesh = {
          type = "app";
          program = "${package pkgs}/bin/wgautomesh";
          meta.description = "Turns existing WireGuard interfaces into a full mesh";
        };
        default = wgautomesh;
      });

      overlays.default = final: _: { wgautomesh = package final; };

      nixosModules = rec {
        wgautomesh = ./nix/module.nix;
        default = wgautomesh;
      };

      devShells = eachSystem (pkgs: {
        default = pkgs.mkShell {
          inputsFrom = [ (package pkgs) ];
          packages = [
            pkgs.mypy
            pkgs.ruff
            pkgs.wireguard-tools
            pkgs.python3Packages.hypothesis
            pkgs.python3Packages.jsonschema
            pkgs.python3Packages.pytest
            pkgs.python3Packages.pytest-timeout
          ];
        };
      });

      checks = eachSystem (pkgs: {
        unit = (package pkgs).overridePythonAttrs { doCheck = true; };
        vm = pkgs.testers.runNixOSTest ./nix/test.nix;
      });
    };
}
