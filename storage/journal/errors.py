"""The errors of the journal.

::

    StorageError
    ├── BucketRefused       the object store cannot hold a journal; choose another one, or set it up
    ├── BucketUnreachable   the object store does not answer; nothing took effect
    ├── JournalUnsettled    it is not known whether a segment was written; claim the journal anew
    ├── UnknownOutcome
    │   └── JournalOutcomeUnknown   a commit waited for the journal, which did not answer
    ├── JournalOvertaken    another owner claimed the journal
    ├── JournalBehind       too much waits to be written; retry
    ├── JournalDamaged      an object of the journal is not what was written
    │   └── SegmentsGone    segments are absent, and there are later ones
    ├── NothingThen         the journal does not go back to that time
    ├── StoreNotNamed       the bucket has another number of stores than one; name one
    ├── JournalOfOthers     a new store would begin beside the journals of others; say which is meant
    ├── JournalNeeded       the shard is not whole without its journal
    ├── JournalElsewhere    the journal went on without this directory
    ├── JournalLeft         an erasure would be undone by the journal that the store is served without
    └── JournalTakenOver    another machine went on with the store; this is its past
"""

from populace.storage.records.errors import StorageError, UnknownOutcome


class BucketRefused(StorageError, logged=("bucket",)):
    """The object store cannot hold a journal, or not with these settings."""

    code = "bucket_refused"
    template = "The journal cannot be kept in {bucket}: {reason}"

    bucket: str
    reason: str


class BucketUnreachable(StorageError, retry_after_s=2.0):
    """The object store did not answer in time, and nothing was changed."""

    code = "bucket_unreachable"
    template = "The journal's object store does not answer: {reason}"

    reason: str


class JournalUnsettled(StorageError):
    """A segment was sent, and it is not known whether it is there. Claiming the journal settles it."""

    code = "journal_unsettled"
    template = "Whether segment {number} of shard {shard} is in the journal is not known: {reason}"

    shard: int
    number: int
    reason: str


class JournalOvertaken(StorageError):
    """Another owner wrote the segment that this one wanted to write: it owns the shard from there on."""

    code = "journal_overtaken"
    template = "Segment {number} of shard {shard} was written by another owner."

    shard: int
    number: int


class JournalDamaged(StorageError, logged=("name", "reason")):
    """An object of the journal is absent, cut, changed, sealed with another key, or of another shard."""

    code = "journal_damaged"
    template = "{name} in the journal cannot be used: {reason}"

    name: str
    reason: str


class SegmentsGone(JournalDamaged):
    """Segments are absent, and there are later ones: they were removed after a snapshot, or are lost."""

    template = "{name} is not in the journal, and there are later ones: {reason}"


class JournalElsewhere(StorageError, logged=("reason",)):
    """This directory and the journal do not belong together: each may have what the other one lacks."""

    code = "journal_elsewhere"
    template = "Shard {shard} does not go with this journal: {reason}"

    shard: int
    reason: str


class JournalNeeded(StorageError):
    """The shard was being made of its journal, and is not whole without it."""

    code = "journal_needed"
    template = "Shard {shard} was being made of its journal: set POPULACE_JOURNAL as it was."

    shard: int


class JournalLeft(StorageError):
    """The store is served without its journal, from which a restore would undo an erasure."""

    code = "journal_left"
    template = (
        "Shard {shard} is served without its journal, and a restore from there would bring back what is "
        "erased or forgotten now. So that is refused until POPULACE_JOURNAL is set again, to that journal or "
        "to a new one. `populace doctor` says where it is."
    )

    shard: int


class JournalOutcomeUnknown(UnknownOutcome):
    """A commit waited for its journal, which did not answer. Nothing is wrong with the disk."""


class JournalBehind(StorageError, retry_after_s=5.0):
    """Too much waits to be written to the journal. The shard takes no more until it has caught up."""

    code = "journal_behind"
    template = "The journal of shard {shard} is {waiting} bytes behind: its object store does not keep up."

    shard: int
    waiting: int


class NothingThen(StorageError):
    """The journal has no snapshot that is as old as the time that was asked for."""

    code = "nothing_then"
    template = "The journal of shard {shard} does not go back that far: it began later, or that was removed."

    shard: int


class StoreNotNamed(StorageError):
    """The object store has the journals of several stores, or of none; ``found`` lists their ids."""

    code = "store_not_named"
    template = "Which store is meant in {bucket}? It has the journals of these: {found}."

    bucket: str
    found: str


class JournalOfOthers(StorageError):
    """The data directory is new, and the object store has the journals of the stores ``found`` already."""

    code = "journal_of_others"
    template = (
        "{path} has no store, and {bucket} has the journals of these: {found}. To go on with one of them "
        "here, add --take-over and its id, and its master key as POPULACE_MASTER_KEY; its former machine "
        "can write no more then. To begin a new store, name another folder in POPULACE_JOURNAL."
    )

    bucket: str
    path: str
    found: str


class JournalTakenOver(StorageError):
    """Another machine went on with the store from its journal; what is here is its past."""

    code = "journal_taken_over"
    template = (
        "{path} is not current any more: another machine went on with its store from the journal in "
        "{bucket}. Go on there. To go on here instead, which ends it there, start `populace serve` with "
        "--take-over, the store's id and POPULACE_JOURNAL; what is here catches up first."
    )

    path: str
    bucket: str


class JournalCopied(StorageError):
    """A data directory was copied, and what it was copied from may be served."""

    code = "journal_copied"
    template = (
        "{path} is a copy of {former}, which may go on with the store {store_id}. Go on there. To go on here "
        "instead, which ends it there, start `populace serve` with --take-over {store_id}."
    )

    path: str
    former: str
    store_id: str
