"""One shard: an LMDB environment with one writing owner, who is fenced when another one takes over.

``shard`` is the only module that writes with lmdb. ``ownership`` and ``takeover`` hand it over, ``committer``
groups writes, ``compaction`` and ``generations`` renew its file, ``refusal`` remembers why it refuses.

What the rows mean is in ``storage/rows``.
"""
