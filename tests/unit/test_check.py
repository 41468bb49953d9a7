"""`wgautomesh check`: every mistake gets its own line, with the file, the key and the mend; all at once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from wgautomesh.cli import main
from wgautomesh.values import Key, key_text

ALICE, BOB, CAROL = (key_text(Key(bytes([number]) * 32)) for number in (1, 2, 3))
NOBODY = 65534
EXAMPLE = Path(__file__).parents[2] / "examples" / "wgautomesh.toml"

GOOD = f"""
interface = "wg0"
gossip_secret = "correct horse"

[[peers]]
pubkey = "{ALICE}"
address = "10.14.4.1"
"""


class Check:
    """Runs `check` on a text, and gives back its exit status and what it said, without the file's name."""

    def __init__(self, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.path = path
        self._capsys = capsys

    def __call__(self, text: str | bytes) -> tuple[int, list[str]]:
        self.path.write_bytes(text.encode() if isinstance(text, str) else text)
        status = main(["check", str(self.path)])
        out, err = self._capsys.readouterr()
        assert err == ""
        lines = out.splitlines()
        assert all(line.startswith(str(self.path)) for line in lines)
        return status, [line.removeprefix(str(self.path)).lstrip(": ") for line in lines]

    def only_mistake(self, text: str | bytes) -> str:
        status, lines = self(text)
        assert (status, lines[1:]) == (1, ["1 mistake"])
        return lines[0]


@pytest.fixture
def check(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Check:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    return Check(tmp_path / "mesh.toml", capsys)


@contextmanager
def as_nobody() -> Iterator[None]:
    """Root may read everything: put the rights away for a moment."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_good_file_is_ok(check: Check) -> None:
    assert check(GOOD) == (0, ["ok: interface wg0, 1 peer"])


def test_the_example_is_ok(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    assert main(["check", str(EXAMPLE)]) == 0
    out = capsys.readouterr().out
    assert "gossip_secret_file: $CREDENTIALS_DIRECTORY/" in out and "checked only at run time" in out


@pytest.mark.parametrize(
    ("line", "mistake"),
    [
        ('interfaec = "wg1"', "interfaec: is not a known key; did you mean interface?"),
        ("colour = 1", "colour: is not a known key"),
        ("gossip_port = true", "gossip_port: is not a number but true or false"),
        ('gossip_port = "1666"', "gossip_port: is not a number but text; write gossip_port = 1666"),
        ('gossip_port = "lots"', "gossip_port: is not a number but text"),
        ("gossip_port = 1.5", "gossip_port: is not a number but a fraction"),
        ("gossip_port = 0", "gossip_port: is no port; write a number from 1 to 65535"),
        (f"gossip_port = 0x{'f' * 5000}", "gossip_port: is no port; write a number from 1 to 65535"),
        (
            "upnp_forward_external_port = -1",
            "upnp_forward_external_port: is no port; write a number from 0 to 65535",
        ),
        ("lan_discovery = 1", "lan_discovery: is not true or false but a number; write lan_discovery = true"),
        ('lan_discovery = "no"', "lan_discovery: is not true or false but text; write lan_discovery = false"),
        ('lan_interfaces = "eth0"', "lan_interfaces: is not a list but text"),
        (
            "lan_interfaces = []",
            'lan_interfaces: is empty; write lan_interfaces = ["eth0", "br-*"], or lan_discovery = false',
        ),
        (
            'lan_interfaces = ["eth0", "br 0"]',
            'lan_interfaces: "br 0" is no interface name; write lan_interfaces = ["eth0", "br-*"]',
        ),
        (
            "lan_interfaces = [0]",
            'lan_interfaces: a number is no interface name; write lan_interfaces = ["eth0", "br-*"]',
        ),
        (
            'lan_interfaces = ["wg0"]',
            'lan_interfaces: "wg0" is the mesh itself; name devices that lead to a LAN',
        ),
        ('ipv6 = "yes"', "ipv6: is not true or false but text; write ipv6 = true"),
        ("persist_file = 1979-05-27", "persist_file: is not text but a date or time"),
        ('persist_file = ""', "persist_file: is empty; leave the key out or write a path"),
        ('persist_file = "$NOWHERE_SET/state"', "persist_file: $NOWHERE_SET is not set"),
        (r'persist_file = "a\u0000b"', "persist_file: is no path: it has a zero byte in it"),
        (r'"two\nlines" = 1', r"two\x0alines: is not a known key"),
    ],
)
def test_a_wrong_setting_is_named(check: Check, line: str, mistake: str) -> None:
    assert check.only_mistake(line + GOOD) == mistake


@pytest.mark.parametrize(
    ("line", "mistake"),
    [
        ("", 'interface: is missing; write interface = "wg0"'),
        ("interface = 0", "interface: is not text but a number"),
        (
            'interface = "sixteen-letters!"',
            'interface: "sixteen-letters!" is no interface name: 1 to 15 characters, no space or slash',
        ),
        (
            'interface = "wg 0"',
            'interface: "wg 0" is no interface name: 1 to 15 characters, no space or slash',
        ),
        ('interface = "wg0"\npeers = 3', "peers: is not a list; write each peer under a line [[peers]]"),
        (
            'interface = "wg0"\npeers = [3]',
            "peers[1]: is not a table; write each peer under a line [[peers]]",
        ),
    ],
)
def test_what_makes_the_file_meaningless_is_named(check: Check, line: str, mistake: str) -> None:
    assert check.only_mistake(line) == mistake


@pytest.mark.parametrize(
    ("lines", "mistake"),
    [
        (
            f'pubkey = "{BOB}"\nadress = "10.14.4.2"\naddress = "10.14.4.2"',
            "adress: is not a known key; did you mean address?",
        ),
        (
            'address = "10.14.4.2"',
            'pubkey: is missing; write pubkey = "…": the peer\'s public key, as wg show',
        ),
        ('pubkey = ""\naddress = "10.14.4.2"', 'pubkey: is empty; write pubkey = "…"'),
        (
            'pubkey = "AAAA"\naddress = "10.14.4.2"',
            'pubkey: "AAAA" is no key: 3 bytes long, a key has 32; copy it',
        ),
        (
            'pubkey = "not a key"\naddress = "10.14.4.2"',
            'pubkey: "not a key" is no key: not base64; copy it from wg',
        ),
        (f'pubkey = "{ALICE}"\naddress = "10.14.4.2"', f"pubkey: {ALICE} is also the key of peers[1]"),
        (f'pubkey = "{BOB}"\naddress = "10.14.4.1"', "address: 10.14.4.1 is also the address of peers[1]"),
        (f'pubkey = "{BOB}"', 'address: is missing; write address = "…": the peer\'s address in the mesh'),
        (f'pubkey = "{BOB}"\naddress = 10', "address: is not text but a number; write address = "),
        (
            f'pubkey = "{BOB}"\naddress = "bob"',
            'address: "bob" is no IP address; write one such as "10.14.4.1"',
        ),
        (
            f'pubkey = "{BOB}"\naddress = "10.14.4.2/24"',
            'address: "10.14.4.2/24" is a network; write "10.14.4.2"',
        ),
        (
            f'pubkey = "{BOB}"\naddress = "224.0.0.1"',
            'address: "224.0.0.1" is not an address a host can have',
        ),
        (
            f'pubkey = "{BOB}"\naddress = "fd00::1%2"',
            'address: "fd00::1%2" is not an address a host can have',
        ),
        (
            f'pubkey = "{BOB}"\naddress = "10.14.4.2"\nendpoint = "203.0.113.9"',
            'endpoint: "203.0.113.9" has no port; write "203.0.113.9:51820"',
        ),
        (
            f'pubkey = "{BOB}"\naddress = "10.14.4.2"\nendpoint = "2001:db8::1"',
            'endpoint: "2001:db8::1" has no port; write "[2001:db8::1]:51820"',
        ),
        (
            f'pubkey = "{BOB}"\naddress = "10.14.4.2"\nendpoint = "host.example"',
            'endpoint: "host.example" has no port; write "host.example:51820"',
        ),
        (
            f'pubkey = "{BOB}"\naddress = "10.14.4.2"\nendpoint = "host.example:99999"',
            'endpoint: "host.example:99999" port 99999 is not within 1 to 65535',
        ),
        (
            f'pubkey = "{BOB}"\naddress = "10.14.4.2"\nname = ""',
            'name: is no name; write a short text such as name = "attic"',
        ),
    ],
)
def test_a_wrong_peer_is_named_by_its_number_and_key(check: Check, lines: str, mistake: str) -> None:
    assert check.only_mistake(f"{GOOD}\n[[peers]]\n{lines}\n").startswith(f"peers[2].{mistake}")


def test_all_mistakes_are_reported_at_once(check: Check) -> None:
    status, lines = check(f"""
        gossip_prot = 1666
        gossip_port = 70000
        gossip_secret = "correct horse"
        [[peers]]
        pubkey = "{ALICE}"
        address = "10.14.4.1"
        endpoint = "203.0.113.9"
        [[peers]]
        pubkey = "{ALICE}"
        address = "10.14.4.1"
        name = 5
        [[peers]]
        pubkey = "AAAA"
        address = "attic"
        endpoint = "attic"
    """)
    assert status == 1
    assert [line.split(" ")[0] for line in lines] == [
        "gossip_prot:",
        "interface:",
        "peers[1].endpoint:",
        "peers[2].name:",
        "peers[2].pubkey:",
        "peers[2].address:",
        "peers[3].pubkey:",
        "peers[3].address:",
        "peers[3].endpoint:",
        "gossip_port:",
        "10",
    ]
    assert lines[-1] == "10 mistakes"


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('interface = "wg0"\ngossip_port 1666\n', "at line 2, column 13"),
        ('interface = "wg0"\nname = "open', "at line 2, column 13"),
        ("a = 1\na = 2", "at line 2, column 6"),
    ],
)
def test_what_is_not_toml_is_named_with_line_and_column(check: Check, text: str, place: str) -> None:
    mistake = check.only_mistake(text)
    assert mistake.startswith("is not TOML: ") and mistake.endswith(f"({place})")


@pytest.mark.parametrize("text", ["a = " + "[" * 10_000, "a = " + "9" * 10_000])
def test_toml_beyond_all_bounds_is_one_line_too(check: Check, text: str) -> None:
    assert check.only_mistake(text).startswith("is not TOML: ")


def test_a_binary_file_is_named(check: Check) -> None:
    assert check.only_mistake(b'interface = "\xff"') == "is not UTF-8 at byte 13"


def test_a_missing_file_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "none.toml"
    assert main(["check", str(path)]) == 1
    assert capsys.readouterr().out == f"{path} cannot be read: No such file or directory\n{path}: 1 mistake\n"


# -- the secret ---------------------------------------------------------------------------------------


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text("correct horse\n")
    path.chmod(0o600)
    return path


def with_secret(path: Path | str) -> str:
    return f'interface = "wg0"\ngossip_secret_file = "{path}"\n'


def test_a_private_secret_file_is_ok(check: Check, secret: Path) -> None:
    assert check(with_secret(secret)) == (0, ["ok: interface wg0, 0 peers"])


def test_both_secrets_are_one_too_many(check: Check, secret: Path) -> None:
    assert check.only_mistake('gossip_secret = "correct horse"\n' + with_secret(secret)) == (
        "gossip_secret: is given beside gossip_secret_file; keep one of the two"
    )


def test_an_empty_secret_is_none(check: Check) -> None:
    assert check.only_mistake('interface = "wg0"\ngossip_secret = ""') == (
        "gossip_secret: is empty; write a long random text, or leave the key out"
    )


def test_a_missing_secret_file_is_named(check: Check, tmp_path: Path) -> None:
    missing = tmp_path / "none"
    assert check.only_mistake(with_secret(missing)) == (
        f"gossip_secret_file: {missing} cannot be read: No such file or directory"
    )


def test_an_unreadable_secret_file_is_named(
    check: Check, secret: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret.chmod(0)
    secret.parent.chmod(0o755)
    monkeypatch.chdir(secret.parent)  # the directories above may be closed to others
    check.path = Path(check.path.name)
    check.path.touch(0o666)
    check.path.chmod(0o666)
    with as_nobody():
        assert check.only_mistake(with_secret("secret")) == (
            "gossip_secret_file: secret cannot be read: Permission denied"
        )


@pytest.mark.parametrize("content", [b"", b"\n", b" \r\n"])
def test_an_empty_secret_file_is_named(check: Check, secret: Path, content: bytes) -> None:
    secret.write_bytes(content)
    assert check.only_mistake(with_secret(secret)) == (
        f"gossip_secret_file: {secret} is empty; put a long random text in it"
    )


def test_a_secret_file_everybody_reads_is_named(check: Check, secret: Path) -> None:
    secret.chmod(0o644)
    assert check.only_mistake(with_secret(secret)) == (
        f"gossip_secret_file: {secret} is readable by everyone; run chmod 600 {secret}"
    )


def test_a_binary_or_endless_secret_file_is_named(check: Check, secret: Path) -> None:
    secret.write_bytes(b"\xff\xfe")
    assert check.only_mistake(with_secret(secret)) == f"gossip_secret_file: {secret} is not UTF-8 text"
    secret.write_bytes(b"x" * 70_000)
    assert check.only_mistake(with_secret(secret)) == (
        f"gossip_secret_file: {secret} is too large for a secret"
    )


@pytest.mark.parametrize("variable", ["$CREDENTIALS_DIRECTORY", "${CREDENTIALS_DIRECTORY}"])
def test_credentials_are_checked_only_at_run_time(check: Check, variable: str) -> None:
    assert check(with_secret(f"{variable}/secret")) == (
        0,
        [
            f"gossip_secret_file: {variable}/secret is checked only at run time",
            "ok: interface wg0, 0 peers",
        ],
    )


def test_credentials_that_are_there_are_checked(
    check: Check, secret: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(secret.parent))
    assert check(with_secret("$CREDENTIALS_DIRECTORY/secret"))[0] == 0
    assert check(with_secret("$CREDENTIALS_DIRECTORY/none"))[0] == 1


def test_check_leaves_everything_as_it_is(check: Check, tmp_path: Path, secret: Path) -> None:
    check(with_secret(secret) + f'persist_file = "{tmp_path}/state.json"\n')
    assert {path.name for path in tmp_path.iterdir()} == {"mesh.toml", "secret"}
