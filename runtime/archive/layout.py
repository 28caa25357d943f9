"""The files in a ``.populace`` archive: one personal model as a zip that its person can read.

::

    manifest.json                                     its model, and size and SHA-256 of the other files
    log.jsonl                                         an InteractionRecord in each line
    operations.jsonl                                  an OperationRecord in each line
    revisions.jsonl                                   a RevisionRecord in each line
    feedback.jsonl                                    a FeedbackRecord in each line, if there is any
    forgotten.jsonl                                   a ForgottenRecord in one line, if a turn was forgotten
    suite.jsonl                                       a SuiteRecord in one line, if it has a suite
    memory.safetensors                                the MemoryRecord, if the model has a memory
    snapshot.safetensors                              the SnapshotRecord, if its log was compacted
    revisions/<digest>/adapter_config.json            each revision's adapter, as PEFT reads it
    revisions/<digest>/adapter_model.safetensors

The digest is that of the packed file that the two files make for the archive's base; in version 1 it is over
the two files, which the store kept as they are (``storage/revisions.py``), and so it is here if all
adapters are of that kind. Text is deflated, tensors are stored. The tenant is not named: the model
belongs to the tenant that imports it. Nothing depends on the time of the export, so that two exports of an
unchanged model are the same file.
"""

import json
import re
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from populace.storage.records.record import problems_of
from populace.storage.revisions import CONFIG_FILE, TENSORS_FILE

FORMAT = "populace-model"
VERSION = 5
"""The newest version that this release reads. It writes the oldest one that can hold the model."""
VERSION_WITHOUT_SUITE = 4
VERSION_WITHOUT_FORGOTTEN = 3
VERSION_WITHOUT_FEEDBACK = 2
VERSION_WITHOUT_PACKED = 1
SUFFIX = ".populace"
MEDIA_TYPE = "application/zip"

MANIFEST = "manifest.json"
LOG = "log.jsonl"
OPERATIONS = "operations.jsonl"
REVISIONS = "revisions.jsonl"
FEEDBACK = "feedback.jsonl"
FORGOTTEN = "forgotten.jsonl"
SUITE = "suite.jsonl"
MEMORY = "memory.safetensors"
SNAPSHOT = "snapshot.safetensors"

ALWAYS = frozenset({LOG, OPERATIONS, REVISIONS})
SOMETIMES = frozenset({FEEDBACK, FORGOTTEN, SUITE, MEMORY, SNAPSHOT})
_ADAPTER_FILE = re.compile(
    rf"revisions/(?P<digest>[0-9a-f]{{64}})/({re.escape(CONFIG_FILE)}|{re.escape(TENSORS_FILE)})"
)

MEMBERS_MAX = 8192
"""Most files in an archive, enough for some 4,000 revisions."""
MANIFEST_BYTES_MAX = 16 * 2**20


class Member(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    bytes: int = Field(ge=0)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class Manifest(BaseModel):
    """``manifest.json``. ``head`` is a HeadRecord as a line of the log would hold it."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    format: str
    version: int
    name: str
    base: str
    created_ms: int
    head: dict[str, JsonValue]
    aliases: dict[str, str]
    members: dict[str, Member] = Field(max_length=MEMBERS_MAX)

    @property
    def head_line(self) -> bytes:
        return json.dumps(self.head, separators=(",", ":")).encode()

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a manifest. Raises ``ValueError`` whose text says what is wrong."""
        try:
            common = _AnyManifest.model_validate_json(data)
            if common.format != FORMAT:
                raise ValueError(f"its format is {common.format[:80]!r} and not {FORMAT!r}")
            if not 1 <= common.version <= VERSION:
                raise ValueError(f"it has version {common.version}, and this release reads up to {VERSION}")
            return cls.model_validate_json(data)
        except ValidationError as error:
            raise ValueError(f"{MANIFEST} is not sound: {problems_of(error)[:400]}") from None


class _AnyManifest(BaseModel):
    """The fields that every version's manifest has: enough to refuse a newer one by its number."""

    model_config = ConfigDict(strict=True, extra="ignore")

    format: str
    version: int


def adapter_file(digest: str, file: str) -> str:
    """Return the name in the archive of an adapter's file."""
    return f"revisions/{digest}/{file}"


def is_member(name: str) -> bool:
    """Return whether a file of that name may be in an archive."""
    return name == MANIFEST or name in ALWAYS or name in SOMETIMES or digest_of_member(name) is not None


def digest_of_member(name: str) -> str | None:
    """Return the digest of the revision to which an adapter's file belongs; None for others."""
    match = _ADAPTER_FILE.fullmatch(name)
    return None if match is None else match["digest"]
