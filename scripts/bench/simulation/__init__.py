"""``populace bench cluster-simulation``: ten million people on a hundred nodes, by the policies alone.

``people`` says who asks when, ``routing`` which replica answers, ``shard_rules`` which node has which shard.
``bench`` puts them together. Nothing is served, and no machine but this one is used.
"""
