"""The configuration of this process: settings, API keys, the running Populace's address, and the clock.

``Settings`` is the only reader of environment variables. A new setting is a field there, with its default,
its bounds and its description. ``credentials`` and ``running`` are the two files by which command line and
clients find a Populace. ``machine`` has the machine's cores and GPU, ``environment`` the variables of other
libraries, ``sigterm`` keeps a program's own handler when Ray takes it, and ``clock`` is the real clock behind
``actors/clock.py``.

Nothing here starts anything, and no package of ``runtime/`` is imported, so that every other one may import
this.
"""
