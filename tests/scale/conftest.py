"""Large worlds: Python looks at millions of objects in vain for cycles to collect, a fifth of the time."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _no_collections() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()
    gc.collect()
