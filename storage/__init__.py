"""What survives: one directory with LMDB shards, adapters, and what proves that they are whole.

``store`` opens it, ``revisions`` has the adapters, content-addressed. From the bottom up: ``records/`` are
values, keys and errors, ``training/`` the sessions of jobs, ``rows/`` the verbs of a transaction, ``shards/``
LMDB with one writing owner, ``packed/`` an adapter in one file, ``backups/`` copies.

No actor is known here, and no clock is read but the time of service.
"""
