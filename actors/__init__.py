"""The actors: a personal model with its mailbox and turns, and hosts of thousands of them.

Modules at this level are contracts and values: what callers ask of hosts (``hosts``, ``training``,
``members``, ``forgetting``, ``memories``, ``suites``) or read of them (``hosts_report``), what actors need
of an engine (``engine``), and what a turn is made of (``turn``). ``host/`` holds activations, ``keepers/``
the rows of a host's shards, ``turns/`` leads one turn from grant to log, ``aggregation/`` asks many models.

No Ray, no torch, no HTTP and no wall clock: tests run all of it in one process.
"""
