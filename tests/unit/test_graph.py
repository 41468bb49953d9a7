"""The whole mesh in one picture: asked for on demand, within bounds, true, and fit to be read."""

from __future__ import annotations

import json
from ipaddress import ip_address
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.unit.large import OWN, mesh_of, validate, view_of
from tests.unit.test_scenarios import DEMO, formed
from tests.world import Node, World
from wgautomesh import census, drawing, graph
from wgautomesh.effects import Effect, Send
from wgautomesh.link import State
from wgautomesh.messages import MAX_PLAIN, AskLinks, Links, LinkWord, Path, decode, encode
from wgautomesh.report import View
from wgautomesh.values import Key

NAMESPACE = "{http://www.w3.org/2000/svg}"


def ask(world: World, node: Node) -> dict[str, Any]:
    """What `wgautomesh graph` gets on this node."""
    assert node.mesh
    while (due := node.mesh.census.ask(world.now)) is not None:
        node.apply(node.mesh.tick(world.now))
        world.run(due - world.now + 1e-6)
    view = View("wg0", node.members, world.now, 0.0, mesh=node.mesh, device=node.wireguard())
    answer = {**graph.head(view), "nodes": list(graph.nodes(view)), "links": list(graph.pairs(view))}
    validate(json.loads(json.dumps(answer)), "graph")
    return answer


def by_name(answer: dict[str, Any]) -> dict[frozenset[str], dict[str, Any]]:
    names = {each["key"]: each["name"] for each in answer["nodes"]}
    return {frozenset(names[key] for key in each["between"]): each for each in answer["links"]}


def test_one_node_knows_how_all_stand_with_each_other() -> None:
    world = formed(plan=DEMO)
    began = world.now
    answer = ask(world, world.nodes["a"])
    assert world.now - began < 0.5
    assert [each["name"] for each in answer["nodes"] if each["own"]] == ["a"]
    assert all(each["answered"] for each in answer["nodes"])
    links = by_name(answer)
    assert len(links) == 10 and all(each["connected"] for each in links.values())
    assert links[frozenset("cd")]["path"] == "LAN" and links[frozenset("ab")]["path"] == "direct"
    assert links[frozenset(("hub", "b"))]["rtt"] == pytest.approx(0.05, abs=0.02)
    sites = {each["name"]: each["site"] for each in answer["nodes"]}
    assert sites == {
        "hub": "44.128.1.1",
        "a": "44.128.2.1",
        "b": "44.128.3.1",
        "c": "44.128.4.1",
        "d": "44.128.4.1",
    }


def test_a_missing_pair_and_a_silent_member_are_seen_as_such() -> None:
    world = formed(plan=DEMO)
    world.dropped |= {("b", "c"), ("c", "b")}
    world.run(60)
    world.nodes["d"].stop()
    world.nodes["d"].has_agent = False
    answer = ask(world, world.nodes["a"])
    links = by_name(answer)
    assert not links[frozenset("bc")]["connected"] and links[frozenset("bc")]["path"] is None
    assert links[frozenset("ab")]["connected"]
    assert [each["name"] for each in answer["nodes"] if not each["answered"]] == ["d"]


def test_nothing_is_asked_unless_somebody_wants_to_see() -> None:
    world = formed(plan=DEMO)
    world.run(300)
    assert not any(isinstance(each, AskLinks | Links) for n in world.nodes.values() for _, _, each in n.sent)


def test_two_operators_share_an_answer() -> None:
    world = formed(plan=DEMO)
    a = world.nodes["a"]
    ask(world, a)
    sent = len(a.sent)
    assert a.mesh and a.mesh.census.ask(world.now) is None
    a.apply(a.mesh.tick(world.now))
    assert not any(isinstance(each, AskLinks) for _, _, each in a.sent[sent:])


# -- bounds -------------------------------------------------------------------------------------------


def answers(effects: list[Effect]) -> list[Links]:
    return [each.message for each in effects if isinstance(each, Send) and isinstance(each.message, Links)]


def test_a_flood_of_questions_gets_few_answers() -> None:
    mesh, device = mesh_of(300)
    now = 1001.0
    mesh.device(device, now)
    links = list(mesh.links.values())
    given = []
    for number in range(1000):
        now += 0.001
        given += answers(mesh.receive(links[0].member.address, AskLinks(number), now))
    assert len({each.number for each in given}) == 1
    assert sum(len(each.links) for each in given) == census.MAX_LINKS
    assert all(len(encode(each)) <= MAX_PLAIN for each in given)
    given = []
    for link in links[1:200]:
        given += answers(mesh.receive(link.member.address, AskLinks(7), now))
    assert len(given) <= census.ANSWERS * 12


