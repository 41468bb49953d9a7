"""The UPnP program: what it makes of a router's answers, and what it cannot do any more once it began."""

from __future__ import annotations

import json
import os
import resource
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgautomesh.portmap import igd
from wgautomesh.portmap.actions import Trouble, UpnpAnswer
from wgautomesh.portmap.helper import MAX_ANSWER, Helper, parse
from wgautomesh.portmap.igd import Failed, Request

URL = "http://192.168.2.1:5000/rootDesc.xml"
REQUEST = Request("192.168.2.1", "192.168.2.10", 51820, 51820, 3600, URL)
ANY = Request("192.168.2.1", "192.168.2.10", 51820, 0, 3600, URL)


@dataclass
class Library:
    """Stands for miniupnpc: the same calls, tuples and bare exceptions."""

    control: str = "http://192.168.2.1:5000/ctl"
    forever_only: bool = False
    there: dict[int, tuple[str, int, str, bool, int]] = field(default_factory=dict)
    added: list[tuple[int, str, int, int]] = field(default_factory=list)

    def selectigd(self, url: str) -> str:
        if url != URL:
            raise Exception("No UPnP device discovered")
        return self.control

    def externalipaddress(self) -> str:
        return "44.128.2.1"

    def getspecificportmapping(self, port: int, protocol: str) -> tuple[str, int, str, bool, int] | None:
        return self.there.get(port)

    def addportmapping(
        self, port: int, protocol: str, host: str, inner: int, words: str, remote: str, lifetime: int
    ) -> bool:
        if self.forever_only and lifetime:
            raise Exception("OnlyPermanentLeasesSupported")
        if port in self.there and self.there[port][0] != host:
            raise Exception("ConflictInMappingEntry")
        self.added.append((port, host, inner, lifetime))
        return True

    def deleteportmapping(self, port: int, protocol: str) -> bool:
        if port not in self.there:
            raise Exception("NoSuchEntryInArray")
        del self.there[port]
        return True


def run(library: Library, request: Request = REQUEST) -> dict[str, object]:
    return igd.run(request, lambda: library)


def test_a_new_mapping_is_made() -> None:
    library = Library()
    assert run(library) == {"ip": "44.128.2.1", "port": 51820, "lifetime": 3600, "made": True, "url": URL}
    assert library.added == [(51820, "192.168.2.10", 51820, 3600)]


def test_a_mapping_with_more_than_half_its_time_is_left_alone() -> None:
    library = Library(there={51820: ("192.168.2.10", 51820, "wgautomesh", True, 1801)})
    assert run(library)["made"] is False
    assert not library.added


@pytest.mark.parametrize("left", [1, 1800])
def test_a_mapping_is_renewed_from_half_time_on(left: int) -> None:
    library = Library(there={51820: ("192.168.2.10", 51820, "wgautomesh", True, left)})
    assert run(library) == {"ip": "44.128.2.1", "port": 51820, "lifetime": 3600, "made": False, "url": URL}
    assert library.added == [(51820, "192.168.2.10", 51820, 3600)]


def test_error_725_is_answered_with_a_permanent_lease() -> None:
    library = Library(forever_only=True)
    assert run(library)["lifetime"] == 0
    assert library.added == [(51820, "192.168.2.10", 51820, 0)]


def test_a_permanent_mapping_of_ours_is_left_alone() -> None:
    library = Library(there={51820: ("192.168.2.10", 51820, "wgautomesh", True, 0)})
    assert run(library)["lifetime"] == 0
    assert not library.added


def test_a_port_of_another_device_is_not_taken_over() -> None:
    library = Library(there={51820: ("192.168.2.7", 51820, "console", True, 0)})
    with pytest.raises(Failed, match=r"192\.168\.2\.7") as failed:
        run(library)
    assert failed.value.trouble == "TAKEN"
    assert not library.added


def test_a_port_of_another_program_here_is_not_taken_over_but_our_own_old_one_is() -> None:
    library = Library(there={51820: ("192.168.2.10", 6881, "torrent", True, 0)})
    with pytest.raises(Failed):
        run(library)
    library.there[51820] = ("192.168.2.10", 51000, "wgautomesh", True, 0)
    run(library)
    assert library.added == [(51820, "192.168.2.10", 51820, 3600)]


