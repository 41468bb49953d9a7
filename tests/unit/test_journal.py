"""What is kept of a link's past, and what the observer makes of the core's effects."""

from __future__ import annotations

from ipaddress import ip_address

from tests.unit.test_scenarios import TWO_NATS, formed
from tests.world import World, build
from wgautomesh.journal import ENDPOINTS_KEPT, EVENTS_KEPT, Journal
from wgautomesh.messages import Kind
from wgautomesh.values import Endpoint


def place(number: int) -> Endpoint:
    return Endpoint(ip_address("44.0.0.1"), number)


def texts(journal: Journal) -> list[tuple[str, int]]:
    return [(each.text, each.count) for each in journal]


def test_the_last_events_are_kept_oldest_first() -> None:
    journal = Journal()
    for number in range(EVENTS_KEPT + 10):
        journal.note(f"event {number}", float(number))
    kept = list(journal)
    assert len(kept) == EVENTS_KEPT
    assert (kept[0].text, kept[-1].text) == ("event 10", f"event {EVENTS_KEPT + 9}")


def test_a_link_that_flaps_does_not_crowd_out_its_past() -> None:
    journal = Journal()
    journal.note("connected", 0.0)
    for number in range(200):
        journal.note("missed", number + 0.1)
        journal.note("answered", number + 0.2)
    assert texts(journal) == [("connected", 1), ("missed", 200), ("answered", 200)]
    last = list(journal)[-1]
    assert (last.first, last.last) == (0.2, 199.2)


def test_attempts_are_remembered_by_endpoint_and_bounded() -> None:
    journal = Journal()
    for number in range(1, ENDPOINTS_KEPT + 5):
        journal.shot(place(number), float(number))
    assert journal.tried(place(1)) is None
    journal.shot(place(9), 100.0)
    found = journal.tried(place(9))
    assert found and (found.last, found.count, found.answered) == (100.0, 2, False)
    journal.worked(place(9), 101.0)
    found = journal.tried(place(9))
    assert found and found.answered and found.last == 100.0


def test_a_connection_leaves_its_story() -> None:
    world = formed()
    a, b = world.nodes["a"], world.nodes["b"]
    assert a.mesh
    link = a.mesh.links[b.key]
    story = [each.text for each in link.journal]
    assert any(text.startswith("connected at 44.128.3.1:51820 after") for text in story)
    assert "an endpoint to try: trying" in story
    tried = link.journal.tried(place_of := Endpoint(ip_address("44.128.3.1"), 51820))
    assert tried and tried.answered and link.endpoint == place_of
    assert a.observer.succeeded[Kind.OBSERVED] >= 1
    assert sum(a.observer.connect_seconds.counts) == 2


def test_what_is_tried_in_vain_is_counted_by_turns() -> None:
    world = World(1, one_way=0.025)
    build(world, TWO_NATS, preset=("hub", "b"))
    world.nodes["a"].start()
    world.run(20)
    a = world.nodes["a"]
    assert a.mesh
    tried = a.observer.tried[Kind.CONFIGURED]
    readds = len(a.readds)
    assert 4 <= tried < readds  # hub and b in a few rounds each; every turn has several shots
    assert not a.observer.succeeded
