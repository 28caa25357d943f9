"""The bounds that one host keeps."""

from dataclasses import dataclass, field

from populace.policies.compaction import FREE_BYTES_MIN
from populace.policies.history import HISTORY_TURNS_MAX
from populace.policies.log_retention import LogLimits


@dataclass(frozen=True, slots=True)
class HostLimits:
    """The bounds of one host. Bytes are the host's own estimate of what activations hold.

    Without ``has_trainer`` trainings are refused. ``rank_max`` is the largest rank of an adapter that the
    engines serve, and ``rewards`` are the names of those that a training may ask for; None: it is not known
    here, and the trainer finds out.
    """

    resident_bytes_max: int = 256 * 1024 * 1024
    idle_seconds_max: float = 300.0
    mailbox_max: int = 16
    operation_seconds_kept: float = 24 * 3600.0
    has_trainer: bool = True
    rank_max: int | None = None
    rewards: frozenset[str] | None = None
    shard_free_bytes_min: int = FREE_BYTES_MIN
    log: LogLimits = field(default_factory=lambda: LogLimits(interactions_min=HISTORY_TURNS_MAX))
