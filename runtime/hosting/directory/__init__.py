"""Sends each call to the host of its model, and implements the protocols of ``actors`` for the population.

``operations`` has the names of the calls, which are the methods of these protocols. ``directory`` implements
``Hosts``: ``parts`` makes from a protocol what sends each call to the host of the model's shard.

How a call crosses to a host is not decided here: ``hosting/host_client.py`` sends it through Ray.
"""
