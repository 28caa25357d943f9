"""Converts a record that carries a state to a safetensors file and back.

The state is the tensor ``payload`` of bytes, which is absent if the record has none. The record's other
fields are JSON in the metadata ``record``. A record that would not be packed to the bytes that it
has in the store carries those too, as the tensor ``stored``; see ``record_lines.py``.
"""

import json
import struct
from typing import cast

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from populace.storage.records.errors import RecordInvalid
from populace.storage.records.record import Record

_LENGTH = struct.Struct("<Q")


def tensors_of(kind: type[Record], data: bytes, field: str) -> bytes:
    """Write the packed record, with its ``field`` as the payload. Raises ``RecordInvalid``."""
    record = kind.unpack(data)
    tensors: dict[str, bytes] = {}
    payload = cast("bytes | None", getattr(record, field))
    if payload is not None:
        tensors["payload"] = payload
    if record.pack() != data:
        tensors["stored"] = data
    # A single entry, because safetensors writes several in any order.
    metadata = {"record": record.model_dump_json(exclude={field})}
    return save({name: np.frombuffer(part, np.uint8) for name, part in tensors.items()}, metadata)


def record_of(kind: type[Record], file: bytes, field: str) -> bytes:
    """Return the packed record of an untrusted file. Raises ``RecordInvalid``."""
    try:
        tensors = {name: tensor.tobytes() for name, tensor in load(file).items() if tensor.dtype == np.uint8}
        (length,) = _LENGTH.unpack_from(file)
        header = json.loads(file[_LENGTH.size : _LENGTH.size + length])
        fields = json.loads(header.pop("__metadata__")["record"])
        fields[field] = tensors["payload"].hex() if "payload" in tensors else None
        record = kind.model_validate_json(json.dumps(fields))
        data = tensors["stored"] if "stored" in tensors else record.pack()
    except (SafetensorError, ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        raise RecordInvalid(kind.KIND, f"it cannot be read: {type(error).__name__}") from None
    if not set(header) <= {"payload", "stored"} or len(header) != len(tensors):
        raise RecordInvalid(kind.KIND, "it holds other tensors than its payload")
    if kind.unpack(data) != record:
        raise RecordInvalid(kind.KIND, "its stored bytes say something else than its fields")
    return data
