"""One shard: an LMDB environment with one writing owner, which is fenced when another one takes over.

``shard`` is the only module that writes with lmdb. ``ownership`` and ``takeover`` transfer ownership,
``committer`` groups writes, ``compaction`` and ``generations`` renew the file, ``refusal`` keeps the reason
why a shard refuses work.

The meaning of the rows is in ``storage/rows``.
"""
