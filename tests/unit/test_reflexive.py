"""What is told of our own endpoint, by how many others see it."""

from ipaddress import ip_address

from wgautomesh.reflexive import OBSERVERS, Reflexive
from wgautomesh.values import Endpoint, Key

PUBLIC = ip_address("203.0.113.7")


def observer(number: int) -> Key:
    return Key(number.to_bytes(32, "big"))


def test_behind_a_changing_nat_one_endpoint_stays_told_however_many_observers_come_in_turn() -> None:
    reflexive, told = Reflexive(), set()
    for turn in range(3):
        for number in range(3 * OBSERVERS):
            reflexive.seen(observer(number), Endpoint(PUBLIC, 1024 + number), 1000.0 * turn + number)
            told.update(reflexive.public(()))
    assert told == {Endpoint(PUBLIC, 1024)}


def test_what_only_one_observer_sees_is_given_up_when_it_sees_us_elsewhere() -> None:
    reflexive = Reflexive()
    for number in range(3 * OBSERVERS):
        reflexive.seen(observer(number), Endpoint(PUBLIC, 1024 + number), number)
        reflexive.public(())
    reflexive.seen(observer(0), Endpoint(PUBLIC, 9999), 1000.0)
    assert reflexive.public(()) == [Endpoint(PUBLIC, 9999)]


def test_another_port_is_told_once_most_see_it_though_one_never_follows() -> None:
    reflexive = Reflexive()
    before, after = Endpoint(PUBLIC, 1024), Endpoint(PUBLIC, 2048)
    for number in range(9):
        reflexive.seen(observer(number), before, number)
    assert reflexive.public(()) == [before]
    for number in range(1, 5):
        reflexive.seen(observer(number), after, 100.0)
    assert reflexive.public(()) == [before]
    reflexive.seen(observer(5), after, 101.0)
    assert reflexive.public(()) == [after]


def test_many_observers_agree_on_a_new_address_whoever_saw_the_old_one_alone() -> None:
    reflexive = Reflexive()
    moved = Endpoint(ip_address("198.51.100.1"), 51820)
    for number in range(2 * OBSERVERS):
        reflexive.seen(observer(number), Endpoint(PUBLIC, 1024 + number), number)
        reflexive.public(())
    for number in range(1, 4):
        reflexive.seen(observer(number), moved, 1000.0 + number)
    assert reflexive.public(()) == [moved]
