"""A budget: a burst, then a rate."""

from __future__ import annotations

from wgautomesh.budget import Budget


def test_a_burst_is_spent_at_once_and_comes_back_at_the_rate() -> None:
    budget = Budget(0.5, 3)
    assert [budget.allows(10.0) for _ in range(4)] == [True, True, True, False]
    assert budget.due(10.0) == 10.5
    assert not budget.allows(10.4)
    assert budget.allows(10.5) and not budget.allows(10.5)
    assert [budget.allows(100.0) for _ in range(4)] == [True, True, True, False]


def test_over_time_no_more_than_the_rate_is_allowed() -> None:
    budget = Budget(0.1, 5)
    assert sum(budget.allows(tick / 1000) for tick in range(10_000)) <= 5 + 10 / 0.1
