"""The NixOS module, the flake and the example fleet, evaluated offline."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .conftest import REPOSITORY, Machine, evaluate, instantiate

Cases = dict[str, dict[str, Machine]]
NIX_FILES = sorted(
    path.relative_to(REPOSITORY)
    for pattern in ("*.nix", "nix/**/*.nix", "tests/nix/**/*.nix", "examples/nixos/**/*.nix")
    for path in REPOSITORY.glob(pattern)
)
REFUSED = {  # and the words that tell a person why
    "no_secret_file": "gossipSecretFile",
    "duplicate_key": "hAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
    "secret_in_settings": "readable by everyone",
}
SYSTEMS = ["aarch64-linux", "x86_64-linux"]


def toml(value: Any) -> str:
    """JSON's values as TOML writes them inline; nixpkgs does this at build time, with another program."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {toml(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(toml(each) for each in value) + "]"
    assert value is not None, "TOML has no null"
    return json.dumps(value)


def check(settings: dict[str, Any], folder: Path) -> str:
    """What `wgautomesh check` says of the settings; it must not find a mistake."""
    file = folder / "wgautomesh.toml"
    file.write_text("".join(f"{key} = {toml(each)}\n" for key, each in settings.items()))
    environ = {name: each for name, each in os.environ.items() if name != "CREDENTIALS_DIRECTORY"}
    command = [sys.executable, "-m", "wgautomesh", "check", str(file)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=REPOSITORY, env=environ, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def settings(machine: Machine) -> dict[str, Any]:
    assert machine["failed"] == []
    found: dict[str, Any] = machine["files"]["wgautomesh.toml"]
    return found


def service(machine: Machine) -> dict[str, Any]:
    found: dict[str, Any] = machine["services"]["wgautomesh"]
    return found


@pytest.mark.parametrize("file", NIX_FILES, ids=str)
def test_every_nix_file_parses(file: Path) -> None:
    assert instantiate("--parse", str(REPOSITORY / file))


# -- the module ---------------------------------------------------------------------------------------


def test_nothing_happens_until_it_is_enabled(cases: Cases) -> None:
    machine = cases["drop_in"]["disabled"]
    assert machine == {"failed": [], "files": {}, "services": {}, "ports": []}


def test_what_fits_the_existing_options_means_the_same_here(cases: Cases) -> None:
    for name, expected in cases["upstream"].items():
        found = settings(cases["drop_in"][name])
        for key in ("interface", "gossip_port", "lan_discovery", "upnp_forward_external_port"):
            assert found.get(key) == expected[key], name
        peers = [{k: v for k, v in peer.items() if v is not None} for peer in expected["peers"]]
        assert found["peers"] == peers, name


def test_check_accepts_the_generated_file(cases: Cases, tmp_path: Path) -> None:
    machines = {**cases["drop_in"], **cases["ours"]}
    for name in machines.keys() - {"disabled", "deep_nulls"}:  # the latter has keys nobody knows yet
        assert "ok: interface wg0" in check(settings(machines[name]), tmp_path), name


def test_defaults_of_a_minimal_configuration(cases: Cases) -> None:
    machine = cases["drop_in"]["minimal"]
    assert settings(machine) == {
        "interface": "wg0",
        "gossip_port": 1666,
        "lan_discovery": True,
        "peers": [],
        "gossip_secret_file": "$CREDENTIALS_DIRECTORY/gossip_secret",
        "persist_file": "/var/lib/wgautomesh/state",
    }
    assert machine["ports"] == [1666]
    assert service(machine)["environment"] == {"WGAUTOMESH_LOG": "info"}


def test_every_option_has_its_effect(cases: Cases) -> None:
    machine = cases["drop_in"]["full"]
    assert settings(machine)["gossip_port"] == 1777
    assert settings(machine)["upnp_forward_external_port"] == 33000
    assert settings(machine)["lan_discovery"] is False
    assert machine["ports"] == []
    assert service(machine)["environment"] == {"WGAUTOMESH_LOG": "debug"}
    assert cases["ours"]["elsewhere"]["files"]["wgautomesh.toml"]["persist_file"] == "/srv/wgautomesh.state"
    assert settings(cases["ours"]["named"])["peers"][0]["name"] == "attic"
    assert settings(cases["ours"]["lans"])["lan_interfaces"] == ["eth0", "br-*"]
    dns = settings(cases["ours"]["dns"])
    assert (dns["dns_mesh"], dns["dns_port"], dns["resolver"]) == (
        "_p2p.example.com",
        51821,
        "10.0.0.53:5353",
    )
    assert dns["direct_sites"] is True and dns["routes"] == "all"
    other = service(cases["ours"]["other_package"])["serviceConfig"]["ExecStart"]
    assert other.endswith("-coreutils/bin/wgautomesh /etc/wgautomesh.toml")


def test_people_can_order_the_unit_themselves_and_it_has_no_order_of_its_own(cases: Cases) -> None:
    assert service(cases["drop_in"]["full"])["after"] == ["wireguard-wg0.service"]
    assert service(cases["drop_in"]["full"])["requires"] == ["wireguard-wg0.service"]
    alone = service(cases["drop_in"]["minimal"])
    assert alone["after"] == alone["requires"] == alone["wants"] == []


def test_the_secret_comes_as_a_credential(cases: Cases) -> None:
    given = service(cases["drop_in"]["minimal"])["serviceConfig"]["LoadCredential"]
    assert given == ["gossip_secret:/run/agenix/gossip-secret"]


def test_a_secret_given_as_a_nix_path_is_not_copied_to_the_store(cases: Cases) -> None:
    given = service(cases["drop_in"]["path_literal"])["serviceConfig"]["LoadCredential"]
    assert given == [f"gossip_secret:{REPOSITORY}/tests/nix/cases.nix"]


def test_without_encryption_there_is_neither_key_nor_credential(cases: Cases) -> None:
    machine = cases["drop_in"]["no_encryption"]
    assert "gossip_secret_file" not in settings(machine)
    assert "LoadCredential" not in service(machine)["serviceConfig"]


def test_without_persistence_there_is_no_state_file(cases: Cases) -> None:
    assert "persist_file" not in settings(cases["drop_in"]["no_persistence"])


def test_lists_merge_from_several_modules_and_may_hold_conditions(cases: Cases) -> None:
    peers = settings(cases["drop_in"]["merged"])["peers"]
    assert sorted(peer["address"] for peer in peers) == ["10.14.4.1", "10.14.4.2", "10.14.4.3"]


def test_no_null_reaches_the_file_at_any_depth(cases: Cases) -> None:
    assert "null" not in json.dumps(settings(cases["ours"]["nulls"]))
    deep = settings(cases["ours"]["deep_nulls"])
    assert deep["later"] == {"b": [[1], {"d": 2}]}
    assert deep["peers"][0]["later"] == {"b": True}


def test_a_mistake_is_refused_in_words(cases: Cases) -> None:
    assert cases["refused"].keys() == REFUSED.keys()
    for name, words in REFUSED.items():
        (message,) = cases["refused"][name]["failed"]
        assert words in message, name


def test_other_peers_mean_a_reload_and_nothing_else_of_the_unit_changes(cases: Cases) -> None:
    one, other = (dict(service(cases["drop_in"][name])) for name in ("one_module", "merged"))
    assert one.pop("reloadTriggers") != other.pop("reloadTriggers")
    assert one == other
    assert one["serviceConfig"]["ExecReload"].endswith("/kill -HUP $MAINPID")


# -- the flake ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def outputs() -> dict[str, Any]:
    found: dict[str, Any] = evaluate("outputs.nix")
    return found


def test_the_flake_offers_the_same_on_both_systems(outputs: dict[str, Any]) -> None:
    for name in ("packages", "apps", "shells", "unit", "vm"):
        assert sorted(outputs[name]) == SYSTEMS, name
    assert outputs["names"] == ["apps", "checks", "devShells", "nixosModules", "overlays", "packages"]
    for system in SYSTEMS:
        assert outputs["apps"][system]["default"]["program"].endswith("/bin/wgautomesh")
        assert outputs["unit"][system] is True
        assert outputs["vm"][system] == str(REPOSITORY / "nix" / "test.nix")
    assert outputs["modules"]["default"] == str(REPOSITORY / "nix" / "module.nix")


def test_the_package_needs_what_pyproject_says_and_is_whole(outputs: dict[str, Any]) -> None:
    package = outputs["packages"]["x86_64-linux"]["default"]
    assert package == outputs["overlay"]
    assert package["pname"] == package["meta"]["mainProgram"] == "wgautomesh"
    assert f'__version__ = "{package["version"]}"' in (REPOSITORY / "wgautomesh/__init__.py").read_text()
    project = (REPOSITORY / "pyproject.toml").read_text().partition("dependencies = [")[2].partition("]")[0]
    # tomli stands in for a module that nixpkgs' Python has
    named = {line.strip(' ",').partition(">=")[0] for line in project.strip().splitlines()} - {"tomli"}
    extras = {"dnspython", "prometheus-client"}  # here nobody can add them later
    assert set(package["needs"]) == named | extras
    assert package["build"] == ["hatchling"]
    assert all(Path(path).exists() for path in package["src"])


# -- the example fleet --------------------------------------------------------------------------------


def test_the_example_fleet_is_three_machines_with_one_list(nixpkgs_lib: Path, tmp_path: Path) -> None:
    fleet = evaluate("fleet.nix", nixpkgsLib=nixpkgs_lib)
    assert sorted(fleet) == ["attic", "cellar", "hub"]
    assert all(each["failed"] == [] for each in fleet.values())
    assert fleet["hub"]["toml"] == fleet["attic"]["toml"] == fleet["cellar"]["toml"]
    assert len({tuple(each["ips"]) for each in fleet.values()}) == 3
    assert {tuple(each["credential"]) for each in fleet.values()} == {
        ("gossip_secret:/run/agenix/gossip-secret",)
    }
    assert "3 peers" in check(fleet["hub"]["toml"], tmp_path)
