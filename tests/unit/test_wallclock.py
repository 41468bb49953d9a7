"""A wall clock that went back is noticed, whoever moved it and when, and a small or an old step is not."""

from __future__ import annotations

from wgautomesh.wallclock import MATTERS, WallClock

DAY = 86400.0
WALL = 1.7e9


def test_a_clock_that_goes_on_is_no_news() -> None:
    clock = WallClock()
    assert all(clock.back(WALL + age, age) == 0 for age in (0.0, 10.0, 1e6, 1e7))


def test_a_step_back_is_noticed_while_running() -> None:
    clock = WallClock()
    assert clock.back(WALL, 0) == 0
    assert clock.back(WALL + 10 - DAY, 10) == DAY
    assert clock.back(WALL + 20, 20) == 0


def test_a_step_of_seconds_or_forward_is_not() -> None:
    clock = WallClock()
    assert clock.back(WALL, 0) == clock.back(WALL - 30, 1) == clock.back(WALL + DAY, 2) == 0


def test_handshakes_in_the_future_and_a_newer_file_tell_of_a_step_before_we_ran() -> None:
    assert WallClock().back(WALL, 0, [0.0, WALL - 5, WALL + DAY]) == DAY


def test_after_an_hour_the_new_time_is_the_time() -> None:
    clock = WallClock()
    clock.back(WALL, 0)
    assert clock.back(WALL - DAY, 1) > 0
    assert clock.back(WALL - DAY + MATTERS + 2, MATTERS + 3) == 0
    assert clock.back(WALL - DAY + MATTERS + 12, MATTERS + 13) == 0
    assert clock.back(WALL - 2 * DAY, MATTERS + 23) > 0
