"""Exports a model of a population to an archive.

Each member is digested while it is written, the manifest comes last. Adapters are unpacked on the way, a
matrix at a time and without torch, which a gateway does not have.
"""

import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

from populace.adapters.tensor_file import TensorFile
from populace.archive.layout import (
    FEEDBACK,
    FORGOTTEN,
    FORMAT,
    LOG,
    MANIFEST,
    MEMORY,
    OPERATIONS,
    REVISIONS,
    SNAPSHOT,
    SUITE,
    VERSION,
    VERSION_WITHOUT_FEEDBACK,
    VERSION_WITHOUT_FORGOTTEN,
    VERSION_WITHOUT_PACKED,
    VERSION_WITHOUT_SUITE,
    Manifest,
    Member,
    adapter_file,
)
from populace.archive.record_lines import line_of
from populace.archive.state_tensors import tensors_of
from populace.storage.packed.adapter import PackedAdapter
from populace.storage.packed.errors import PackedAdapterInvalid
from populace.storage.records.errors import StoreInvalid
from populace.storage.records.record import Record
from populace.storage.records.records import (
    FeedbackRecord,
    ForgottenRecord,
    HeadRecord,
    InteractionRecord,
    MemoryRecord,
    OperationRecord,
    RevisionRecord,
    SnapshotRecord,
    SuiteRecord,
)
from populace.storage.revisions import CONFIG_FILE, TENSORS_FILE, RevisionFiles
from populace.storage.rows.portable import PortableModel

CHUNK_BYTES = 1 << 20
_BEGINNING = (1980, 1, 1, 0, 0, 0)
"""The earliest time of a zip file, given to every member: an archive does not depend on its time."""


def write_archive(file: BinaryIO, name: str, model: PortableModel, adapters: RevisionFiles) -> None:
    """Write the model's archive to an empty file. ``adapters`` must not be swept meanwhile.

    Raises ``RecordInvalid`` and ``StoreInvalid`` if the store is damaged.
    """
    with ZipFile(file, "w", allowZip64=True) as archive:
        members = _Members(archive)
        members.add_lines(LOG, InteractionRecord, model.interactions)
        members.add_lines(OPERATIONS, OperationRecord, model.operations)
        members.add_lines(REVISIONS, RevisionRecord, model.revisions)
        if model.feedback:
            members.add_lines(FEEDBACK, FeedbackRecord, model.feedback)
        if model.forgotten is not None:
            members.add_lines(FORGOTTEN, ForgottenRecord, [model.forgotten])
        if model.suite is not None:
            members.add_lines(SUITE, SuiteRecord, [model.suite])
        if model.memory is not None:
            members.add(MEMORY, tensors_of(MemoryRecord, model.memory, "payload"))
        if model.snapshot is not None:
            members.add(SNAPSHOT, tensors_of(SnapshotRecord, model.snapshot, "memory"))
        for data in model.revisions:
            members.add_adapter(RevisionRecord.unpack(data).digest, adapters)
        manifest = Manifest(
            format=FORMAT,
            version=_version(model, has_packed=members.has_packed),
            name=name,
            base=model.base,
            created_ms=model.created_ms,
            head=json.loads(line_of(HeadRecord, model.head)),
            aliases=dict(sorted(model.aliases.items())),
            members=members.written,
        )
        members.add(MANIFEST, manifest.model_dump_json(indent=2).encode() + b"\n")


def _version(model: PortableModel, *, has_packed: bool) -> int:
    """Return the oldest version that can hold the model, so that older releases read it, too."""
    if model.suite is not None:
        return VERSION
    if model.forgotten is not None:
        return VERSION_WITHOUT_SUITE
    if model.feedback:
        return VERSION_WITHOUT_FORGOTTEN
    return VERSION_WITHOUT_FEEDBACK if has_packed else VERSION_WITHOUT_PACKED


class _Members:
    """The members of an archive that is being written; ``written`` describes each one.

    ``has_packed`` says that an adapter among them was packed in the store.
    """

    def __init__(self, archive: ZipFile) -> None:
        self.written: dict[str, Member] = {}
        self.has_packed = False
        self._archive = archive

    def add_lines(self, name: str, kind: type[Record], records: Iterable[bytes]) -> None:
        self._add(name, (line_of(kind, data) + b"\n" for data in records), size_max=None)

    def add(self, name: str, data: bytes) -> None:
        self._add(name, [data], size_max=len(data))

    def add_adapter(self, digest: str, adapters: RevisionFiles) -> None:
        """Add the adapter as PEFT's two files, whatever its form in the store."""
        adapters.verify(digest)
        path = adapters.path(digest)
        config, tensors = (adapter_file(digest, part) for part in (CONFIG_FILE, TENSORS_FILE))
        if path.is_dir():
            self._add_file(config, path / CONFIG_FILE)
            self._add_file(tensors, path / TENSORS_FILE)
            return
        try:
            packed = PackedAdapter.open(path)
        except PackedAdapterInvalid as error:
            raise StoreInvalid(str(path), f"the adapter is damaged: {error}") from error
        self.has_packed = True
        file = TensorFile(packed)
        self.add(config, packed.config)
        self._add(tensors, file.pieces(), size_max=file.size)

    def _add_file(self, name: str, path: Path) -> None:
        with path.open("rb") as file:
            self._add(name, iter(lambda: file.read(CHUNK_BYTES), b""), size_max=path.stat().st_size)

    def _add(self, name: str, chunks: Iterable[bytes], *, size_max: int | None) -> None:
        """Write a member; one of unknown size may become larger than plain zip files allow."""
        entry = ZipInfo(name, _BEGINNING)
        entry.compress_type = ZIP_STORED if name.endswith(".safetensors") else ZIP_DEFLATED
        entry.file_size = size_max or 0
        digest, size = hashlib.sha256(), 0
        with self._archive.open(entry, "w", force_zip64=size_max is None) as member:
            for chunk in chunks:
                member.write(chunk)
                digest.update(chunk)
                size += len(chunk)
        self.written[name] = Member(bytes=size, sha256=digest.hexdigest())


def export_archive(
    file: BinaryIO, name: str, adapters: RevisionFiles, read: Callable[[], PortableModel]
) -> None:
    """Write the archive of the model that ``read`` returns to an empty file. Blocks.

    Its adapters are protected from removal meanwhile, also if the model is erased after it was read.
    Raises what ``read`` raises, and ``RecordInvalid`` and ``StoreInvalid`` if the store is damaged.
    """
    with adapters.adding():
        write_archive(file, name, read(), adapters)
