"""A topology made real: namespaces, links, addresses, NAT, and the faults that can befall them.

    trunk ──(44.128.1.0/24)── hub
      ├─────(44.128.2.0/24)── north ──(192.168.2.0/24)── alice
      └─────(44.128.3.0/24)── south ──(192.168.3.0/24)── bob

Every box's way up is called `eth0`, a router's LAN is the bridge `lan`. Nothing here knows WireGuard.
"""

from __future__ import annotations

import json
import subprocess
import sys
from ipaddress import IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from pathlib import Path

from .boxes import Box, Cable, Segment
from .gateway import Gateway
from .shell import LabError, Mark, Namespace
from .topology import Host, Nat, Router, Topology, Versions

# 44.128.0.0/16 (once amateur radio's test network) passes for public where documentation ranges would not.
QUIET = {  # addresses are usable at once, and nobody invents any
    "net.ipv6.conf.default.accept_dad": 0,
    "net.ipv6.conf.default.accept_ra": 0,
    "net.ipv6.conf.all.keep_addr_on_down": 1,
    "net.ipv6.conf.default.keep_addr_on_down": 1,
    "net.ipv4.conf.all.rp_filter": 0,
    "net.ipv4.conf.default.rp_filter": 0,
}
FORWARD = {"net.ipv4.ip_forward": 1, "net.ipv6.conf.all.forwarding": 1}

HOST_FIREWALL = """
table inet firewall {
  chain input {
    type filter hook input priority filter; policy drop;
    ct state established,related accept
    iifname != "eth0" accept
    meta l4proto { icmp, ipv6-icmp } accept
  }
}
"""
ROUTER_FILTER = """
table inet router {
  chain input {
    type filter hook input priority filter; policy INPUT;
    ct state established,related accept
    iifname != "eth0" accept
    meta l4proto { icmp, ipv6-icmp } accept
  }
  chain forward {
    type filter hook forward priority filter; policy FORWARD;
    ct state established,related accept
    iifname "lan" accept
    meta l4proto ipv6-icmp accept
  }
}
"""
ROUTER_NAT = """
table ip nat {
  chain postrouting {
    type nat hook postrouting priority srcnat;
    oifname "eth0" MASQUERADE
  }
}
"""


