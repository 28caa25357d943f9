"""The mark on a name in a log call: whose name it is must not be read in a log that others keep."""


class Named(str):
    """The name of a tenant or of a model, as an argument of a log call.

    What writes the log puts a keyed hash in its place (``runtime/telemetry/wording.py``). Elsewhere it is the
    name itself. Names joined by a slash are hashed each for itself.
    """

    __slots__ = ()
