"""The wall clock jumps. Only WireGuard looks at it: its handshakes carry it, and must never go back."""

from __future__ import annotations

import time
from collections.abc import Callable

from ..lab import topology
from ..lab.lab import Lab
from ..lab.topology import Topology
from .conftest import Printed, SetClock
from .test_mesh import WAIT, until_reached

LabOf = Callable[[Topology], Lab]

WATCHED = 20.0  # s; a live link that is given up is re-added within 14 s of missed probes


def received(lab: Lab) -> dict[tuple[str, str], int]:
    """Bytes by node and peer: they start anew when a peer is re-added, and only then."""
    return {
        (node.name, key): peer.received
        for node in lab.nodes.values()
        for key, peer in node.wg.peers().items()
    }


def test_a_clock_set_a_day_forward_makes_no_live_peer_re_added(
    lab_of: LabOf, set_clock: SetClock, printed: Printed
) -> None:
    lab = lab_of(topology.pair())
    lab.configure()
    lab.start()
    lab.until_meshed(within=WAIT)
    before = received(lab)
    pinging = lab["alice"].pinging(lab["bob"])
    set_clock(lab, +1)
    end = time.monotonic() + WATCHED
    while time.monotonic() < end:
        after = received(lab)
        assert after.keys() == before.keys()
        assert all(after[peer] >= before[peer] for peer in before)
        before = after
        time.sleep(0.5)
    assert pinging.stop().lost == []
    assert all(one.link(other) and other.link(one) for one, other in lab.pairs())


def test_who_lost_its_sessions_is_let_in_again_though_the_clock_went_back_a_day(
    lab_of: LabOf, set_clock: SetClock, printed: Printed
) -> None:
    """Made anew, alice's interface shakes hands with timestamps a day older than the others have seen.

    This stands for sessions that expire, which takes 180 s: both leave alice without any, and the others with
    her last timestamp. `expiry.py` waits it out.
    """
    lab = lab_of(topology.pair())
    alice, bob, hub = lab["alice"], lab["bob"], lab["hub"]
    lab.configure()
    lab.start()
    lab.until_meshed(within=WAIT)
    for other in (hub, bob):
        alice.ping(other, count=50)
    before = received(lab)
    set_clock(lab, -1)
    alice.recreate_interface()
    for other in (hub, bob):
        printed(f"{other.name} reached after a day back", until_reached(lab, alice, other))
    lab.check_pings()
    # What healed it: the others re-added her. Had WireGuard just let her in, they would go on counting.
    after = received(lab)
    assert after["hub", alice.key] < before["hub", alice.key]
    assert after["bob", alice.key] < before["bob", alice.key]
