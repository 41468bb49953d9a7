"""No example has a deadline: what a busy machine takes for one says nothing of the code."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