def test_any_port_is_another_one_where_ours_is_taken() -> None:
    library = Library(there={51820: ("192.168.2.7", 51820, "console", True, 0)})
    port = run(library, ANY)["port"]
    assert isinstance(port, int)
    assert port != 51820
    assert 1024 <= port < 65536


def test_a_description_that_leads_elsewhere_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(igd, "SEARCH_TIMES", (0.01,))  # nobody answers here
    with pytest.raises(Failed, match=r"leads to 192\.168\.2\.66"):
        igd.find(
            Request("192.168.2.1", "127.0.0.1", 1, 1, 1, URL),
            lambda: Library(control="http://192.168.2.66:80/ctl"),
        )


RELEASE = Request("192.168.2.1", "192.168.2.10", 51820, 51820, 3600, URL, release=True)


def test_a_release_of_what_is_gone_is_fine() -> None:
    assert run(Library(), RELEASE) == {}


def test_what_is_released_is_ours() -> None:
    ours, theirs = ("192.168.2.10", 51820, "wgautomesh", True, 0), ("192.168.2.7", 51820, "console", True, 0)
    library = Library(there={51820: ours})
    run(library, RELEASE)
    assert not library.there
    library = Library(there={51820: theirs})
    run(library, RELEASE)
    assert library.there == {51820: theirs}


def test_a_location_is_read_from_any_bytes() -> None:
    assert igd.location(b"HTTP/1.1 200 OK\r\nLocation: http://a/b\r\n\r\n") == "http://a/b"
    assert igd.location(b"") == ""


@given(st.binary(max_size=300))
def test_no_answer_to_a_search_raises(answer: bytes) -> None:
    igd.location(answer)


# -- what the agent makes of the program's words ------------------------------------------------------


def test_a_whole_answer() -> None:
    said = json.dumps({"ip": "44.128.2.1", "port": 5, "lifetime": 0, "made": True, "url": URL}).encode()
    assert parse(said) == UpnpAnswer(IPv4Address("44.128.2.1"), 5, 0, True, URL)


@given(
    st.binary(max_size=100)
    | st.recursive(st.none() | st.integers() | st.text(max_size=9), st.lists).map(
        lambda value: json.dumps(value).encode()
    )
)
def test_anything_else_is_an_error(said: bytes) -> None:
    answer = parse(said)
    assert answer.ip is None


@pytest.mark.parametrize(
    "wrong", [{"ip": "x"}, {"port": 0}, {"port": 65536}, {"lifetime": -1}, {"lifetime": None}, {"port": []}]
)
def test_wrong_fields_are_an_error(wrong: dict[str, object]) -> None:
    good: dict[str, object] = {"ip": "44.128.2.1", "port": 5, "lifetime": 0, "made": True, "url": ""}
    assert parse(json.dumps(good | wrong).encode()).error


# -- the process --------------------------------------------------------------------------------------

CONFINED = """
import json, sys
from wgautomesh.portmap import igd
igd.confine()
try:
    bytearray(igd.MEMORY_LIMIT)
    memory = True
except MemoryError:
    memory = False
print(json.dumps([igd.capabilities(), memory]))
"""


# Where a sandbox forbids capset; cat stands for the next image of the program, and shows what it has left.
SANDBOXED = """
import ctypes, sys, types
from wgautomesh.portmap import igd
sandbox = types.SimpleNamespace(capset=lambda *_: -1, prctl=ctypes.CDLL(None).prctl)
igd.ctypes = types.SimpleNamespace(**{**vars(ctypes), "CDLL": lambda *_, **__: sandbox})
sys.executable, sys.orig_argv = "/bin/cat", ["cat", "/proc/self/status"]
igd.os.getuid = lambda: 65534  # securebits have made root a user like all others
igd.confine()
"""
# Root without root's rights: another user may not be let into the folder that Python lies in.
MERE_ROOT = ("setpriv", "--securebits=+noroot", "--inh-caps=+net_admin")
ONE_RIGHT = (*MERE_ROOT, "--ambient-caps=+net_admin", "--bounding-set=-all,+net_admin")