def test_words_nobody_asked_for_are_not_kept_and_lies_fill_no_memory() -> None:
    mesh, device = mesh_of(20)
    now = 1001.0
    mesh.device(device, now)
    liar = next(iter(mesh.links.values()))
    strange = tuple(LinkWord(Key(number.to_bytes(32, "big")), Path.LAN) for number in range(1, 25))
    mesh.receive(liar.member.address, Links(5, 24, strange), now)
    assert not mesh.census.heard
    mesh.census.ask(now)
    asked = [each.message for each in mesh.tick(now) if isinstance(each, Send)]
    number = next(each.number for each in asked if isinstance(each, AskLinks))
    for _ in range(100):
        mesh.receive(liar.member.address, Links(number, 65535, strange), now)
    assert mesh.census.heard == {liar.member.key: {}}
    true = tuple(LinkWord(key, Path.DIRECT, 0.1) for key in (OWN, *list(mesh.links)[:5]))
    mesh.receive(liar.member.address, Links(number, 65535, true), now)
    assert len(mesh.census.heard[liar.member.key]) == 6


def test_the_members_asked_and_their_pace_are_bounded() -> None:
    mesh, device = mesh_of(3000)
    mesh.device(device, 1001.0)
    now, asked = 1001.0, 0
    while (due := mesh.census.ask(now)) is not None:
        step = sum(isinstance(each, Send) and isinstance(each.message, AskLinks) for each in mesh.tick(now))
        assert step <= census.ASKED_AT_ONCE
        asked, now = asked + step, due  # later would be a new survey
    assert asked == census.MAX_ASKED and now - 1001.0 < 3


@pytest.mark.parametrize(
    "message",
    [
        AskLinks(2**32 - 1),
        Links(1, 2, (LinkWord(OWN, None), LinkWord(OWN, Path.MAPPED, 0.123))),
        Links(0, 0, ()),
    ],
)
def test_what_goes_over_the_wire_comes_back(message: AskLinks | Links) -> None:
    assert decode(encode(message)) == message


# -- the picture --------------------------------------------------------------------------------------


def drawn(count: int, *, missing: int = 0) -> tuple[dict[str, Any], ElementTree.Element]:
    mesh, device = mesh_of(count, up=1.0)
    view = view_of(mesh, device)
    links = [dict(each) for each in graph.pairs(view)]
    for link in links[:missing]:
        link.update(connected=False, path=None, rtt=None)
    answer = {**graph.head(view), "nodes": list(graph.nodes(view)), "links": links}
    return answer, ElementTree.fromstring(drawing.draw(answer))  # noqa: S314 - our own


@pytest.mark.parametrize("count", [1, 2, 3, 24, 25, 60, 200])
def test_every_node_and_link_is_in_the_picture(count: int) -> None:
    answer, svg = drawn(count, missing=min(count, 2))
    texts = [each.text for each in svg.iter(f"{NAMESPACE}text")]
    assert all(each["name"] in texts for each in answer["nodes"] if each["name"])
    red = [each for each in svg.iter(f"{NAMESPACE}path") if each.get("stroke-dasharray")]
    legend = int(bool(answer["links"]))
    assert len(red) == min(count, 2, len(answer["links"])) + legend
    curves = [each for each in svg.iter(f"{NAMESPACE}path") if "Q" in str(each.get("d"))]
    assert len(curves) == len(answer["links"])
    width, height = float(svg.attrib["width"]), float(svg.attrib["height"])
    for circle in svg.iter(f"{NAMESPACE}circle"):
        assert 0 < float(circle.attrib["cx"]) < width and 0 < float(circle.attrib["cy"]) < height


def test_silent_nodes_are_grey_and_names_cannot_break_the_picture() -> None:
    answer, _ = drawn(3)
    answer["nodes"][1]["name"] = "<script>&\"'"
    svg = ElementTree.fromstring(drawing.draw(answer))  # noqa: S314
    assert "<script>&\"'" in [each.text for each in svg.iter(f"{NAMESPACE}text")]
    fills = [each.get("fill") for each in svg.iter(f"{NAMESPACE}circle")]
    silent = sum(not each["answered"] for each in answer["nodes"])
    assert silent == 3 and fills.count(drawing.GREY) == silent + 1  # and the legend


def test_nodes_of_one_site_stand_side_by_side() -> None:
    world = formed(plan=DEMO)
    answer = ask(world, world.nodes["a"])
    svg = ElementTree.fromstring(drawing.draw(answer))  # noqa: S314
    places = [each for each in svg.iter(f"{NAMESPACE}circle") if each.get("r") == "8.0"]
    assert len(places) == 5
    bands = [each for each in svg.iter(f"{NAMESPACE}path") if each.get("stroke") == drawing.BAND_COLOUR]
    assert len(bands) == 4 and sum("A" in str(each.get("d")) for each in bands) == 1
    assert world.nodes["c"].state(world.nodes["d"]) is State.CONNECTED
    assert ip_address(answer["nodes"][0]["site"])
