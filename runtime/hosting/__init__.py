"""Where the hosts run: Ray actors with a ``ModelHost`` each, and the directory that finds the right one.

``host_actor`` is the process and ``host_client`` calls it: each message runs once, whatever Ray loses.
``operations`` has the names of the calls. ``directory`` implements the protocol of ``actors/hosts.py`` for
the whole population by sending each call to the host of the model's shard; the other directories do so for
jobs, members, forgetting, memories and suites. ``host_survey`` asks all hosts how they are, for operators.

What a host does is in ``actors/host``; this package only transports calls.
"""
