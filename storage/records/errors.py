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
    └── (errors.py of storage/backups, storage/packed, storage/training and actors continue the tree)

The root lives here because this is the lowest floor that raises. Every class passes
all its arguments to ``Exception.__init__`` so that errors survive pickling between
Ray processes with their numbers intact.
"""

from typing import ClassVar


class PopulaceError(Exception):
    """Any error that Populace raises on purpose.

    ``code`` is stable and machine readable; ``retry_after_s`` is set where the same call
    may succeed later.
    """

    code: ClassVar[str] = "internal_error"
    retry_after_s: float | None = None


class StorageError(PopulaceError):
    """The store could not do what was asked."""


class ModelNotFound(StorageError):
    """The tenant has no personal model of this name.

    A model of another tenant raises the same error, so that names cannot be probed.
    """

    code = "model_not_found"

    def __init__(self, model: str) -> None:
        super().__init__(model)
        self.model = model

    def __str__(self) -> str:
        return f"The model `{self.model}` does not exist. Create it with POST /v1/personal-models."


class ModelExists(StorageError):
    """The tenant already has a personal model of this name."""

    code = "model_exists"

    def __init__(self, model: str) -> None:
        super().__init__(model)
        self.model = model

    def __str__(self) -> str:
        return f"The model `{self.model}` exists already."


class RevisionNotFound(StorageError):
    """The personal model has no revision under this digest or alias."""

    code = "revision_not_found"

    def __init__(self, model: str, name: str) -> None:
        super().__init__(model, name)
        self.model = model
        self.name = name

    def __str__(self) -> str:
        return f"The model `{self.model}` has no revision or alias `{self.name}`."


class InteractionNotFound(StorageError):
    """The model's log holds no such interaction, or has dropped it. ``reference`` is how it was named."""

    code = "interaction_not_found"

    def __init__(self, model: str, reference: str) -> None:
        super().__init__(model, reference)
        self.model = model
        self.reference = reference

    def __str__(self) -> str:
        return f"The log of `{self.model}` holds no interaction {self.reference[:80]}."


class InteractionForgotten(StorageError):
    """The turn was forgotten: the log says that it was there, and nothing of what was said."""

    code = "interaction_forgotten"

    def __init__(self, model: str, position: int) -> None:
        super().__init__(model, position)
        self.model = model
        self.position = position

    def __str__(self) -> str:
        return f"Turn {self.position} of `{self.model}` was forgotten: nothing of what was said is kept."


class FeedbackFull(StorageError):
    """As much feedback on one interaction is kept as there may be. None was taken."""

    code = "feedback_full"

    def __init__(self, model: str, position: int, most: int) -> None:
        super().__init__(model, position, most)
        self.model = model
        self.position = position
        self.most = most

    def __str__(self) -> str:
        return f"There is feedback {self.most} times on the interaction {self.position} of `{self.model}`."


class OperationConflict(StorageError):
    """The operation id was used before with another body."""

    code = "operation_conflict"

    def __init__(self, operation: str) -> None:
        super().__init__(operation)
        self.operation = operation

    def __str__(self) -> str:
        return (
            f"The operation id `{self.operation}` was used before with a different body. "
            "Use a new id for a new request."
        )


class PositionConflict(StorageError):
    """The log position that the turn was granted at is no longer the head."""

    code = "turn_conflict"
    retry_after_s = 0.0

    def __init__(self, model: str, expected: int, stored: int) -> None:
        super().__init__(model, expected, stored)
        self.model = model
        self.expected = expected
        self.stored = stored

    def __str__(self) -> str:
        return (
            f"Another turn of `{self.model}` was committed meanwhile "
            f"(granted at position {self.expected}, log is at {self.stored}). Send the turn again."
        )


class Fenced(StorageError):
    """This owner's epoch is older than the one in the store: it must stop writing."""

    code = "fenced"
    retry_after_s = 1.0

    def __init__(self, shard: int, held: int, stored: int) -> None:
        super().__init__(shard, held, stored)
        self.shard = shard
        self.held = held
        self.stored = stored

    def __str__(self) -> str:
        return (
            f"Shard {self.shard} moved to another host (held epoch {self.held}, stored epoch {self.stored})."
        )


class UnknownOutcome(StorageError):
    """A commit failed after it began: it may or may not be durable."""

    code = "unknown_outcome"
    retry_after_s = 1.0

    def __init__(self, shard: int, cause: str) -> None:
        super().__init__(shard, cause)
        self.shard = shard
        self.cause = cause

    def __str__(self) -> str:
        return (
            f"A commit on shard {self.shard} failed after it began ({self.cause}); "
            "whether it took effect is unknown. "
            "Retry with the same operation id: it takes effect at most once."
        )


