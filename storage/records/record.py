"""The base of stored records: frozen, versioned, msgpack on disk.

On disk a record is the msgpack array ``[version, fields]`` with ``fields`` a map by name.
New fields need a default; a field is never retyped or renamed. The schema in the store's header is
raised for the first of them after a release, so that this refuses the store; a reader that meets what it
does not know all the same, as between two states of the sources, says that it is newer, and changes nothing.
"""

import re
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import msgpack
from pydantic import BaseModel, ConfigDict, ValidationError

from populace.storage.records.errors import RecordInvalid, RecordNewer

RECORD_BYTES_MAX = 16 * 1024 * 1024
"""No record may be larger: a longer one is a damaged length field, not data."""


FIELD = re.compile(r"[a-z][a-z0-9_.]{0,63}")
"""What a name of a field looks like. Other bytes are damage, and nothing to quote."""

_msgpack: Any = msgpack  # it ships no types


class Record(BaseModel):
    """A stored value. Subclasses set ``KIND`` (for messages) and ``VERSION``."""

    # The last three are for JSON, the form of a record in an archive.
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        ser_json_bytes="hex",
        val_json_bytes="hex",
        ser_json_inf_nan="constants",
    )

    KIND: ClassVar[str]
    VERSION: ClassVar[int] = 1

    def pack(self) -> bytes:
        """Encode the record. Raises ``RecordInvalid`` for one that ``unpack`` would refuse."""
        # msgpack knows the types of all fields, so ``model_dump`` would only copy them.
        return self._packed(self.__dict__)

    def pack_given(self) -> bytes:
        """Encode only the fields that were set and no defaults, as a release without newer fields did."""
        return self._packed(
            {name: value for name, value in self.__dict__.items() if name in self.model_fields_set}
        )

    def _packed(self, fields: Mapping[str, Any]) -> bytes:
        data: bytes = _msgpack.packb([self.VERSION, fields], use_bin_type=True)
        if len(data) > RECORD_BYTES_MAX:
            raise RecordInvalid(self.KIND, f"{len(data)} bytes are more than {RECORD_BYTES_MAX}")
        return data

    @classmethod
    def unpack(cls, data: bytes | memoryview) -> Self:
        """Decode and validate. Raises ``RecordInvalid`` on anything unexpected.

        It is a ``RecordNewer`` if fields that are not known here are all that is wrong.
        """
        if len(data) > RECORD_BYTES_MAX:
            raise RecordInvalid(cls.KIND, f"{len(data)} bytes are more than {RECORD_BYTES_MAX}")
        try:
            decoded: Any = _msgpack.unpackb(data, use_list=False, strict_map_key=True)
            version, fields = decoded
            if type(version) is not int or not 1 <= version <= cls.VERSION:
                raise RecordInvalid(cls.KIND, f"version {version!r} is not in 1 to {cls.VERSION}")
            return cls.model_validate(fields)
        except ValidationError as error:
            if unknown := unknown_fields(error):
                raise RecordNewer(cls.KIND, f"its {', '.join(unknown)}") from None
            raise RecordInvalid(cls.KIND, problems_of(error)) from None
        except (ValueError, TypeError, msgpack.UnpackException) as error:
            raise RecordInvalid(cls.KIND, f"{type(error).__name__} {error}".strip()) from error


def unknown_fields(error: ValidationError) -> list[str]:
    """Return the fields that only a newer release has, if there is nothing else wrong."""
    problems = error.errors(include_input=False, include_url=False, include_context=False)
    names = [".".join(map(str, problem["loc"])) for problem in problems]
    are_unknown = all(problem["type"] == "extra_forbidden" for problem in problems)
    return names if are_unknown and all(FIELD.fullmatch(name) for name in names) else []


def problems_of(error: ValidationError) -> str:
    """Describe what pydantic found, without its own text: that quotes the input, a person's conversation."""
    problems = error.errors(include_input=False, include_url=False, include_context=False)
    return "; ".join(f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in problems)
