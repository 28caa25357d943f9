"""What this process was told: settings, API keys, the running Populace's address, and the time.

``Settings`` is the only reader of environment variables. A new setting is a field there, with its default,
its bounds and what it does. ``credentials`` and ``running`` are the two files that command line and clients
find a Populace by. ``clock`` is the real clock behind ``actors/clock.py``.

Nothing here starts anything, and no package of ``runtime/`` is imported: every other one may import this.
"""
