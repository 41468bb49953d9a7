"""Kernel routes for the allowed IPs of members: `plan` says which (pure), `table` makes and removes them."""
