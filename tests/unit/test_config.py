"""Reading the configuration to run with: forgiving per peer, and never a traceback."""

from __future__ import annotations

import datetime
import tempfile
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgautomesh.config import _KEYS, Config, load
from wgautomesh.dnsmesh.settings import Settings
from wgautomesh.reading import Mistake
from wgautomesh.values import Endpoint, HostPort, Key, Member, key_text, parse_endpoint

ALICE, BOB, CAROL = (Key(bytes([number]) * 32) for number in (1, 2, 3))


def running(path: Path, text: str | bytes, **environ: str) -> tuple[Config | None, list[Mistake]]:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return load(path, environ, running=True)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "mesh.toml"


def peer(key: Key, address: str, *more: str) -> str:
    return "\n".join(["[[peers]]", f'pubkey = "{key_text(key)}"', f'address = "{address}"', *more, ""])


def test_every_key_is_read(path: Path) -> None:
    config, mistakes = running(
        path,
        """
        interface = "wg-mesh"
        gossip_port = 4000
        gossip_secret = "correct horse"
        persist_file = "${STATE_DIRECTORY}/state.json"
        lan_discovery = true
        lan_interfaces = ["eth0", "br-*"]
        upnp_forward_external_port = 33723
        ipv6 = false
        """
        + peer(ALICE, "10.14.4.1", 'endpoint = "203.0.113.9:51820"', 'name = "attic"')
        + peer(BOB, "fd14::2", 'endpoint = "bob.example:51820"'),
        STATE_DIRECTORY="/var/lib/mesh",
    )
    assert mistakes == []
    assert config == Config(
        path=path,
        interface="wg-mesh",
        members=(
            Member(ALICE, ip_address("10.14.4.1"), (Endpoint(ip_address("203.0.113.9"), 51820),), "attic"),
            Member(BOB, ip_address("fd14::2"), (HostPort("bob.example", 51820),)),
        ),
        gossip_port=4000,
        secrets=("correct horse",),
        persist_file=Path("/var/lib/mesh/state.json"),
        lan_discovery=True,
        lan_interfaces=("eth0", "br-*"),
        upnp_forward_external_port=33723,
    )


def test_what_is_left_out_has_its_default(path: Path) -> None:
    assert running(path, 'interface = "wg0"') == (Config(path=path, interface="wg0"), [])
    assert Config(path, "wg0").gossip_port == 1666
    assert not Config(path, "wg0").lan_discovery and Config(path, "wg0").persist_file is None


@pytest.mark.parametrize(
    ("given", "used"), [('"eth0"', ()), ("[]", ()), ('["eth0", 7, ""]', ("eth0",)), ('["wg0"]', ())]
)
def test_of_lan_interfaces_what_is_wrong_is_left_out(path: Path, given: str, used: tuple[str, ...]) -> None:
    config, mistakes = running(path, f'interface = "wg0"\nlan_interfaces = {given}')
    assert config and config.lan_interfaces == used and mistakes


def test_external_port_zero_is_a_port(path: Path) -> None:
    config, mistakes = running(path, 'interface = "wg0"\nupnp_forward_external_port = 0')
    assert config and mistakes == [] and config.upnp_forward_external_port == 0


def test_bad_peers_are_left_out_and_the_others_are_served(path: Path) -> None:
    text = 'interface = "wg0"\n[[peers]]\npubkey = ""\naddress = "10.14.4.9"\n'
    text += peer(ALICE, "10.14.4.1") + peer(BOB, "10.14.4.2", 'endpoint = "203.0.113.9"')
    text += peer(CAROL, "10.14.4.3")
    config, mistakes = running(path, text)
    assert config and [member.key for member in config.members] == [ALICE, CAROL]
    assert [mistake.where for mistake in mistakes] == ["peers[1].pubkey", "peers[3].endpoint"]


@pytest.mark.parametrize("line", ['comment = "in the cellar"', "name = 7"])
def test_what_does_not_matter_leaves_no_peer_out(path: Path, line: str) -> None:
    config, mistakes = running(path, 'interface = "wg0"\n' + peer(ALICE, "10.14.4.1", line))
    assert config and config.members == (Member(ALICE, ip_address("10.14.4.1")),)
    assert len(mistakes) == 1


def test_of_two_with_one_key_or_address_the_first_is_served(path: Path) -> None:
    text = (
        'interface = "wg0"\n' + peer(ALICE, "10.14.4.1") + peer(ALICE, "10.14.4.2") + peer(BOB, "10.14.4.1")
    )
    config, mistakes = running(path, text)
    assert config and config.members == (Member(ALICE, ip_address("10.14.4.1")),)
    assert len(mistakes) == 2


