"""One shard: an LMDB environment with one writing owner, which is fenced when another one takes over.

``shard`` is the only module that writes with lmdb. ``ownership`` and ``opening`` transfer ownership,
``committer`` groups writes, and ``generations`` renew the file.

The meaning of the rows is in ``storage/rows``.
"""
