"""Redacts the arguments of log calls to our own sentences, numbers and hashed names: no one's words.

An exception's message may quote what was said, so it is written only where its class is known to quote
nothing; the type and the places in the code always are.
"""

import hmac
import traceback
from collections.abc import Iterator
from hashlib import sha256
from pathlib import PurePath

from populace.actors.turn import ModelId
from populace.policies.quoted_words import without_words
from populace.storage.records.errors import PopulaceError
from populace.storage.records.named import Named

HIDDEN = "…"
NAME_DIGITS = 16

QUOTE_NOTHING = frozenset({"lmdb", "torch", "zmq"})
"""Libraries that handle no text: the messages of their own errors are written."""

NAME_FIELDS = frozenset({"model", "tenant"})
"""The fields of our errors that are names."""

CAUSES_MAX = 8


class Wording:
    """Chooses the words of a process's log."""

    def __init__(self, name_key: bytes, *, names_plain: bool) -> None:
        self._key = name_key
        self._names_plain = names_plain

    def name(self, name: str) -> str:
        """Return what stands for a name, or for each of several that slashes join."""
        if self._names_plain:
            return str(name)
        return "/".join(self.digest(part) for part in name.split("/"))

    def digest(self, name: str) -> str:
        """Return the keyed hash of a name, which is the same in all processes whatever they write of it."""
        text = name.encode("utf-8", "backslashreplace")
        return hmac.new(self._key, text, sha256).hexdigest()[:NAME_DIGITS]

    def argument(self, value: object) -> object:
        """Return what stands for an argument of a log call of ours."""
        match value:
            case Named():
                return self.name(value)
            case ModelId():
                return self.name(value.owner)
            case BaseException():
                return self.error(value)
            case str():
                return without_words(value)
            case int() | float() | None | PurePath():
                return value
            case _:
                return f"{HIDDEN}({type(value).__name__})"

    def foreign(self, value: object) -> object:
        """Return what stands for an argument of another library's log call, which may be anything."""
        return value if isinstance(value, int | float | None) else HIDDEN

    def error(self, error: BaseException) -> str:
        """Describe an error without quoting anyone."""
        kind = type(error)
        if isinstance(error, PopulaceError):
            return self._ours(error) or kind.__name__
        if isinstance(error, OSError) and error.strerror:
            return f"{kind.__name__}: [Errno {error.errno}] {error.strerror}"
        if kind.__module__.partition(".")[0] in QUOTE_NOTHING:
            return f"{kind.__name__}: {str(error).partition(chr(10))[0]}"
        return kind.__name__

    def stack(self, error: BaseException) -> str:
        """Return where the error and its causes were raised, the first cause first."""
        return "\nwhich led to\n".join(
            "".join((*traceback.format_tb(cause.__traceback__), self.error(cause)))
            for cause in reversed(list(_causes(error)))
        )

    def _ours(self, error: PopulaceError) -> str:
        fields = {name: self._field(error, name) for name in error.fields}
        try:
            sentence = error.template.format_map(fields)
        except (KeyError, ValueError, AttributeError):
            return ""
        return "" if sentence == HIDDEN else sentence

    def _field(self, error: PopulaceError, name: str) -> object:
        value = getattr(error, name)
        if isinstance(value, int | float | None):
            return value
        if name in error.logged:
            return without_words(str(value))
        return self.name(str(value)) if name in NAME_FIELDS else HIDDEN


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Walk from an error to what caused it, and to those of a group. Python itself allows a circle."""
    left = [error]
    for _ in range(CAUSES_MAX):
        if not left:
            return
        current = left.pop(0)
        yield current
        if isinstance(current, BaseExceptionGroup):
            left += current.exceptions  # pyright: ignore[reportUnknownMemberType]
        hidden = None if current.__suppress_context__ else current.__context__
        cause = current.__cause__ or hidden
        left += [] if cause is None else [cause]
