"""Files that callers upload: encrypted on the disk of the store, and no rows of any model.

A file belongs to a tenant and never changes. Its content is sealed with a key of its own, which the master
key wraps, and is written and read in pieces, so that a large file is never whole in memory.

What the lines of a file mean is decided above: ``actors/examples_file.py`` reads those to learn from.
"""