def test_a_peer_that_is_left_out_does_not_stand_in_the_way_of_its_better_twin(path: Path) -> None:
    text = 'interface = "wg0"\n' + peer(ALICE, "10.14.4.1", 'endpoint = "nowhere"') + peer(ALICE, "10.14.4.1")
    config, mistakes = running(path, text)
    assert config and [member.key for member in config.members] == [ALICE]
    assert [mistake.where for mistake in mistakes] == ["peers[1].endpoint"]


@pytest.mark.parametrize(
    "line",
    [
        "upnp_forward_external_port = 99999",
        'lan_discovery = "yes"',
        "colour = 1",
        'persist_file = "$UNSET/state"',
    ],
)
def test_a_wrong_setting_that_can_be_done_without_does_not_stop_the_start(path: Path, line: str) -> None:
    config, mistakes = running(path, f'interface = "wg0"\n{line}')
    assert config == Config(path=path, interface="wg0")
    assert len(mistakes) == 1 and not mistakes[0].fatal


@pytest.mark.parametrize(
    "text",
    [
        "",
        "interface = 1",
        'interface = "wg0"\ngossip_port = 99999',
        'interface = ""',
        "interface = ",
        'interface = "wg0"\npeers = 1',
        'interface = "wg0"\ngossip_secret = ""',
        'interface = "wg0"\ngossip_secret = 5',
        'interface = "wg0"\ngossip_secret_file = "/nowhere/at/all"',
        'interface = "wg0"\ngossip_secret_file = "$CREDENTIALS_DIRECTORY/secret"',
        'interface = "wg0"\ngossip_secret = "x"\ngossip_secret_file = "/nowhere"',
    ],
)
def test_what_makes_the_file_meaningless_stops_the_start(path: Path, text: str) -> None:
    # Without the right secret a node would be alone, and one without any would speak in the open.
    config, mistakes = running(path, text)
    assert config is None
    assert any(mistake.fatal for mistake in mistakes)


@pytest.mark.parametrize(
    ("content", "secrets"),
    [
        (b"correct horse", ("correct horse",)),
        (b"correct horse\n", ("correct horse",)),
        (b"correct horse\r\n", ("correct horse",)),
        (b" correct horse \n\n", (" correct horse ",)),
        ("Käse".encode(), ("Käse",)),
        (b"new\nold\n", ("new", "old")),
    ],
)
def test_each_line_of_the_file_is_a_secret_and_newlines_do_not_count(
    path: Path, tmp_path: Path, content: bytes, secrets: tuple[str, ...]
) -> None:
    (tmp_path / "secret").write_bytes(content)
    (tmp_path / "secret").chmod(0o600)
    config, mistakes = running(
        path,
        'interface = "wg0"\ngossip_secret_file = "$CREDENTIALS_DIRECTORY/secret"',
        CREDENTIALS_DIRECTORY=str(tmp_path),
    )
    assert config and mistakes == [] and config.secrets == secrets


def test_a_secret_everybody_reads_is_used_all_the_same(path: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("correct horse")
    (tmp_path / "secret").chmod(0o644)
    config, mistakes = running(path, f'interface = "wg0"\ngossip_secret_file = "{tmp_path}/secret"')
    assert config and config.secrets == ("correct horse",) and len(mistakes) == 1


def test_no_secret_shows_when_the_configuration_is_printed(path: Path) -> None:
    config, _ = running(path, 'interface = "wg0"\ngossip_secret = "correct horse"')
    assert config and config.secrets and "horse" not in repr(config) and "horse" not in str(config)


def test_no_mistake_shows_the_secret(path: Path) -> None:
    text = 'gossip_port = "x"\ngossip_secret = "correct horse"\ngossip_secret_file = "/nowhere"\n'
    config, mistakes = running(path, text)
    assert config is None and mistakes
    assert not any("horse" in str(mistake) for mistake in mistakes)


# -- a mesh in DNS, and routes --------------------------------------------------------------------------


def at(text: str) -> Endpoint:
    endpoint = parse_endpoint(text)
    assert isinstance(endpoint, Endpoint)
    return endpoint


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("", Settings("_p2p.example.com")),
        ('resolver = "10.0.0.53"', Settings("_p2p.example.com", resolver=at("10.0.0.53:53"))),
        ('resolver = "10.0.0.53:5353"', Settings("_p2p.example.com", resolver=at("10.0.0.53:5353"))),
        ('resolver = "[::1]:5353"', Settings("_p2p.example.com", resolver=at("[::1]:5353"))),
        ('resolver = "::1"', Settings("_p2p.example.com", resolver=at("[::1]:53"))),
        ("dns_port = 7\ndirect_sites = true", Settings("_p2p.example.com", 7, direct_sites=True)),
    ],
)
def test_a_mesh_in_dns(path: Path, text: str, settings: Settings) -> None:
    config, mistakes = running(path, f'interface = "wg0"\ndns_mesh = "_P2P.example.com."\n{text}')
    assert config and not mistakes and config.dns == settings


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('dns_mesh = "no name"', "is no DNS name"),
        ("dns_mesh = 1", "is not text but a number"),
        ('dns_mesh = "a.example"\nresolver = "ns.example"', "is no address; write"),
        ('dns_mesh = "a.example"\nresolver = "10.0.0.53:0"', "is no address; write"),
        ('dns_mesh = "a.example"\ndns_port = 0', "is no port"),
        ('resolver = "10.0.0.53"', "says nothing without dns_mesh"),
        ('routes = "some"', "is neither true nor false"),
        ("routes = 1", "is neither true nor false"),
    ],
)
def test_mistakes_about_dns_and_routes_stop_nobody(path: Path, text: str, said: str) -> None:
    config, mistakes = running(path, f'interface = "wg0"\n{text}')
    assert config and not config.routes
    assert [said in str(each) for each in mistakes] == [True]


