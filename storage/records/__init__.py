"""The lowest floor: values as stored on disk, their keys, their encryption, and the root of all errors.

``records`` and ``keys`` are the schema, msgpack with a version. ``sealing`` and ``master_key`` encrypt what a
person said, ``erasures`` destroys the keys. ``transaction`` is what rows need of a database, ``files`` writes
files that survive power loss, and ``durations`` counts how long something took.

Everything in ``storage/`` may import this package; it imports none.
"""
