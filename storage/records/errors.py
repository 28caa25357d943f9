"""The root of Populace's error tree and the errors of the storage floor.

::

    PopulaceError
    ├── StorageError
    │   ├── ModelNotFound          no such personal model for this tenant
    │   ├── ModelExists            the name is taken
    │   ├── RevisionNotFound       no such revision or alias
    │   ├── InteractionNotFound    no such interaction in the model's log, or not any more
    │   ├── InteractionForgotten   its person had this turn forgotten
    │   ├── FeedbackFull           there is as much feedback on this interaction as is kept
    │   ├── OperationConflict      same operation id, another body
    │   ├── PositionConflict       the log moved on since the turn began
    │   ├── Fenced                 another host owns the shard now; stop
    │   ├── UnknownOutcome         a commit failed after it began; retry with the same operation id
    │   ├── ShardStopped           the shard refuses work until it is reopened
    │   ├── ShardUnavailable       the shard cannot be opened; its host tries again
    │   │   └── ShardAway          what it needs does not answer; its host tries again within seconds
    │   ├── DiskFull               no room for a compact copy; the shard goes on as it is
    │   ├── DiskRefused            the disk is full, read-only or failing; mend that and try again
    │   ├── WriteQueueFull         too many writes wait for this shard; retry
    │   ├── StoreVersionMismatch   written by a newer release
    │   ├── StoreInvalid           not a store, or its header is damaged
    │   ├── StoreDamaged           a shard's rows contradict each other; restore a backup
    │   ├── StoreInUse             another process serves this directory
    │   ├── MasterKeyRefused       the store's master key is missing or another one's
    │   ├── ArchiveInvalid         not a whole and sound export of a personal model
    │   └── RecordInvalid          bytes on disk do not match the record schema
    └── (errors.py of actors and of storage/backups, packed, resharding, training and uploads continue it)

The root lives here because this is the lowest floor that raises.
"""

import inspect
from typing import Any, ClassVar, dataclass_transform, get_origin


@dataclass_transform(eq_default=False)
class PopulaceError(Exception):
    """The base of all errors that Populace raises on purpose.

    ``code`` is stable and machine readable; ``retry_after_s`` is set where the same call
    may succeed later. A class declares its fields as a dataclass does, and its message in ``template``.
    A log has the numbers among them, a hash of ``model``, and of the others only those in ``logged``: texts
    that quote neither a person nor a request.
    All fields go to ``Exception.__init__``, so that an error survives pickling between Ray
    processes with its numbers intact. A class without fields takes its message as argument.
    """

    code: ClassVar[str] = "internal_error"
    template: ClassVar[str] = ""
    fields: ClassVar[tuple[str, ...]] = ()
    logged: ClassVar[tuple[str, ...]] = ()
    retry_after_s: float | None = None

    def __init_subclass__(
        cls, *, retry_after_s: float | None = None, logged: tuple[str, ...] | None = None
    ) -> None:
        super().__init_subclass__()
        if logged is not None:
            cls.logged = logged
        if retry_after_s is not None:
            cls.retry_after_s = retry_after_s
        hints = inspect.get_annotations(cls)
        own = [name for name, hint in hints.items() if get_origin(hint) is not ClassVar]
        cls.fields = (*(name for name in cls.fields if name not in own), *own)

    def __init__(self, *values: Any, **named: Any) -> None:
        if not self.fields:
            super().__init__(*values, **named)
            return
        bound = _signature(type(self)).bind(*values, **named)
        bound.apply_defaults()
        vars(self).update(bound.arguments)
        super().__init__(*bound.args)

    def _pickled_from(self, *values: Any) -> None:
        """Set the arguments that make this error anew, for a class whose ``__init__`` makes its message."""
        self.args = values

    def __str__(self) -> str:
        return self.template.format_map(vars(self)) if self.template else super().__str__()


def _signature(error: type[PopulaceError]) -> inspect.Signature:
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    required = inspect.Parameter.empty
    return inspect.Signature(
        [inspect.Parameter(name, kind, default=getattr(error, name, required)) for name in error.fields]
    )


class StorageError(PopulaceError):
    """The store could not carry out the request."""


class ModelNotFound(StorageError):
    """The tenant has no personal model of this name.

    A model of another tenant raises the same error, so that names cannot be probed.
    """

    code = "model_not_found"
    template = "The model `{model}` does not exist."

    model: str


class ModelExists(StorageError):
    """The tenant already has a personal model of this name."""

    code = "model_exists"
    template = "The model `{model}` exists already."

    model: str


class RevisionNotFound(StorageError):
    """The personal model has no revision under this digest or alias."""

    code = "revision_not_found"
    template = "The model `{model}` has no revision or alias `{name}`."

    model: str
    name: str


class InteractionNotFound(StorageError):
    """The model's log holds no such interaction, or has dropped it. ``reference`` is how it was named."""

    code = "interaction_not_found"
    template = "The log of `{model}` holds no interaction {reference:.80}."

    model: str
    reference: str


class InteractionForgotten(StorageError):
    """The turn was forgotten: the log keeps its position, and nothing of what was said."""

    code = "interaction_forgotten"
    template = "Turn {position} of `{model}` was forgotten: nothing of what was said is kept."

    model: str
    position: int


class FeedbackFull(StorageError):
    """The interaction has as much feedback as is kept. The new feedback was not recorded."""

    code = "feedback_full"
    template = "There is feedback {most} times on the interaction {position} of `{model}`."

    model: str
    position: int
    most: int