def output(code: str, *through: str) -> str:
    command = [*through, sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout


def test_the_program_has_no_capability_and_little_memory() -> None:
    assert json.loads(output(CONFINED)) == [0, False]


@pytest.mark.skipif(os.getuid() != 0, reason="giving an ambient capability takes root")
def test_an_ambient_capability_is_given_up_too() -> None:
    assert json.loads(output(CONFINED, *ONE_RIGHT)) == [0, False]


@pytest.mark.skipif(os.getuid() != 0, reason="giving an ambient capability takes root")
def test_where_a_sandbox_forbids_capset_the_next_image_has_nothing() -> None:
    status = dict(
        line.split(":\t", 1) for line in output(SANDBOXED, *ONE_RIGHT).splitlines() if ":\t" in line
    )
    assert {int(status[name], 16) for name in ("CapPrm", "CapEff", "CapAmb")} == {0}


class Loop:
    """The agent's selector, for as long as a test waits."""

    def __init__(self) -> None:
        self.selector = selectors.DefaultSelector()
        self.answers: list[UpnpAnswer] = []
        self.helper = Helper(self.selector, lambda answer, _: self.answers.append(answer))

    def until(self, happened: Callable[[], object], within: float = 10.0) -> None:
        end = time.monotonic() + within
        while not happened() and time.monotonic() < end:
            for key, _ in self.selector.select(0.05):
                key.data(time.monotonic())
            self.helper.tick(time.monotonic())
        assert happened()


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts other code in the place of the UPnP program."""

    def put(code: str) -> None:
        (tmp_path / "instead.py").write_text(code)
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.setattr("wgautomesh.portmap.helper.PROGRAM", "instead")

    return put


def test_the_answer_comes_through_the_selector(program: Callable[[str], None]) -> None:
    program("import sys, json; print(json.dumps({'error': json.loads(sys.argv[1])['router']}))")
    loop = Loop()
    loop.helper.run(REQUEST, time.monotonic())
    loop.until(lambda: loop.answers)
    assert loop.answers == [UpnpAnswer(trouble=Trouble.REFUSED, error="192.168.2.1")]
    assert loop.helper.due == float("inf")


def test_a_program_that_takes_too_long_is_killed(program: Callable[[str], None]) -> None:
    program("import time; time.sleep(1000)")
    loop = Loop()
    loop.helper.run(REQUEST, time.monotonic() - igd.TIME_LIMIT)
    process = loop.helper._process
    loop.until(lambda: loop.answers)
    assert loop.answers == [UpnpAnswer(trouble=Trouble.REFUSED, error="not done in time")]
    assert process
    assert process.returncode == -signal.SIGKILL


def test_a_program_that_says_too_much_is_killed(program: Callable[[str], None]) -> None:
    program("import sys\nwhile True: sys.stdout.write('x' * 1000)")
    loop = Loop()
    loop.helper.run(REQUEST, time.monotonic())
    loop.until(lambda: loop.answers)
    assert loop.answers[0].error
    assert len(loop.helper._said) <= 2 * MAX_ANSWER


def test_an_errand_that_is_ended_brings_no_answer_and_leaves_nothing(program: Callable[[str], None]) -> None:
    program("import time; time.sleep(1000)")
    loop = Loop()
    loop.helper.run(REQUEST, time.monotonic())
    process = loop.helper._process
    loop.helper.end()
    assert process
    assert process.returncode is not None
    assert not loop.selector.get_map()
    assert not loop.answers


def test_starting_an_errand_takes_no_time(program: Callable[[str], None]) -> None:
    program("import time; time.sleep(1000)")
    loop, times = Loop(), []
    for _ in range(5):
        began = time.perf_counter()
        loop.helper.run(REQUEST, time.monotonic())
        times.append(time.perf_counter() - began)
    loop.helper.end()
    assert min(times) < 0.05


def test_requests_survive_their_way_to_the_program() -> None:
    assert Request(**json.loads(json.dumps(asdict(REQUEST)))) == REQUEST
    assert resource.RLIMIT_AS  # the platform can limit memory
