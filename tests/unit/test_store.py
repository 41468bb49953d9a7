"""The state file: what was learned comes back, and nobody's file is ever lost."""

from __future__ import annotations

import errno
import json
import os
import stat
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgautomesh import store
from wgautomesh.dnsmesh.kept import Kept
from wgautomesh.dnsmesh.zone import Host
from wgautomesh.store import MAX_ENDPOINTS, MAX_SET_ASIDE, MAX_SIZE, Memory, Store
from wgautomesh.values import KEY_SIZE, Endpoint, Key, key_text

A, B = Key(b"a" * KEY_SIZE), Key(b"b" * KEY_SIZE)
MEMORY = Memory(
    frozenset({A}),
    {
        A: (Endpoint(ip_address("203.0.113.9"), 33734), Endpoint(ip_address("2001:db8::1"), 51820)),
        B: (Endpoint(ip_address("fe80::1%3"), 1),),
    },
)
KEYS = st.binary(min_size=KEY_SIZE, max_size=KEY_SIZE).map(Key)
ENDPOINTS = st.builds(Endpoint, st.ip_addresses(), st.integers(1, 65535))
ADDRESSES = st.lists(st.ip_addresses(), min_size=1, max_size=3).map(tuple)
HOSTS = st.builds(
    Host, st.just("a.example"), KEYS, ADDRESSES, st.lists(ENDPOINTS, max_size=MAX_ENDPOINTS).map(tuple)
)
MEMORIES = st.builds(
    Memory,
    st.frozensets(KEYS, max_size=5),
    st.dictionaries(KEYS, st.lists(ENDPOINTS, max_size=MAX_ENDPOINTS).map(tuple), max_size=5),
    st.none() | st.builds(Kept, st.text(max_size=20), st.floats(30, 3600), st.tuples(HOSTS)),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state"


def names(path: Path) -> list[str]:
    return sorted(each.name for each in path.parent.iterdir())


@given(MEMORIES)
def test_what_was_saved_comes_back(tmp_path_factory: pytest.TempPathFactory, memory: Memory) -> None:
    path = tmp_path_factory.getbasetemp() / "state"
    Store(path).save(memory)
    assert Store(path).load() == (memory, None)


def test_no_file_is_no_memory_and_no_warning(path: Path) -> None:
    assert Store(path).load() == (Memory(), None)


def test_a_file_from_before_meshes_in_dns_is_read(path: Path) -> None:
    Store(path).save(MEMORY)
    assert "dns" not in json.loads(path.read_text())
    assert Store(path).load() == (MEMORY, None)


def test_an_empty_file_holds_nothing_to_lose(path: Path) -> None:
    path.touch()
    assert Store(path).load() == (Memory(), None) and names(path) == ["state"]


def test_a_person_can_read_it_and_nobody_else_may(path: Path) -> None:
    before = os.umask(0)
    try:
        Store(path).save(MEMORY)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert json.loads(path.read_text()) == {
        "version": 1,
        "added": [key_text(A)],
        "endpoints": {
            key_text(A): ["203.0.113.9:33734", "[2001:db8::1]:51820"],
            key_text(B): ["[fe80::1%3]:1"],
        },
    }


def test_the_same_memory_is_the_same_file(path: Path) -> None:
    Store(path).save(MEMORY)
    first = path.read_bytes()
    Store(path).save(Memory(MEMORY.added, {B: MEMORY.endpoints[B], A: MEMORY.endpoints[A]}))
    assert path.read_bytes() == first


def test_fields_of_later_releases_are_passed_over(path: Path) -> None:
    Store(path).save(MEMORY)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"more": [1]}))
    assert Store(path).load() == (MEMORY, None)


def test_a_file_cut_short_anywhere_is_set_aside(tmp_path: Path) -> None:
    Store(tmp_path / "whole").save(MEMORY)
    whole = (tmp_path / "whole").read_bytes()
    for length in range(1, len(whole) - 1):  # without its last newline it is whole still
        folder = tmp_path / str(length)
        folder.mkdir()
        (folder / "state").write_bytes(whole[:length])
        memory, warning = Store(folder / "state").load()
        assert memory == Memory() and warning and warning.endswith("set aside as state.corrupt-1")
        assert (folder / "state.corrupt-1").read_bytes() == whole[:length] and len(
            list(folder.iterdir())
        ) == 1


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from([key_text(A), "44.128.2.2:1", ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([key_text(A), "x"]), inner),
    max_leaves=6,
)
nearly_dns = st.fixed_dictionaries({}, optional={"name": anything, "ttl": anything, "hosts": anything})
nearly_states = st.fixed_dictionaries(
    {"version": st.just(1)}, optional={"added": anything, "endpoints": anything, "dns": anything | nearly_dns}
)


@given(st.binary(min_size=1, max_size=300) | nearly_states.map(json.dumps).map(str.encode))
def test_nothing_read_from_a_file_raises_what_nobody_catches(raw: bytes) -> None:
    with suppress(ValueError):
        memory = store._parse(raw)
        assert store._parse(store._format(memory)) == memory


FOREIGN: dict[str, Any] = {
    "a newer version": {"version": 2},
    "no version": {},
    "a list": [],
    "too deep": "[" * 100_000,
    "keys no list": {"version": 1, "added": 5},
    "no key": {"version": 1, "added": ["x"]},
    "endpoints no table": {"version": 1, "endpoints": []},
    "a name for an endpoint": {"version": 1, "endpoints": {key_text(A): ["host.example:1"]}},
    "no port": {"version": 1, "endpoints": {key_text(A): ["1.2.3.4"]}},
    "no text": {"version": 1, "endpoints": {key_text(A): [5]}},
    "too large": " " * (MAX_SIZE + 1),
}


