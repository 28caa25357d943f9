"""The lowest floor: values as they lie on disk, their keys, their encryption, and the root of all errors.

``records`` and ``keys`` are the schema, msgpack with a version. ``sealing`` and ``master_key`` encrypt what a
person said, ``erasures`` forgets the keys. ``transaction`` is what rows need of a database, ``files`` what
survives power loss.

Everything in ``storage/`` may import this package; it imports none.
"""
