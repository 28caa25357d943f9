"""Converts records to JSON lines that a person can read, and back to exactly the same bytes.

Bytes are hex. A record that an older release wrote may lack fields that this one fills in, so that
it would be packed to other bytes; its line begins with its bytes on disk in base64, as ``stored``. A line
without ``stored`` has all fields of the release that wrote it, and is packed with those alone.
"""

import base64
import json
from typing import TypeVar, cast

from pydantic import ValidationError

from populace.storage.records.errors import RecordInvalid
from populace.storage.records.record import RECORD_BYTES_MAX, Record, problems_of

R = TypeVar("R", bound=Record)

LINE_BYTES_MAX = 8 * RECORD_BYTES_MAX
"""Longest line: a control character takes one byte in a record and six in JSON, base64 four thirds."""

_STORED = b'{"stored":'


def line_of(kind: type[Record], data: bytes) -> bytes:
    """Write the line of a packed record, without its end. Raises ``RecordInvalid``."""
    line = kind.unpack(data).model_dump_json().encode()
    if kind.model_validate_json(line).pack() == data:
        return line
    return _STORED + b'"' + base64.b64encode(data) + b'",' + line.removeprefix(b"{")


def data_of(kind: type[Record], line: bytes) -> bytes:
    """Return the packed record of an untrusted line. Raises ``RecordInvalid``."""
    try:
        if not line.startswith(_STORED):
            return _parsed(kind, line).pack_given()
        fields = cast("dict[str, object]", json.loads(line))
        stored = base64.b64decode(cast("str", fields.pop("stored")), validate=True)
        readable = _parsed(kind, json.dumps(fields).encode())
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise RecordInvalid(kind.KIND, f"it cannot be read: {type(error).__name__}") from error
    if kind.unpack(stored) != readable:
        raise RecordInvalid(kind.KIND, "its stored bytes say something else than its line")
    return stored


def _parsed(kind: type[R], line: bytes) -> R:
    try:
        return kind.model_validate_json(line)
    except ValidationError as error:
        raise RecordInvalid(kind.KIND, problems_of(error)[:400]) from None
