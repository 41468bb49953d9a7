"""The wall clock jumps. Only WireGuard looks at it: its handshakes carry it, and must never go back."""

from __future__ import annotations

import time
from pathlib import Path

from ..lab.lab import Lab
from ..lab.shell import run
from .conftest import Printed, until_reached

DAY = 86_400  # s
WATCHED = 20.0  # s; a live link that is given up is re-added within 14 s of missed probes


def set_clock(of: Lab, days: int) -> None:
    """Jump by whole days, for good: the machine's clock ends with it. The nodes' logs stay readable."""
    time.clock_settime(time.CLOCK_REALTIME, time.time() + days * DAY)
    for node in of.nodes.values():
        node.started += days * DAY


def received(of: Lab) -> dict[tuple[str, str], int]:
    """Bytes by node and peer: they start anew when a peer is re-added, and only then."""
    return {
        (node.name, key): peer.received for node in of.nodes.values() for key, peer in node.wg.peers().items()
    }


def let_wireguard_speak() -> None:
    Path("/sys/kernel/debug/dynamic_debug/control").write_text("module wireguard +p")


def refusals() -> int:
    """How often the kernel's WireGuard said that it did not believe a handshake."""
    return run(["dmesg"]).count("Invalid handshake initiation")


def test_a_clock_set_a_day_forward_makes_no_live_peer_re_added(mesh: Lab) -> None:
    before = received(mesh)
    pinging = mesh["alice"].pinging(mesh["bob"])
    set_clock(mesh, +1)
    end = time.monotonic() + WATCHED
    while time.monotonic() < end:
        after = received(mesh)
        assert after.keys() == before.keys()
        assert all(after[peer] >= before[peer] for peer in before)
        before = after
        time.sleep(0.5)
    assert pinging.stop().lost == []
    assert all(one.link(other) and other.link(one) for one, other in mesh.pairs())


def test_who_lost_its_sessions_is_let_in_again_though_the_clock_went_back_a_day(
    mesh: Lab, printed: Printed
) -> None:
    """Made anew, alice's interface shakes hands with timestamps a day older than the others have seen.

    This stands for sessions that expire, which takes 180 s: both leave alice without any, and the others with
    her last timestamp. `expiry.py` waits it out.
    """
    alice, bob, hub = mesh["alice"], mesh["bob"], mesh["hub"]
    let_wireguard_speak()
    before = refusals()
    set_clock(mesh, -2)  # a day before her handshakes, even if the test above has just made it a day later
    alice.recreate_interface()
    for other in (hub, bob):
        printed(f"{other.name} reached after a day back", until_reached(mesh, alice, other))
    mesh.check_pings()
    assert refusals() > before  # else nothing stood in the way, and nothing was overcome
    hub.stop()  # bob and the hub have yet to refuse each other's renewals: no mesh for another test
