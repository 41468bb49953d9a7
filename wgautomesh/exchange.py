"""Gossip as datagrams: sealed and sent into the tunnel, received from it and opened.

One socket per IP version in use, bound to the WireGuard device and to our own mesh address. What messages
mean is the core's business.
"""

from __future__ import annotations

import logging
import selectors
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from . import messages
from .budget import Budget
from .log import TRACE
from .messages import Message
from .mute import MAX_MUTED
from .seal import Seal
from .tally import MALFORMED, NEWER, NO_MEMBER, OTHER_SECRET, RECEIVED, SENT, TOO_MANY, UNKNOWN_KIND, Tally
from .tunnel import Tunnel
from .values import IPAddress, IPInterface, Key, Member

log = logging.getLogger(__name__)

MEMBER_SPACING = 0.005  # s between datagrams of one member that are opened, on average: who floods us with
MEMBER_BURST = 1000  # good ones costs no more than with bad ones. A whole book of 5,000 comes in 500 at once.
MUTED = 1.0  # s at least for which the kernel drops what comes from who sent more
BATCH = 64  # datagrams of one socket handled in a turn of the loop: a flood must not starve the timers


@dataclass(frozen=True, slots=True)
class Heard:
    ip: IPAddress
    message: Message


@dataclass(frozen=True, slots=True)
class Refused:
    """A datagram of ours to `ip` met a closed port."""

    ip: IPAddress


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A datagram from `ip` was sealed with another secret."""

    ip: IPAddress


Event: TypeAlias = Heard | Refused | Unreadable


class Exchange:
    """`owner` says which member speaks for an address, None for nobody."""

    def __init__(
        self,
        selector: selectors.BaseSelector,
        seal: Seal,
        port: int,
        hear: Callable[[Tunnel, float], None],
        owner: Callable[[IPAddress], Key | None],
    ) -> None:
        self._selector = selector
        self._seal = seal
        self._port = port
        self._hear = hear
        self._owner = owner
        self._budgets: dict[Key, Budget] = {}  # of members that spoke
        self._muted: dict[IPAddress, float] = {}  # until when
        self._tunnels: dict[int, Tunnel] = {}  # by IP version
        self._said: set[object] = set()  # of what was complained
        self.tally = Tally()

    @property
    def is_open(self) -> bool:
        return bool(self._tunnels)

    def reseal(self, seal: Seal) -> None:
        self._seal = seal

    def open(self, device: str, mine: Sequence[IPInterface], members: Sequence[IPAddress]) -> bool:
        """Open what is missing to reach all `members` from the device's addresses; False: try again later."""
        complete = True
        for version in {ip.version for ip in members} - self._tunnels.keys():
            address = _mesh_address(version, mine, members)
            if address is None:
                self._say_once(f"{device} has no IPv{version} address in the mesh yet: waiting for one")
                complete = False
                continue
            try:
                tunnel = Tunnel(device, address, self._port)
            except PermissionError:
                raise
            except OSError as error:
                self._say_once(
                    f"cannot open the gossip socket at {address}, port {self._port}: {error.strerror}"
                )
                complete = False
                continue
            self._tunnels[version] = tunnel
            self._selector.register(
                tunnel, selectors.EVENT_READ, lambda now, each=tunnel: self._hear(each, now)
            )
        if complete:
            self._said.clear()
        return complete

    def close(self) -> None:
        for tunnel in self._tunnels.values():
            self._selector.unregister(tunnel)
            tunnel.close()
        self._tunnels.clear()
        self._muted.clear()

    def send(self, member: Member, message: Message, now: float) -> None:
        """Raises OSError when the socket is of no use any more. A datagram that cannot leave is lost."""
        self._hear_again(now)
        tunnel = self._tunnels.get(member.address.version)
        if tunnel:
            way = tunnel.address.packed + member.address.packed
            sealed = self._seal.seal(messages.encode(message), way)
            sent = tunnel.send(member.address, sealed)
            self.tally.count(SENT, message, len(sealed))
            log.log(TRACE, "%s %s: %s", "to" if sent else "not sent to", member, message)

    def receive(self, tunnel: Tunnel, now: float) -> Iterator[Event]:
        """What arrived. Raises OSError as `send` does."""
        self._hear_again(now)
        for each in tunnel.receive(BATCH):
            if each.data is None:
                yield Refused(each.ip)
                continue
            reason = self._refuses(each.ip, now)
            if reason:
                self.tally.rejected[reason] += 1
                if reason == TOO_MANY:
                    self._mute(tunnel, each.ip, now)
                continue
            plain = self._seal.open(each.data, each.ip.packed + tunnel.address.packed)
            if plain is None:
                self.tally.rejected[OTHER_SECRET] += 1
                yield Unreadable(each.ip)
                continue
            try:
                message = messages.decode(plain)
            except messages.Newer as newer:
                self.tally.rejected[NEWER] += 1
                text = f"{each.ip} speaks {newer}, which is not understood here: update this node"
                self._say_once(text, self._owner(each.ip))
                continue
            except messages.Malformed as error:
                self.tally.rejected[MALFORMED] += 1
                log.debug("malformed datagram from %s: %s", each.ip, error)
                continue
            if message is None:
                self.tally.rejected[UNKNOWN_KIND] += 1
            else:
                self.tally.count(RECEIVED, message, len(each.data))
                log.log(TRACE, "from %s: %s", each.ip, message)
                yield Heard(each.ip, message)

    def _refuses(self, ip: IPAddress, now: float) -> str | None:
        """Why what comes from there is not even opened."""
        key = self._owner(ip)
        if key is None:
            return NO_MEMBER
        budget = self._budgets.get(key)
        if budget is None:
            budget = self._budgets[key] = Budget(MEMBER_SPACING, MEMBER_BURST)
        return None if budget.allows(now) else TOO_MANY

    def _mute(self, tunnel: Tunnel, ip: IPAddress, now: float) -> None:
        """Until we next listen or speak after MUTED: when some member is to be probed, at the latest."""
        if ip not in self._muted and len(self._muted) < MAX_MUTED:
            self._muted[ip] = now + MUTED
            tunnel.mute([each for each in self._muted if each.version == ip.version])

    def _hear_again(self, now: float) -> None:
        over = [ip for ip, until in self._muted.items() if now >= until]
        for ip in over:
            del self._muted[ip]
        for version in {ip.version for ip in over} & self._tunnels.keys():
            self._tunnels[version].mute([each for each in self._muted if each.version == version])

    def forget(self, members: Collection[Key]) -> None:
        """Only these are members now."""
        self._budgets = {key: budget for key, budget in self._budgets.items() if key in members}

    def _say_once(self, text: str, topic: object = None) -> None:
        """Once for each topic, which is the text itself if it is nobody else's to choose."""
        if (topic or text) not in self._said:
            self._said.add(topic or text)
            log.warning("%s", text)


def _mesh_address(
    version: int, mine: Sequence[IPInterface], members: Sequence[IPAddress]
) -> IPAddress | None:
    """Our own address in the mesh: that whose network holds most members."""
    usable = [each for each in mine if each.version == version and not each.ip.is_link_local]
    best = max(usable, key=lambda each: sum(ip in each.network for ip in members), default=None)
    return best.ip if best else None
