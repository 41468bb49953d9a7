"""Keys and endpoints as people write them: what is right is read, what is wrong is named with its mend."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgautomesh.values import Device, Endpoint, HostPort, Key, Peer, key_text, parse_endpoint, parse_key

KEY = Key(bytes(range(32)))
addresses = st.ip_addresses(v=4) | st.ip_addresses(v=6)


@given(st.binary(min_size=32, max_size=32))
def test_keys_come_back_as_they_were_written(raw: bytes) -> None:
    assert parse_key(key_text(Key(raw))) == raw


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "0 bytes long, a key has 32"),
        ("AAAA", "3 bytes long, a key has 32"),
        ("not a key", "not base64"),
        (key_text(KEY)[:-1], "not base64"),
        ("clé" * 10, "not base64"),
    ],
)
def test_what_is_no_key_is_named(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=f"^{words}$"):
        parse_key(text)


@given(addresses, st.integers(1, 65535))
def test_endpoints_come_back_as_they_were_written(ip: IPv4Address | IPv6Address, port: int) -> None:
    endpoint = Endpoint(ip, port)
    assert parse_endpoint(str(endpoint)) == endpoint
    assert Endpoint.unpack(endpoint.pack()) == endpoint


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("1.2.3.4:51820", Endpoint(ip_address("1.2.3.4"), 51820)),
        ("[2001:db8::1]:1", Endpoint(ip_address("2001:db8::1"), 1)),
        ("[fe80::1%3]:51820", Endpoint(ip_address("fe80::1%3"), 51820)),
        ("node-1.example.org.:65535", HostPort("node-1.example.org.", 65535)),
        ("_wg.example:51820", HostPort("_wg.example", 51820)),
        ("localhost:51820", HostPort("localhost", 51820)),
    ],
)
def test_endpoints_are_addresses_or_names(text: str, endpoint: Endpoint | HostPort) -> None:
    assert parse_endpoint(text) == endpoint


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1.2.3.4", 'has no port; write "1.2.3.4:51820"'),
        ("2001:db8::1", 'has no port; write "[2001:db8::1]:51820"'),
        ("[2001:db8::1]", 'has no port; write "[2001:db8::1]:51820"'),
        ("host.example", 'has no port; write "host.example:51820"'),
        ("host.example:", 'has no port; write "host.example:51820"'),
        ("2001:db8::x:51820", 'an IPv6 endpoint is written "[2001:db8::1]:51820"'),
        ("[2001:db8::x]:51820", '"2001:db8::x" is not an IPv6 address'),
        ("1.2.3.4:0", "port 0 is not within 1 to 65535"),
        ("1.2.3.4:65536", "port 65536 is not within 1 to 65535"),
        ("host.example:518200", "port 518200 is not within 1 to 65535"),
        ("1.2.3.256:51820", '"1.2.3.256" is neither an address nor a host name'),
        ("two words:51820", '"two words" is neither an address nor a host name'),
        (":51820", '"" is neither an address nor a host name'),
    ],
)
def test_what_is_no_endpoint_is_named_with_its_mend(text: str, words: str) -> None:
    with pytest.raises(ValueError) as raised:
        parse_endpoint(text)
    assert str(raised.value) == words


@given(st.text(max_size=60) | st.text("0123456789.:[]%abcdef", max_size=30))
def test_any_text_is_an_endpoint_or_a_value_error(text: str) -> None:
    try:
        endpoint = parse_endpoint(text)
    except ValueError:
        return
    assert 0 < endpoint.port <= 65535


@pytest.mark.parametrize("size", [0, 2, 5, 7, 17, 19])
def test_packed_endpoints_have_one_of_two_sizes(size: int) -> None:
    with pytest.raises(ValueError, match="6 or 18 bytes"):
        Endpoint.unpack(bytes(size))


def test_a_port_out_of_range_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="port 65536"):
        Endpoint(ip_address("1.2.3.4"), 65536)


def test_no_secret_shows_when_a_device_is_printed() -> None:
    device = Device("wg0", 1, KEY, b"private!", 51820, {KEY: Peer(KEY, preshared_key=b"preshared!")})
    assert "private!" not in repr(device) and "preshared!" not in repr(device)
