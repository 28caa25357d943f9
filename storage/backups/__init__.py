"""Backups: a copy of a store that is being served, sealed, without keys, and the way back.

``backup`` writes, ``restore`` makes a store of it once everything was checked, without who was erased since.
``key_file`` opens all backups of a store and is kept apart from them. A directory appears whole or not at
all.

One personal model as a file of its person's is ``runtime/archive``.
"""
