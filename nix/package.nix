# The Python package, built with nixpkgs' own Python and nothing fetched beside it.
{ lib, python3Packages }:

python3Packages.buildPythonApplication {
  pname = "wgautomesh";
  version = lib.head (
    builtins.match ".*__version__ = \"([^\"]+)\".*" (builtins.readFile ../wgautomesh/__init__.py)
  );
  pyproject = true;

  src = lib.fileset.toSource {
    root = ../.;
    fileset = lib.fileset.unions [
      ../pyproject.toml
      ../README.md
      ../LICENSE
      ../wgautomesh
      ../tests
      ../examples
      ../docs
    ];
  };

  build-system = [ python3Packages.hatchling ];

  dependencies = with python3Packages; [
    dnspython
    miniupnpc
    msgpack
    prometheus-client
    pynacl
    pyroute2
  ];

  pythonImportsCheck = [ "wgautomesh.agent" ];

  # Off here, on in the flake's checks: a loaded builder must not keep anybody from installing.
  doCheck = false;
  nativeCheckInputs = with python3Packages; [
    hypothesis
    jsonschema
    pytestCheckHook
  ];

  meta = {
    description = "Turns existing WireGuard interfaces into a full mesh";
    license = lib.licenses.mit;
    mainProgram = "wgautomesh";
    platforms = lib.platforms.linux;
  };
}