class ShardStopped(StorageError):
    """The shard is closed, or stopped after a failed commit, and refuses work until reopened."""

    code = "shard_stopped"
    retry_after_s = 1.0

    def __init__(self, shard: int, reason: str) -> None:
        super().__init__(shard, reason)
        self.shard = shard
        self.reason = reason

    def __str__(self) -> str:
        return f"Shard {self.shard} is stopped: {self.reason}."


class DiskFull(StorageError):
    """There is no room for a compact copy of the shard; it goes on with the file that it has."""

    code = "disk_full"
    retry_after_s = 60.0

    def __init__(self, shard: int, bytes_needed: int, bytes_free: int) -> None:
        super().__init__(shard, bytes_needed, bytes_free)
        self.shard = shard
        self.bytes_needed = bytes_needed
        self.bytes_free = bytes_free

    def __str__(self) -> str:
        return (
            f"Compacting shard {self.shard} takes {self.bytes_needed} bytes of disk, "
            f"and {self.bytes_free} are free."
        )


class DiskRefused(StorageError):
    """The disk did not let a file be made or opened; what was acknowledged is as it was."""

    code = "disk_refused"
    retry_after_s = 60.0

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return (
            f"The disk of {self.path} refused: {self.reason}. "
            "Make room there, or make it writable for this user, and try again."
        )


class WriteQueueFull(StorageError):
    """As many writes as the shard's queue holds wait already; this one took no effect."""

    code = "overloaded"
    retry_after_s = 1.0

    def __init__(self, shard: int, waiting: int) -> None:
        super().__init__(shard, waiting)
        self.shard = shard
        self.waiting = waiting

    def __str__(self) -> str:
        return f"Shard {self.shard} has {self.waiting} writes waiting, which is its limit."


class StoreVersionMismatch(StorageError):
    """The store was written by a newer release than this one."""

    code = "store_version_mismatch"

    def __init__(self, path: str, stored: int, supported: int) -> None:
        super().__init__(path, stored, supported)
        self.path = path
        self.stored = stored
        self.supported = supported

    def __str__(self) -> str:
        return (
            f"The store at {self.path} has schema {self.stored}, this release reads up to {self.supported}. "
            "Install a newer Populace."
        )


class StoreInvalid(StorageError):
    """The directory is not a Populace store, or its header is damaged."""

    code = "store_invalid"

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"The store at {self.path} cannot be opened: {self.reason}."


class StoreDamaged(StorageError):
    """A shard was read whole after its disk failed, and its rows contradict each other."""

    code = "store_damaged"

    def __init__(self, path: str, found: str) -> None:
        super().__init__(path, found)
        self.path = path
        self.found = found

    def __str__(self) -> str:
        return (
            f"The shard at {self.path} is damaged and is not served: {self.found}. "
            "Check the disk, then restore the data directory from a backup."
        )


class StoreInUse(StorageError):
    """Another process serves this data directory."""

    code = "store_in_use"

    def __init__(self, path: str, owner: str) -> None:
        super().__init__(path, owner)
        self.path = path
        self.owner = owner

    def __str__(self) -> str:
        return (
            f"The data directory {self.path} is in use by {self.owner}. "
            "Stop it first, or choose another with --data."
        )


class MasterKeyRefused(StorageError):
    """The file of the master key is missing, damaged or another store's: nothing can be read with it."""

    code = "master_key_refused"

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return (
            f"The master key {self.path} cannot be used: {self.reason}. "
            "Put back the one that the store was made with; no other reads it."
        )


class ArchiveInvalid(StorageError):
    """A file is not the whole and sound export of a personal model, or not one for this base."""

    code = "archive_invalid"

    def __init__(self, archive: str, reason: str) -> None:
        super().__init__(archive, reason)
        self.archive = archive
        self.reason = reason

    def __str__(self) -> str:
        return f"The archive {self.archive} cannot be imported: {self.reason}. Nothing was imported."


class RecordInvalid(StorageError):
    """Bytes read from disk do not match the schema of the record kind."""

    code = "record_invalid"

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(kind, reason)
        self.kind = kind
        self.reason = reason

    def __str__(self) -> str:
        return f"A stored {self.kind} record is damaged: {self.reason}."
