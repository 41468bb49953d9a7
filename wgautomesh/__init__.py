"""Turns existing WireGuard interfaces into a full mesh. Start reading at `mesh.py`."""

__version__ = "0.1.0"
