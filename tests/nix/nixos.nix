# As much of NixOS as the module touches, on nixpkgs' real lib: `evaluate` takes modules and returns what a
# machine would get. Nothing is built: a generated file is its content and a store path that depends on it.
{ lib }:

let
  inherit (lib) mkOption types;

  atom = types.oneOf [
    types.bool
    types.int
    types.str
    types.path
  ];

  service = types.submodule {
    options = {
      description = mkOption { type = types.str; };
      after = mkOption { type = types.listOf types.str; default = [ ]; };
      requires = mkOption { type = types.listOf types.str; default = [ ]; };
      wants = mkOption { type = types.listOf types.str; default = [ ]; };
      wantedBy = mkOption { type = types.listOf types.str; default = [ ]; };
      environment = mkOption { type = types.attrsOf types.str; default = { }; };
      reloadTriggers = mkOption { type = types.listOf types.unspecified; default = [ ]; };
      stopIfChanged = mkOption { type = types.bool; default = true; };
      serviceConfig = mkOption {
        type = types.attrsOf (types.either atom (types.listOf atom));
        default = { };
      };
    };
  };

  nixos = {
    options = {
      assertions = mkOption { type = types.listOf types.unspecified; default = [ ]; };
      environment.etc = mkOption {
        type = types.attrsOf (types.submodule { options.source = mkOption { type = types.unspecified; }; });
        default = { };
      };
      networking.firewall.allowedUDPPorts = mkOption {
        type = types.listOf types.port;
        default = [ ];
      };
      systemd.services = mkOption { type = types.attrsOf service; default = { }; };
    };
  };

  generated = name: content: {
    outPath = "/nix/store/${builtins.hashString "md5" (builtins.toJSON content)}-${name}";
    inherit content;
  };

  derivation =
    args:
    args
    // {
      type = "derivation";
      outPath = "/nix/store/00000000000000000000000000000000-${args.pname or args.name}";
    };

  pkgs = {
    inherit lib;
    callPackage = file: given: import file (builtins.intersectAttrs (builtins.functionArgs (import file)) pkgs // given);
    coreutils = derivation { name = "coreutils"; };
    formats.toml = _: { generate = generated; };
    # nixpkgs has another program under this name; whoever takes it, fails.
    wgautomesh = throw "pkgs.wgautomesh is not ours";
    mkShell = derivation;
    mypy = derivation { name = "mypy"; };
    ruff = derivation { name = "ruff"; };
    wireguard-tools = derivation { name = "wireguard-tools"; };
    testers.runNixOSTest = file: derivation { name = "vm"; inherit file; };
    python3Packages = lib.genAttrs [ "dnspython" "hatchling" "hypothesis" "jsonschema" "miniupnpc" "msgpack" "prometheus-client" "pynacl" "pyroute2" "pytest" "pytest-timeout" "pytestCheckHook" ] (name: derivation { inherit name; }) // {
      buildPythonApplication =
        args: derivation args // { overridePythonAttrs = change: derivation (args // change); };
    };
  };
in
{
  inherit pkgs;

  evaluate =
    modules:
    lib.evalModules {
      modules = [ nixos ] ++ modules;
      specialArgs = {
        inherit pkgs;
        modulesPath = toString ./upstream;
      };
    };
}