class Underlay:
    """All boxes of a topology, by name, and what can be done to them."""

    def __init__(self, topology: Topology, mark: Mark) -> None:
        self.boxes: dict[str, Box] = {}
        self._versions = topology.versions
        self._mark = mark
        self.cables: list[Cable] = []
        self._made: list[Namespace] = []
        self._lans = 0
        self._impaired: dict[str, tuple[float, float]] = {}
        self._holder: subprocess.Popen[bytes] | None = None
        self.trunk = Namespace(mark.namespace("trunk"))
        try:
            self._create(self.trunk, FORWARD)
            self.trunk.nft("table inet cuts { chain forward { type filter hook forward priority -10; }; }")
            for number, spec in enumerate(topology.trunk, 1):
                self._build(spec, self._uplink(number), None)
            if topology.delay:
                self.impair(delay=topology.delay)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        if self._holder:
            self._holder.kill()
            self._holder.wait()
        for ns in reversed(self._made):
            ns.remove()

    # -- faults ---------------------------------------------------------------------------------------

    def impair(self, *names: str, delay: float | None = None, drop: float | None = None) -> None:
        """Make links to the trunk (of these sites; without names: of all) slow or lossy, from now on.

        `delay`: s, one way between two impaired sites; half of it falls on each. `drop`: the share that is
        lost of what these sites send. What is not given stays as it was.
        """
        sites = {self.boxes[name].outermost().name for name in names or self.boxes}
        for name in sites:
            before = self._impaired.get(name, (0.0, 0.0))
            self._impaired[name] = (
                before[0] if delay is None else delay / 2,
                before[1] if drop is None else drop,
            )
        numbers = {
            entry["ifname"]: entry["ifindex"] for entry in json.loads(self.trunk.run("ip", "-j", "link"))
        }
        order = {numbers[self.boxes[name].port]: self._impaired[name] for name in sites}
        holder = self._holder = self._holder or self._hold()
        if holder.stdin is None or holder.stdout is None:
            raise LabError("the program that delays packets has no pipes")
        holder.stdin.write(json.dumps(order).encode() + b"\n")
        holder.stdin.flush()
        holder.stdout.readline()

    def cut(self, one: str, other: str) -> None:
        """Let no UDP pass between the sites of two boxes, either way, until `mend`."""
        a, b = (self.boxes[name].outermost().port for name in (one, other))
        for come, go in ((a, b), (b, a)):
            self.trunk.nft(
                f'add rule inet cuts forward iifname "{come}" oifname "{go}" meta l4proto udp drop'
            )

    def mend(self) -> None:
        """Undo all cuts."""
        self.trunk.nft("flush chain inet cuts forward")

    def renumber(self, name: str) -> None:
        """Give a box another address upwards. Masquerading forgets the flows of the old one, as in life."""
        box = self.boxes[name]
        if box.segment.bridge:
            _handle_in_turn(box.segment.ns, box.port)
        self._address(box)

    def flush_nat(self, name: str) -> None:
        """A router's connection table is empty, as after a reboot."""
        self.boxes[name].ns.run("conntrack", "-F")

    def pull(self, name: str) -> None:
        """Take the cable out: the link upwards loses its carrier."""
        box = self.boxes[name]
        box.segment.ns.ip(f"link set {box.port} down")

    def plug(self, name: str) -> None:
        box = self.boxes[name]
        box.segment.ns.ip(f"link set {box.port} up")

    def move(self, name: str, router: str) -> None:
        """Carry a host to another router's LAN; it keeps its network card and gets a new address."""
        box, to = self.boxes[name], self.boxes[router]
        if to.lan is None:
            raise LabError(f"{router} has no LAN")
        old, box.segment, box.above = box.segment, to.lan, to
        old.ns.ip(f"link set {box.port} down nomaster", f"link set {box.port} netns {to.ns.name}")
        to.ns.ip(f"link set {box.port} master lan", f"link set {box.port} up")
        _handle_in_turn(to.ns, box.port)
        self._address(box)

    def cable(self, *names: str) -> Cable:
        """Lay a LAN between hosts, beside their ways up: a switch, and a second network card for each."""
        number = len(self.cables) + 1
        cable = Cable(self._create(Namespace(self._mark.namespace(f"switch{number}")), {}), f"lan{number}")
        self.cables.append(cable)
        cable.ns.ip("link add switch type bridge forward_delay 0 mcast_snooping 0", "link set switch up")
        for place, name in enumerate(names, 1):
            ns, at = self.boxes[name].ns, IPv4Interface(f"10.9.{number}.{place}/24")
            cable.ends[name] = ns
            cable.ns.ip(
                f"link add to-{name} type veth peer name {cable.card} netns {ns.name}",
                f"link set to-{name} master switch up",
            )
            ns.ip(f"address add {at} broadcast + dev {cable.card}", f"link set {cable.card} up")
        return cable

    # -- building -------------------------------------------------------------------------------------

    def _create(self, ns: Namespace, sysctls: dict[str, int]) -> Namespace:
        self._made.append(ns)
        ns.create(QUIET | sysctls)
        return ns

    def _uplink(self, number: int) -> Segment:
        """The trunk's own /24 and /64 for its customer of this number."""
        return Segment(
            self.trunk, None, *self._networks(f"44.128.{number}.0/24", f"2a0e:44:{number:x}::/64"), 254
        )

    def _networks(self, v4: str, v6: str) -> tuple[IPv4Network | None, IPv6Network | None]:
        return (
            IPv4Network(v4) if Versions.V4 in self._versions else None,
            IPv6Network(v6) if Versions.V6 in self._versions else None,
        )

    def _build(self, spec: Host | Router, segment: Segment, above: Box | None) -> Box:
        ns = self._create(
            Namespace(self._mark.namespace(spec.name)), FORWARD if isinstance(spec, Router) else {}
        )
        box = Box(spec.name, ns, f"to-{spec.name}"[:15], segment, above)
        self.boxes[spec.name] = box
        segment.ns.ip(
            f"link add {box.port} type veth peer name eth0 netns {ns.name}",
            f"link set {box.port} up" + (f" master {segment.bridge}" if segment.bridge else ""),
        )
        if segment.bridge is None:
            _add_gateway(segment, box.port)
        ns.ip("link set eth0 up")
        self._address(box)
        if isinstance(spec, Host):
            if spec.firewall:
                ns.nft(HOST_FIREWALL)
            return box
        self._route(box, spec)
        box.below = [self._build(each, box.lan, box) for each in spec.behind if box.lan]
        return box

    def _route(self, box: Box, spec: Router) -> None:
        """Make the box a router: its LAN, its filter, its NAT, and the way to it from above."""
        self._lans += 1
        nested = any(isinstance(each, Router) for each in spec.behind)
        prefix = "44.129" if spec.nat is Nat.NONE else "100.64" if nested else "192.168"
        v4, v6 = self._networks(
            str(spec.lan or f"{prefix}.{self._lans}.0/24"), f"2a0e:44:ff:{self._lans:x}::/64"
        )
        box.lan = Segment(box.ns, "lan", v4, v6, gateway=1, given=9)
        # A bridge without an address of its own takes one of its ports'. When that port goes, hosts send to
        # an address that nobody has: flooded to all ports, such packets are tracked without NAT, and so is
        # what follows.
        mac = f"02:00:00:00:00:{self._lans:02x}"
        box.ns.ip(
            f"link add lan address {mac} type bridge forward_delay 0 mcast_snooping 0", "link set lan up"
        )
        _add_gateway(box.lan, "lan")
        policy = ROUTER_FILTER.replace("INPUT;", "accept;" if spec.accept_input else "drop;")
        box.ns.nft(policy.replace("FORWARD;", "drop;" if spec.firewall else "accept;"))
        if spec.nat is not Nat.NONE:
            box.ns.nft(ROUTER_NAT.replace("MASQUERADE", spec.nat.value))
        if spec.maps:
            box.gateway = Gateway(box.ns, spec.maps, box.name, self._mark.folder())
            box.gateway.start()
        box.ns.run(
            "sysctl",
            "-qw",
            f"net.netfilter.nf_conntrack_udp_timeout={spec.unreplied}",
            f"net.netfilter.nf_conntrack_udp_timeout_stream={spec.stream}",
        )
        self._announce(box, box.lan.v6)
        if spec.nat is Nat.NONE:
            self._announce(box, box.lan.v4)

    def _announce(self, box: Box, network: IPv4Network | IPv6Network | None) -> None:
        """Tell everyone above which network lies behind this router."""
        hop: Box | None = box
        while network and hop:
            via = hop.v4 if network.version == 4 else hop.v6
            if via:
                hop.segment.ns.ip(f"route replace {network} via {via.ip}")
            hop = hop.above

    def _address(self, box: Box) -> None:
        """Give the box the segment's next address and its default route, in place of what it had."""
        segment = box.segment
        segment.given += 1
        box.ns.ip("address flush dev eth0 scope global", "link set eth0 up")
        box.link_local = _link_local(box.ns, "eth0")
        if segment.v4:
            box.v4 = IPv4Interface(f"{segment.v4[segment.given]}/{segment.v4.prefixlen}")
            box.ns.ip(
                f"address add {box.v4} broadcast + dev eth0",
                f"route replace default via {segment.v4[segment.gateway]}",
            )
        if segment.v6:
            box.v6 = IPv6Interface(f"{segment.v6[segment.given]}/{segment.v6.prefixlen}")
            box.ns.ip(
                f"address add {box.v6} dev eth0 nodad",
                f"route replace default via {segment.v6[segment.gateway]}",
            )
        for below in _routers(box):
            if below.lan:
                self._announce(below, below.lan.v6)
                if below.lan.v4 and not below.lan.v4.is_private and not _shared(below.lan.v4):
                    self._announce(below, below.lan.v4)

    # -- the trunk ------------------------------------------------------------------------------------

    def _hold(self) -> subprocess.Popen[bytes]:
        """Start the program that holds packets, and send everything that crosses the trunk through it."""
        program = str(Path(__file__).with_name("trunk.py"))
        holder = subprocess.Popen(
            ["ip", "netns", "exec", self.trunk.name, sys.executable, "-IS", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        if holder.stdout is None or holder.stdout.readline() != b"ready\n":
            raise LabError("the program that delays packets did not start")
        for tool in ("iptables", "ip6tables"):
            self.trunk.run(tool, "-A", "FORWARD", "-j", "NFQUEUE", "--queue-num", "0")
        return holder


def _link_local(ns: Namespace, interface: str) -> IPv6Address | None:
    (shown,) = json.loads(ns.run("ip", "-j", "-6", "address", "show", "dev", interface, "scope", "link")) or [
        {}
    ]
    return next((IPv6Address(each["local"]) for each in shown.get("addr_info", ())), None)


def _handle_in_turn(router: Namespace, port: str) -> None:
    """Have one processor handle what a host with another address sends its router.

    Where two did, 7 of 1,200 pairs of flows that began in the same instant got two outer ports, as the flows
    of the old address held the inner one: seen from outside, the router is a symmetric NAT then. Not for all
    hosts: a flood that one processor has to handle takes it from everybody else.
    """
    router.run("sh", "-c", f"echo 1 > /sys/class/net/{port}/queues/rx-0/rps_cpus")


def _add_gateway(segment: Segment, interface: str) -> None:
    if segment.v4:
        segment.ns.ip(
            f"address add {segment.v4[segment.gateway]}/{segment.v4.prefixlen} broadcast + dev {interface}"
        )
    if segment.v6:
        segment.ns.ip(
            f"address add {segment.v6[segment.gateway]}/{segment.v6.prefixlen} dev {interface} nodad"
        )


def _routers(box: Box) -> list[Box]:
    """The box itself and all below it that have a LAN."""
    return [each for each in (box, *box.below) if each.lan]


def _shared(network: IPv4Network) -> bool:
    return network.subnet_of(IPv4Network("100.64.0.0/10"))