KEY_PREFIX = "key-"
"""What the name of an operation begins with if its caller gave it a key."""


class OperationConflict(StorageError):
    """The operation id was used before with another body. ``operation`` is the key as its caller gave it."""

    code = "operation_conflict"
    template = (
        "The operation id `{operation}` was used before with a different body. Use a new id for a new "
        "request."
    )

    operation: str

    def __init__(self, operation: str) -> None:
        # The fields of a class are the arguments of the one above, for which none are declared.
        super().__init__(operation.removeprefix(KEY_PREFIX))  # pyright: ignore[reportCallIssue]
        self._pickled_from(operation)


class PositionConflict(StorageError, retry_after_s=0.0):
    """The log position that the turn was granted at is no longer the head."""

    code = "turn_conflict"
    template = (
        "Another turn of `{model}` was committed meanwhile (granted at position {expected}, log is at "
        "{stored}). Send the turn again."
    )

    model: str
    expected: int
    stored: int


class Fenced(StorageError, retry_after_s=1.0):
    """This owner's epoch is older than the one in the store: it must stop writing."""

    code = "fenced"
    template = "Shard {shard} moved to another host (held epoch {held}, stored epoch {stored})."

    shard: int
    held: int
    stored: int


class UnknownOutcome(StorageError, retry_after_s=1.0, logged=("cause",)):
    """A commit failed after it began: it may or may not be durable."""

    code = "unknown_outcome"
    template = (
        "A commit on shard {shard} failed after it began ({cause}); whether it took effect is "
        "unknown. Retry with the same operation id: it takes effect at most once."
    )

    shard: int
    cause: str


class ShardStopped(StorageError, retry_after_s=1.0, logged=("reason",)):
    """The shard is closed, or stopped after a failed commit, and refuses work until reopened."""

    code = "shard_stopped"
    template = "Shard {shard} is stopped: {reason}."

    shard: int
    reason: str


class ShardUnavailable(StorageError, retry_after_s=60.0, logged=("reason",)):
    """A host could not open the shard, and tries again by itself. ``reason`` is the code of what it found."""

    code = "shard_unavailable"
    template = (
        "Shard {shard} cannot be opened ({reason}). Its host tries again by itself, and the host's log says "
        "what it found."
    )

    shard: int
    reason: str


class ShardAway(ShardUnavailable, retry_after_s=5.0):
    """Nothing is wrong with the shard: what it needs does not answer, and is asked again within seconds."""


class DiskFull(StorageError, retry_after_s=60.0):
    """There is no room for a compact copy of the shard; it goes on with the file that it has."""

    code = "disk_full"
    template = "Compacting shard {shard} takes {bytes_needed} bytes of disk, and {bytes_free} are free."

    shard: int
    bytes_needed: int
    bytes_free: int


class DiskRefused(StorageError, retry_after_s=60.0, logged=("path", "reason")):
    """The disk refused to create or open a file; acknowledged data is unchanged."""

    code = "disk_refused"
    template = (
        "The disk of {path} refused: {reason}. Make room there, or make it writable for this user, "
        "and try again."
    )

    path: str
    reason: str


class WriteQueueFull(StorageError, retry_after_s=1.0):
    """The shard's write queue is full; this write took no effect."""

    code = "overloaded"
    template = "Shard {shard} has {waiting} writes waiting, which is its limit."

    shard: int
    waiting: int


class StoreVersionMismatch(StorageError, logged=("path",)):
    """The store was written by a newer release than this one."""

    code = "store_version_mismatch"
    template = (
        "The store at {path} has schema {stored}, this release reads up to {supported}. Install a "
        "newer Populace."
    )

    path: str
    stored: int
    supported: int


class StoreInvalid(StorageError, logged=("path",)):
    """The directory is not a Populace store, or its header is damaged."""

    code = "store_invalid"
    template = "The store at {path} cannot be opened: {reason}."

    path: str
    reason: str


class StoreDamaged(StorageError, logged=("path",)):
    """A shard was read whole after its disk failed, and its rows contradict each other."""

    code = "store_damaged"
    template = (
        "The shard at {path} is damaged and is not served: {found}. Check the disk, then restore the "
        "data directory from a backup."
    )

    path: str
    found: str


class StoreInUse(StorageError, logged=("path",)):
    """Another process serves this data directory."""

    code = "store_in_use"
    template = "The data directory {path} is in use by {owner}. Stop it first, or choose another with --data."

    path: str
    owner: str


class MasterKeyRefused(StorageError, logged=("path",)):
    """The file of the master key is missing, damaged or another store's: nothing can be read with it."""

    code = "master_key_refused"
    template = (
        "The master key {path} cannot be used: {reason}. Put back the one that the store was made "
        "with; no other reads it."
    )

    path: str
    reason: str


class ArchiveInvalid(StorageError):
    """A file is not the whole and sound export of a personal model, or not one for this base."""

    code = "archive_invalid"
    template = "The archive {archive} cannot be imported: {reason}. Nothing was imported."

    archive: str
    reason: str


class RecordInvalid(StorageError, logged=("kind",)):
    """Bytes read from disk do not match the schema of the record kind."""

    code = "record_invalid"
    template = "A stored {kind} record is damaged: {reason}."

    kind: str
    reason: str


class RecordNewer(RecordInvalid, logged=("kind", "reason")):
    """A record has what only a newer release writes."""

    code = "record_newer"
    template = (
        "A stored {kind} record is of a newer Populace than this one, which does not know {reason}. Nothing "
        "is damaged: serve this store with the newer one, or restore a backup from before the upgrade."
    )
