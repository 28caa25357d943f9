"""The keepers, through which a host reads and writes its shards: each keeper has one kind of rows.

Reads are direct, writes are group-committed transactions, and each call may be repeated. ``owned_shards``
gives access to the shards; ``catalogue`` has the models, ``turn_log`` the turns, ``promotions`` the aliases,
``job_keeper`` the jobs.

A keeper knows no activation and no engine.
"""
