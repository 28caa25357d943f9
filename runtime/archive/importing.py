"""Imports an archive as a model of another population, with all that the exported model had.

The texts in an archive's turns that only this software writes, and reads again later, are checked.
They are the note of a response, what a turn says of a conversation, what a turn forgot, and to which position
one set the memory. One that cannot be read would fail every request that reads its turn.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from populace.actors.errors import InvalidRequest, MemoryStateInvalid
from populace.actors.forgetting import CONVERSATION_ROLE, FORGET_ROLE, SAID_ROLES, Forgotten
from populace.actors.hosts import ModelView
from populace.actors.memory import MEMORY_ROLE, Memory, restored
from populace.actors.names import check_model_name
from populace.actors.suites import suite_in
from populace.actors.turn import ModelId
from populace.adapters.memory.state import StateFormat
from populace.api.responses import ConversationRemark, ResponseNote
from populace.api.turns import ForgottenObject
from populace.archive.adapter_check import Check, Unpacked
from populace.archive.layout import (
    FEEDBACK,
    FORGOTTEN,
    LOG,
    MEMORY,
    OPERATIONS,
    REVISIONS,
    SNAPSHOT,
    SUITE,
    adapter_file,
)
from populace.archive.reading import ArchiveReader
from populace.archive.record_lines import data_of
from populace.archive.state_tensors import record_of
from populace.storage.adapter_store import AdapterStore
from populace.storage.records.errors import ArchiveInvalid, RecordInvalid
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
from populace.storage.revisions import CONFIG_FILE, SUFFIX, TENSORS_FILE, adapter_digest
from populace.storage.rows.portable import PortableModel, portable_rows


def check_turn(model: ModelId, record: InteractionRecord) -> None:
    """Raise ``RecordInvalid`` for a turn with such a text that is none of ours."""
    try:
        _read(model, record)
    except (ValueError, TypeError, AttributeError, RecursionError):
        # Without the error's own text, which quotes a person's log.
        role = record.messages[0][0]
        what = f"message of the role {role}" if role in SAID_ROLES else "note"
        raise RecordInvalid(record.KIND, f"the {what} of turn {record.position} cannot be read") from None


def _read(model: ModelId, record: InteractionRecord) -> None:
    (role, content), *_ = record.messages
    if record.note:
        ResponseNote.model_validate_json(record.note)
    if role == CONVERSATION_ROLE:
        ConversationRemark.model_validate_json(content)
    elif role == FORGET_ROLE:
        ForgottenObject.of(Forgotten.told(model, content, record.position))
    elif role == MEMORY_ROLE and (restored(content) or 0) > record.position:
        raise ValueError("it names a later position")


def check_memory(payload: bytes | None, served: StateFormat | None, kind: str, where: str = "") -> None:
    """Raise ``RecordInvalid``, of ``kind``, for a memory that cannot be used. ``where`` it is says the error.

    ``served`` is the format of the states of the memory module that is served here. A state of another module
    has to be one of its own format: it waits until that module is served, or until it is emptied.
    """
    try:
        state = Memory.unpack(payload).state
        if state is not None:
            written = StateFormat.of(state)
            if served is not None and served.module == written.module:
                written = served
            written.unpack(state)
    except MemoryStateInvalid as error:
        raise RecordInvalid(kind, f"the memory state{where} cannot be used: {error.reason}") from None


def check_turn_memories(record: InteractionRecord, served: StateFormat | None) -> None:
    """Check the memories that a turn keeps, as ``check_memory`` does."""
    for payload in (record.memory, record.memory_after):
        check_memory(payload, served, record.KIND, f" of turn {record.position}")


AdapterCheck = Callable[[Check], Sequence[int]]


def import_archive(
    archive: ArchiveReader,
    tenant: str,
    name: str | None,
    destination: AdapterStore,
    *,
    check: AdapterCheck,
    create: Callable[[ModelId, PortableModel], ModelView],
    states: StateFormat | None = None,
) -> ModelView:
    """Store an archive's adapters and pass its model to ``create``, as ``name`` or else its own name.

    ``states`` is the format of the memory states that are served here. Blocks. Everything is checked before
    anything is stored; the adapters are protected from removal until ``create`` returns. Raises
    ``ArchiveInvalid``, ``InvalidName``, ``AdapterInvalid``, ``AdapterMismatch`` and what ``create`` raises.
    """
    model = ModelId(tenant, archive.manifest.name if name is None else name)
    check_model_name(model)
    made_for = archive.manifest.base
    if made_for != destination.fingerprint:
        raise archive.refusal(f"its base is {made_for[:80]}, and here it is {destination.fingerprint}")
    content = _content(archive)
    try:
        portable_rows(content, model.tenant, model.name)
        for data in content.interactions:
            turn = InteractionRecord.unpack(data)
            check_turn(model, turn)
            check_turn_memories(turn, states)
        _check_memories(content, states)
        if content.suite is not None:
            suite_in(SuiteRecord.unpack(content.suite))
    except ArchiveInvalid as error:
        raise archive.refusal(error.reason) from error
    except RecordInvalid as error:
        raise archive.refusal(f"its {error.kind} is not sound: {error.reason}") from error
    except InvalidRequest as error:
        raise archive.refusal(f"its suite is not sound: {error}") from error
    revisions = [RevisionRecord.unpack(data) for data in content.revisions]
    if frozenset(revision.digest for revision in revisions) != archive.digests:
        raise archive.refusal(f"it has not the adapters that {REVISIONS} names")

    adapters = destination.files()
    with adapters.adding(), adapters.incoming() as directory:
        unpacked = [_unpack(archive, revision, directory) for revision in revisions]
        _check_ranks(archive, revisions, unpacked, destination, check)
        _check_digests(archive, revisions, unpacked)
        for adapter in unpacked:
            if adapter.pack_to is not None:
                adapters.add(adapter.pack_to)
            else:
                config = (adapter.directory / CONFIG_FILE).read_bytes()
                adapters.add_directory(config, adapter.directory / TENSORS_FILE)
        return create(model, content)


def _content(archive: ArchiveReader) -> PortableModel:
    try:
        return PortableModel(
            base=archive.manifest.base,
            created_ms=archive.manifest.created_ms,
            head=data_of(HeadRecord, archive.manifest.head_line),
            aliases=archive.manifest.aliases,
            revisions=_records(archive, REVISIONS, RevisionRecord),
            interactions=_records(archive, LOG, InteractionRecord),
            operations=_records(archive, OPERATIONS, OperationRecord),
            memory=_state(archive, MEMORY, MemoryRecord, "payload"),
            snapshot=_state(archive, SNAPSHOT, SnapshotRecord, "memory"),
            feedback=_records(archive, FEEDBACK, FeedbackRecord) if archive.has(FEEDBACK) else (),
            forgotten=_only(archive, FORGOTTEN, ForgottenRecord),
            suite=_only(archive, SUITE, SuiteRecord),
        )
    except RecordInvalid as error:
        raise archive.refusal(f"its {error.kind} is not sound: {error.reason}") from error


def _check_memories(content: PortableModel, states: StateFormat | None) -> None:
    if content.memory is not None:
        payload = MemoryRecord.unpack(content.memory).payload
        check_memory(payload, states, MemoryRecord.KIND)
    if content.snapshot is not None:
        payload = SnapshotRecord.unpack(content.snapshot).memory
        check_memory(payload, states, SnapshotRecord.KIND)


def _only(archive: ArchiveReader, name: str, kind: type[Record]) -> bytes | None:
    """Return the one record of a file that not every archive has."""
    if not archive.has(name):
        return None
    records = _records(archive, name, kind)
    if len(records) != 1:
        raise archive.refusal(f"{name} has {len(records)} lines and not one")
    return records[0]


def _records(archive: ArchiveReader, name: str, kind: type[Record]) -> tuple[bytes, ...]:
    return tuple(data_of(kind, line) for line in archive.lines(name))


def _state(archive: ArchiveReader, name: str, kind: type[Record], field: str) -> bytes | None:
    return record_of(kind, archive.read(name), field) if archive.has(name) else None


def _unpack(archive: ArchiveReader, revision: RevisionRecord, directory: Path) -> Unpacked:
    """Unpack a revision's adapter; it is packed again unless its digest is that of its two files."""
    path = directory / revision.digest
    path.mkdir()
    for part in (CONFIG_FILE, TENSORS_FILE):
        archive.copy(adapter_file(revision.digest, part), path / part)
    is_older = adapter_digest(path)[0] == revision.digest
    return Unpacked(directory=path, pack_to=None if is_older else path.with_suffix(SUFFIX))


def _check_digests(
    archive: ArchiveReader, revisions: Sequence[RevisionRecord], unpacked: Sequence[Unpacked]
) -> None:
    """Check that each adapter has the digest of its revision."""
    for revision, adapter in zip(revisions, unpacked, strict=True):
        if adapter_digest(adapter.pack_to or adapter.directory) != (revision.digest, revision.adapter_bytes):
            raise archive.refusal(f"the adapter of the revision {revision.digest} is another one")


def _check_ranks(
    archive: ArchiveReader,
    revisions: Sequence[RevisionRecord],
    unpacked: Sequence[Unpacked],
    destination: AdapterStore,
    check: AdapterCheck,
) -> None:
    if not revisions:
        return
    ranks = check(Check(adapters=tuple(unpacked), store=destination))
    for revision, rank in zip(revisions, ranks, strict=True):
        if revision.rank != rank:
            raise archive.refusal(
                f"the adapter of the revision {revision.digest} has rank {rank} and not {revision.rank}"
            )
