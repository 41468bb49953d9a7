"""From hosts to members, and what happens where the configuration says something else."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface

from tests.unit.test_dns_zone import ips
from wgautomesh.dnsmesh.members import members, merge
from wgautomesh.dnsmesh.records import records
from wgautomesh.dnsmesh.zone import Host
from wgautomesh.values import Endpoint, HostPort, Key, Member, key_text

OWN, A, B, C = (Key(letter * 32) for letter in (b"m", b"a", b"b", b"c"))
MINE = (ip_interface("10.14.0.9/16"), ip_interface("fd14::9/64"))
AT = (Endpoint(ip_address("203.0.113.9"), 51820),)


def host(name: str, key: Key, *addresses: str) -> Host:
    return Host(name, key, ips(*addresses), AT)


def test_the_mesh_address_is_the_one_in_our_own_network_else_the_lowest() -> None:
    inside = host("a.example.com", A, "10.2.0.1", "10.14.0.1", "192.168.7.1")
    outside = host("b.example.com", B, "10.2.0.2", "192.168.7.2", "fd99::2")
    found, wrong = members([inside, outside], OWN, MINE, direct_sites=False)
    assert not wrong
    assert [each.address for each in found] == list(ips("10.14.0.1", "10.2.0.2"))
    assert found[0] == Member(
        A, ip_address("10.14.0.1"), AT, "a.example.com", ips("10.2.0.1", "192.168.7.1"), "DNS"
    )


def test_nobody_gets_an_address_that_is_our_own() -> None:
    hosts = [host("m.example.com", OWN, "10.14.0.9"), host("a.example.com", A, "10.14.0.9", "10.14.0.1")]
    found, wrong = members(hosts, OWN, MINE, direct_sites=False)
    assert [each.address for each in found] == list(ips("10.14.0.9", "10.14.0.1"))
    assert found[1].further == ()
    (complaint,) = wrong
    assert "our own" in complaint.text


def test_members_of_our_own_site_are_left_unpeered_only_if_asked() -> None:
    hosts = [
        host("m.north.example.com", OWN, "10.14.0.9"),
        host("a.north.example.com", A, "10.14.0.1"),
        host("b.south.example.com", B, "10.14.0.2"),
        host("c.deep.north.example.com", C, "10.14.0.3"),
    ]
    everybody, _ = members(hosts, OWN, MINE, direct_sites=False)
    assert {each.key for each in everybody} == {OWN, A, B, C}
    some, _ = members(hosts, OWN, MINE, direct_sites=True)
    assert {each.key for each in some} == {OWN, B, C}
    stranger, _ = members(hosts[1:], OWN, MINE, direct_sites=True)
    assert {each.key for each in stranger} == {A, B, C}  # in no site: all are elsewhere


def test_both_sources_add_up() -> None:
    file = [Member(A, ip_address("10.14.0.1"), name="attic")]
    dns = [
        Member(A, ip_address("10.14.0.1"), AT, "a.example.com", ips("10.2.0.1"), "DNS"),
        Member(B, ip_address("10.14.0.2"), AT, "b.example.com", (), "DNS"),
    ]
    merged, wrong = merge(file, dns)
    assert not wrong
    attic = Member(A, ip_address("10.14.0.1"), AT, "attic", ips("10.2.0.1"), "the configuration and DNS")
    assert merged == (attic, dns[1])


def test_the_file_wins_and_it_is_said() -> None:
    file = [
        Member(A, ip_address("10.14.0.1"), (HostPort("a.example", 1),), "attic"),
        Member(C, ip_address("10.14.0.3"), name="cellar"),
    ]
    dns = [
        Member(A, ip_address("10.14.0.77"), AT, "a.example.com", (), "DNS"),  # another address
        Member(B, ip_address("10.14.0.3"), AT, "b.example.com", ips("10.14.0.2"), "DNS"),  # the cellar's
        Member(C, ip_address("10.14.0.3"), AT, "c.example.com", ips("10.14.0.1"), "DNS"),  # also the attic's
    ]
    merged, wrong = merge(file, dns)
    cellar = Member(C, ip_address("10.14.0.3"), AT, "cellar", (), "the configuration and DNS")
    assert merged == (file[0], cellar)
    assert len(wrong) == 3 and all("configuration" in each.text and "wins" in each.text for each in wrong)


def test_an_endpoint_of_the_file_wins() -> None:
    file = [Member(A, ip_address("10.14.0.1"), (HostPort("a.example", 1),), "attic")]
    (merged,), wrong = merge(file, [Member(A, ip_address("10.14.0.1"), AT, "a.example.com", (), "DNS")])
    assert merged.endpoints == (HostPort("a.example", 1),) and not wrong


def test_our_own_records() -> None:
    lines = records("n.example.com", "_p2p.example.com", A, ips("10.14.0.1", "fd14::1"), AT_IP, 51821, 51820)
    assert [" ".join(line.split()) for line in lines] == [
        '_p2p.example.com. 300 IN TXT "n.example.com"',
        f'_wireguard.n.example.com. 300 IN TXT "{key_text(A)}"',
        "_wireguard.n.example.com. 300 IN A 10.14.0.1",
        "_wireguard.n.example.com. 300 IN AAAA fd14::1",
        "n.example.com. 300 IN A 203.0.113.9",
        "_wireguard._udp.n.example.com. 300 IN SRV 0 0 51821 n.example.com.",
    ]
    assert len(records("n.example.com", None, A, ips("10.14.0.1"), (), 51820, 51820)) == 2


AT_IP = ips("203.0.113.9")
