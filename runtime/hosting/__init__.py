"""Ray actors with a ``ModelHost`` each, and how callers reach them.

``host_actor`` is the process and ``host_client`` calls it: each message runs once, whatever Ray loses.
``directory`` finds the host of each call. ``store_node`` is the node that has the store, ``host_survey`` asks
all hosts how they are, for operators.

What a host does is in ``actors/host``; this package only transports calls.
"""
