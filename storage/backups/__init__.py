"""Backups: sealed copies, without keys, of a store that may be serving, and restoring them.

``backup`` writes one, ``restore`` makes a store of it once everything was checked, without the models that
were erased since. ``key_file`` opens all backups of a store and is kept apart from them. A directory appears
whole or not at all.

The export of one personal model to a file for its person is in ``runtime/archive``.
"""
