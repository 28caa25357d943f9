"""Files for nodes without the store: adapters, the base and the memory module, found by digest.

A node reads what it has itself, and asks the hosts for what it lacks (``fetching``). Adapters are fetched for
as long as they are read, and kept by the engine's warm tier alone; ``base`` and ``memory_module`` are kept in
the node's cache. Everything is compared with the digest that it was asked for by, wherever it came from.

The other side, a host that reads its files for others, is ``runtime/hosting/shared_files.py``. Both speak in
the values of ``pieces``.
"""
