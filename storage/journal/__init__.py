"""A journal outside the machine: what each shard commits, as numbered objects in an object store.

``bucket`` says what it takes of an object store, and ``opening`` opens one. ``shard_journal`` is the
protocol: segments (``segment``), claims in ``runs``, and data keys. ``snapshot`` and ``adapters`` are beside
them, and ``sealing`` and ``sealed_object`` seal all of it. ``attaching`` brings a shard and its journal
together, for which ``replaying`` changes its rows, ``shipping`` records what is committed then, ``damage``
finds what is damaged, and ``journals`` does this for all shards of a process and removes what no restore
needs. ``restoring`` makes a store of a journal, ``joining`` begins one that becomes it while it is served,
and ``former`` tells a directory of the past. ``journaled_files`` are the adapters for processes that are no
hosts.
"""
