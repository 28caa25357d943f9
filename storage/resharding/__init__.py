"""Gives a store another number of shards while it is not served.

``reshard`` finds out what a shard holds and where each row goes, makes the new shards, and makes them the
store. Rows are moved as they are on disk; nothing here reads a key.
"""
