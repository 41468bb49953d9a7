"""Opens a port on the router, so that members reach us from outside: PCP, NAT-PMP or UPnP, whichever answers.

`pcp`, `natpmp` (what stands in a datagram), `epoch` and `lease` (what is asked when) are pure. `ports` is the
shell around them, and `igd` the program that speaks UPnP, in a process of its own.
"""
