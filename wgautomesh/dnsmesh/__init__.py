"""A mesh described in DNS: a source of members beside the configuration's [[peers]].

`zone` reads what was answered, `roster` keeps it over time, `members` turns hosts into members and `records`
this node into records: all pure. `queries` asks, and `source` does so off the main thread.
"""
