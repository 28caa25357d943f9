"""What a host keeps of its models in its shards: each keeper has one kind of rows.

Reads are direct, writes are group-committed transactions, and each may be asked for again. ``owned_shards``
is the way to the shards; ``catalogue`` has the models, ``turn_log`` the turns, ``promotions`` the aliases,
``job_keeper`` the jobs.

A keeper knows no activation and no engine.
"""