@pytest.mark.parametrize(("peers", "starts"), [("", False), ("peers = []", True)])
def test_without_dnspython_one_line_says_how_to_get_it(
    path: Path, peers: str, starts: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wgautomesh.dnsmesh.settings.find_spec", lambda name: None)
    config, mistakes = running(path, f'interface = "wg0"\ndns_mesh = "a.example"\n{peers}')
    assert (config is not None) is starts  # with nobody else to serve, there is nothing to do
    (mistake,) = mistakes
    assert "pip install dnspython" in str(mistake)


@pytest.mark.parametrize(("text", "routes"), [("true", True), ("false", False), ('"all"', "all")])
def test_routes(path: Path, text: str, routes: object) -> None:
    config, mistakes = running(path, f'interface = "wg0"\nroutes = {text}')
    assert config and not mistakes and config.routes == routes


# -- anything at all ----------------------------------------------------------------------------------

scalars = (
    st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=50)
    | st.sampled_from(
        ["wg0", "$X", "$CREDENTIALS_DIRECTORY/x", "/", "10.0.0.1", "1.2.3.4:5", key_text(ALICE)]
    )
    | st.dates()
    | st.just(datetime.time(1, 2))
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=3), inner, max_size=3)
    ),
    max_leaves=5,
)
peer_keys = st.sampled_from(["pubkey", "address", "endpoint", "name", "adress", "\n"])
tables = st.dictionaries(
    st.sampled_from([*_KEYS[:-1], "colour", "", "\0"]),
    values,
)
lists_of_peers = st.lists(st.dictionaries(peer_keys, values) | values, max_size=4)


def toml(value: Any) -> str:
    """Any of `values` as TOML on one line."""
    match value:
        case bool():
            return str(value).lower()
        case str():
            return '"' + "".join(f"\\U{ord(each):08x}" for each in value) + '"'
        case list():
            return "[" + ", ".join(toml(each) for each in value) + "]"
        case dict():
            return "{" + ", ".join(f"{toml(name)} = {toml(each)}" for name, each in value.items()) + "}"
        case _:
            return str(value)


@given(tables, lists_of_peers, st.booleans())
def test_any_table_is_a_configuration_or_has_mistakes(
    table: dict[str, Any], peers: list[Any], strictly: bool
) -> None:
    lines = [f"{toml(name)} = {toml(each)}" for name, each in [*table.items(), ("peers", peers)]]
    with tempfile.NamedTemporaryFile() as file:
        file.write("\n".join(lines).encode())
        file.flush()
        config, mistakes = load(Path(file.name), {}, running=not strictly)
    assert not any("not TOML" in str(mistake) for mistake in mistakes)
    assert config is not None or any(mistake.fatal for mistake in mistakes)
    if config is not None:
        assert config.interface and 0 < config.gossip_port < 2**16
        assert len({member.key for member in config.members}) == len(config.members)
        assert len({member.address for member in config.members}) == len(config.members)


@given(st.binary(max_size=200) | st.text(max_size=100).map(lambda text: text.encode("utf-8", "replace")))
def test_any_bytes_are_a_configuration_or_have_mistakes(content: bytes) -> None:
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        config, mistakes = load(Path(file.name), {}, running=True)
    assert config is None and mistakes


def test_a_directory_or_a_missing_file_is_a_mistake(tmp_path: Path) -> None:
    for path, words in ((tmp_path, "Is a directory"), (tmp_path / "none", "No such file or directory")):
        assert load(path, {}, running=True) == (None, [Mistake("", f"cannot be read: {words}", fatal=True)])
