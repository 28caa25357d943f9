"""A journal outside the machine: what each shard commits, as numbered objects in an object store.

``bucket`` says what it takes of an object store, and ``opening`` opens one. ``shard_journal`` is the
protocol: segments (``segment``), claims, and data keys. ``snapshot`` and ``adapters`` are beside them, and
``sealing`` and ``sealed_object`` seal all of it. ``attaching`` brings a shard and its journal together,
``shipping`` records what is committed then, ``collecting`` removes what no restore needs, and ``journals``
does this for all shards of a process. ``restoring`` makes a store of a journal.
"""
