"""The header of a data directory, which is read before anything else of it."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from populace.storage.records import keys
from populace.storage.records.errors import StoreInvalid, StoreVersionMismatch
from populace.storage.records.files import write_durably

FORMAT = "populace-store"
HEADER_FILE = "store.json"
SHARDS_MAX = 4096


class Header(BaseModel):
    """``store.json``. ``whole``: all shards were made; ``sealed``: no row is left plain."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    format: str = FORMAT
    schema_version: int = Field(default=keys.SCHEMA, alias="schema", ge=1)
    shards: int = Field(ge=1, le=SHARDS_MAX)
    store_id: str = Field(pattern="^[0-9a-f]{32}$")
    master_key: str | None = Field(default=None, pattern="^[0-9a-f]{32}$")
    whole: bool = False
    sealed: bool = False

    @property
    def is_made(self) -> bool:
        """Whether the store was made, and migrated, to its end."""
        return self.whole and self.sealed and self.schema_version == keys.SCHEMA


class _AnyHeader(BaseModel):
    """The fields of every release's header: enough to refuse a newer one by its number."""

    model_config = ConfigDict(strict=True, extra="ignore")

    format: str
    schema_version: int = Field(alias="schema")


def write_header(path: Path, header: Header) -> None:
    """Replace the header of the store at ``path`` durably."""
    write_durably(path / HEADER_FILE, header.model_dump_json(by_alias=True).encode() + b"\n")


def read_header(path: Path) -> Header:
    """Read the header of the store at ``path``. Raises ``StoreInvalid`` and ``StoreVersionMismatch``."""
    try:
        data = (path / HEADER_FILE).read_bytes()
    except OSError as error:
        raise StoreInvalid(str(path), f"{HEADER_FILE} cannot be read: {error.strerror}") from error
    try:
        common = _AnyHeader.model_validate_json(data)
        if common.format != FORMAT:
            raise StoreInvalid(str(path), f"{HEADER_FILE} has the format {common.format[:80]!r}")
        if common.schema_version > keys.SCHEMA:
            raise StoreVersionMismatch(str(path), common.schema_version, keys.SCHEMA)
        return Header.model_validate_json(data)
    except ValidationError as error:
        raise StoreInvalid(str(path), f"{HEADER_FILE} is damaged: {error.errors()[0]['msg']}") from error
