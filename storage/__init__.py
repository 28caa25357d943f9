"""The durable state: one directory with LMDB shards and adapters, and the means to prove them whole.

``store`` opens it, ``revisions`` has the adapters, content-addressed. From the bottom up: ``records/`` are
values, keys and errors, ``training/`` the sessions of jobs, ``rows/`` the operations of a transaction,
``shards/`` LMDB with one writing owner, ``packed/`` an adapter in one file, ``backups/`` copies,
``resharding/`` another number of shards, ``journal/`` all of it in an object store as it is committed.

Nothing here knows an actor, and no clock is read except for the served time.
"""
