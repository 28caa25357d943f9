"""``populace bench failover``: kills hosts and store nodes under load, and counts what is not there any more.

``load`` talks and remembers what was acknowledged, ``store_machines`` starts Ray's nodes, and
``journal_latency`` measures what a journal adds to a turn.
"""