@pytest.mark.parametrize("content", FOREIGN.values(), ids=FOREIGN.keys())
def test_a_file_that_is_not_ours_is_set_aside(path: Path, content: Any) -> None:
    text = content if isinstance(content, str) else json.dumps(content)
    path.write_text(text)
    mine = Store(path)
    memory, warning = mine.load()
    assert memory == Memory() and warning and warning.startswith(f"{path}: ")
    mine.save(MEMORY)
    assert Store(path).load() == (MEMORY, None)
    assert (path.parent / "state.corrupt-1").read_text() == text


def test_the_binary_state_of_the_original_tool_is_set_aside(path: Path) -> None:
    # Its layout does not matter: anything binary at the path it used must survive and not be believed.
    binary = bytes([1, 0, 0, 0, 0, 0, 0, 0, 32, *bytes(7), *A, 0xFF, 0xFE, 4, 203, 0, 113, 9, 0xC6, 0x83])
    path.write_bytes(binary)
    mine = Store(path)
    assert mine.load() == (
        Memory(),
        f"{path}: not a state file of this program: set aside as state.corrupt-1",
    )
    mine.save(MEMORY)
    assert Store(path).load() == (MEMORY, None)
    assert (path.parent / "state.corrupt-1").read_bytes() == binary


def test_a_newer_version_is_called_that(path: Path) -> None:
    path.write_text('{"version": 7}')
    warning = Store(path).load()[1]
    assert warning == (f"{path}: state file of version 7, this program knows 1: set aside as state.corrupt-1")


def test_nothing_set_aside_is_ever_overwritten(path: Path) -> None:
    for number in range(MAX_SET_ASIDE):
        path.write_text(f"foreign {number}")
        Store(path).load()
    path.write_text("one more")
    mine = Store(path)
    assert "nothing will be kept" in str(mine.load()[1])
    with pytest.raises(FileExistsError):
        mine.save(MEMORY)
    assert path.read_text() == "one more"
    kept = {each.read_text() for each in path.parent.glob("state.corrupt-*")}
    assert kept == {f"foreign {number}" for number in range(MAX_SET_ASIDE)}


def test_at_most_four_endpoints_of_a_member_are_kept(path: Path) -> None:
    many = tuple(Endpoint(ip_address("192.0.2.1"), port) for port in range(1, 9))
    Store(path).save(Memory(endpoints={A: many}))
    assert Store(path).load()[0].endpoints == {A: many[:4]}


@pytest.mark.timeout(5)
@pytest.mark.parametrize("kind", ["pipe", "folder", "link to a device"])
def test_what_is_no_file_is_left_alone(path: Path, kind: str) -> None:
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/null")
    mine = Store(path)
    memory, warning = mine.load()
    assert memory == Memory() and warning
    with pytest.raises(OSError, match="somebody else"):
        mine.save(MEMORY)
    assert names(path) == ["state"] and not path.is_file()


def test_a_full_disk_leaves_the_old_file_and_nothing_else(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Store(path).save(MEMORY)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        Store(path).save(Memory())
    assert names(path) == ["state"] and Store(path).load() == (MEMORY, None)


def test_a_folder_nobody_may_write_to_keeps_the_old_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Store(path).save(MEMORY)
    path.chmod(0o644)
    path.parent.chmod(0o555)
    monkeypatch.chdir(path.parent)  # relative, as the folders above may be closed to others
    user = os.geteuid()
    try:
        if user == 0:
            os.seteuid(65534)  # root may write anywhere
        with pytest.raises(PermissionError):
            Store(Path("state")).save(Memory())
    finally:
        os.seteuid(user)
        path.parent.chmod(0o755)
    assert names(path) == ["state"] and Store(path).load() == (MEMORY, None)


def test_what_a_crash_left_behind_does_not_pile_up(path: Path) -> None:
    (path.parent / "state.new").write_text("half")
    Store(path).save(MEMORY)
    assert names(path) == ["state"] and Store(path).load() == (MEMORY, None)


def test_the_data_is_on_disk_before_the_name_is(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    fsync, replace = os.fsync, os.replace

    def synced(descriptor: int) -> None:
        order.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def renamed(old: Path, new: Path) -> None:
        order.append("rename")
        replace(old, new)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", renamed)
    Store(path).save(MEMORY)
    assert order == ["file", "rename", "folder"]


@pytest.fixture
def mount_point(path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A path that cannot be renamed, or renamed over."""

    def busy(*_: object) -> None:
        raise OSError(errno.EBUSY, "Device or resource busy")

    monkeypatch.setattr(os, "replace", busy)
    monkeypatch.setattr(os, "rename", busy)
    return path


def test_a_mount_point_is_written_in_place(mount_point: Path) -> None:
    mount_point.write_text(" " * 10_000)
    inode = mount_point.stat().st_ino
    Store(mount_point).save(MEMORY)
    assert Store(mount_point).load() == (MEMORY, None)
    assert mount_point.stat().st_ino == inode and names(mount_point) == ["state"]


def test_a_foreign_file_at_a_mount_point_is_copied_aside(mount_point: Path) -> None:
    mount_point.write_text("foreign")
    mine = Store(mount_point)
    assert str(mine.load()[1]).endswith("set aside as state.corrupt-1")
    mine.save(MEMORY)
    assert Store(mount_point).load() == (MEMORY, None)
    assert (mount_point.parent / "state.corrupt-1").read_text() == "foreign"
