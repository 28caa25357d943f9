"""Gives a store another number of shards while it is not served.

``survey`` finds out what a shard holds and where each row goes, ``reshard`` makes the new shards and
makes them the store. Rows are moved as they are on disk; nothing here reads a key.
"""
