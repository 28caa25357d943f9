"""The protocol of the hosts for their callers, implemented in one process and by Ray actors alike.

``ModelHost`` implements it for the shards it owns; ``runtime/hosting/directory/directory.py`` implements it
for the whole population by sending each call to the host of the model's shard.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from populace.actors.display import table
from populace.actors.feedback import Feedback, Opinion
from populace.actors.peek import Peek
from populace.actors.process_use import ProcessUse
from populace.actors.training_statistics import TrainingStatistics
from populace.actors.turn import ChatRequest, Interaction, ModelId, Reply, TurnGrant, TurnRequest
from populace.storage.journal.options import JournalStatistics
from populace.storage.records.durations import DurationCounts
from populace.storage.records.lower_revision import lower_of
from populace.storage.rows.portable import PortableModel

if TYPE_CHECKING:
    from populace.actors.api_keys import ApiKeys
    from populace.actors.contributors import ClientContributors, Contributors
    from populace.actors.forgetting import ClientForgetting, Forgetting
    from populace.actors.members import ClientMembers, Members
    from populace.actors.memories import ClientMemories, Memories
    from populace.actors.rates import Rates
    from populace.actors.suites import Suites
    from populace.actors.tenants import Tenants
    from populace.actors.training import ClientJobs, TrainingJobs

Readiness = Literal["registered", "prewarming", "ready"]
"""The state of a revision: an alias is only ever moved to one that is ``ready``."""


@dataclass(frozen=True, slots=True)
class Lineage:
    """How a revision was trained, so that it can be made again.

    It learned from the interactions of ``log_range`` and the feedback on them before ``feedback_until_ms``;
    ``data_digest`` is the digest of the examples made from them. ``scores`` are what it was judged by,
    ``objections`` why it was not promoted; ``seconds`` and ``tokens`` its share of the trainer's work.
    """

    log_range: tuple[int, int]
    feedback_until_ms: int
    data_digest: str
    hyper_parameters: dict[str, bool | int | float | str | None]
    versions: dict[str, str]
    memory_module: str | None
    scores: dict[str, float]
    objections: tuple[str, ...]
    tokens: int
    seconds: float

    @property
    def on(self) -> str | None:
        """The digest of the lower revision that it was trained on and contains, None without one."""
        return lower_of(self.hyper_parameters)


@dataclass(frozen=True, slots=True)
class Revision:
    """An immutable adapter version, as callers see it. ``rank`` is the largest over its modules.

    ``parent`` None is the base, or unknown for a revision that was not trained here, which has no
    ``lineage``. ``sources`` are the digests and weights of the revisions that a merged one was made from.
    """

    digest: str
    base: str
    method: str
    parent: str | None
    rank: int
    adapter_bytes: int
    created_ms: int
    readiness: Readiness = "registered"
    lineage: Lineage | None = None
    sources: tuple[tuple[str, float], ...] = ()

    def __repr__(self) -> str:
        told = f"{self.method}, rank {self.rank}, {self.adapter_bytes / 1e6:.1f} MB, {self.readiness}"
        return f"<revision {self.digest[:12]}: {told}>"

    def _repr_html_(self) -> str:
        parent = None if self.parent is None else self.parent[:12]
        size = f"{self.adapter_bytes / 1e6:.1f} MB"
        row = (self.digest[:12], self.method, self.rank, size, self.readiness, parent)
        return table(("revision", "method", "rank", "size", "readiness", "parent"), [row])


@dataclass(frozen=True, slots=True)
class ModelView:
    """A personal model as callers see it. ``aliases`` maps alias to revision digest.

    Its log is kept at positions ``[log_start, log_position)``; earlier interactions were compacted.
    ``contributes``: the tenant's community may learn from it. ``begins_on`` is the community's revision that
    serves a model without ``latest``, None for the base.
    """

    model: ModelId
    base: str
    created_ms: int
    log_start: int
    log_position: int
    cursor: int
    memory_version: int
    aliases: dict[str, str]
    active: bool
    contributes: bool = False
    begins_on: str | None = None

    def __repr__(self) -> str:
        aliases = "".join(f", @{alias} {digest[:12]}" for alias, digest in self.aliases.items())
        return f"<personal model {self.model.tenant}/{self.model.name}: {self.log_position} turns{aliases}>"


@dataclass(frozen=True, slots=True)
class ModelPage:
    """Names in ascending order; ``after`` is the argument for the next page, None at the end.

    ``missing`` is what the list does without as it is damaged: ``shard N``, or the name of a model.
    """

    models: tuple[ModelView, ...]
    after: str | None
    missing: tuple[str, ...] = ()


def lacking(missing: Iterable[str]) -> str:
    """Say what a list does without, for a person."""
    return f"The list does without {', '.join(sorted(missing))}: what is there cannot be read."


@dataclass(frozen=True, slots=True)
class StoreStatistics:
    """A snapshot of the shards that a host has open; the others are lost or being checked.

    Of the ``file_bytes``, ``free_bytes`` hold no row. The two figures that bound a shard are those of
    its worst one: ``map_share`` (at 1.0 a map is full) and ``reader_slots`` (of 1024). ``reader_lag``
    is the age in transactions of the oldest snapshot that is read, ``long_reads`` how many reads last
    longer than they may, ``full_maps`` how often a write met a full map since the host opened it.
    ``disk_free_bytes`` is what the file system has left. ``commit`` counts how long batches of writes took,
    ``fsync`` the part of it in which they were made durable. The last backup was finished at
    ``backup_finished_ms``, None if there was none since the store is where it is. ``journal`` is None without
    one.
    """

    shards_open: int
    file_bytes: int
    free_bytes: int
    map_bytes: int
    map_share: float
    reader_slots: int
    reader_lag: int
    long_reads: int
    full_maps: int
    disk_free_bytes: int
    commit: DurationCounts
    fsync: DurationCounts
    backup_finished_ms: int | None
    journal: JournalStatistics | None = None


@dataclass(frozen=True, slots=True)
class HostStatistics:
    """A snapshot of one host. ``resident_bytes`` is the estimate that the budget is held against.

    ``mailbox`` counts how long turns waited for their model, ``replays`` the turns that were asked for again
    and answered from the log. ``memory_states`` active models have a memory, of ``memory_bytes`` together.
    ``process`` is what the host's process takes, None for a host without one of its own.
    """

    host: str
    shards: tuple[int, ...]
    active: int
    busy: int
    waiting: int
    resident_bytes: int
    resident_bytes_max: int
    turns: int
    activations: int
    passivations: int
    refusals: int
    commits: int
    commit_batches: int
    store: StoreStatistics
    mailbox: DurationCounts
    replays: int
    memory_states: int
    memory_bytes: int
    process: ProcessUse | None
    training: TrainingStatistics


class ClientHosts(Protocol):
    """The population's operations that a client has too, in the cluster and over HTTP.

    Every method raises ``PopulaceError`` subclasses only. A call that names a model raises
    ``ModelNotFound`` if the tenant has none of that name, and may raise ``HostUnavailable`` while
    a host restarts; retrying with the same operation id is always safe.
    """

    @property
    def jobs(self) -> "ClientJobs":
        """The training jobs of the same models."""
        ...

    @property
    def forgetting(self) -> "ClientForgetting":
        """The forgetting of turns of the same models."""
        ...

    @property
    def memories(self) -> "ClientMemories":
        """The memories of the same models."""
        ...

    @property
    def members(self) -> "ClientMembers":
        """Those of the models that take part in the population's answers."""
        ...

    @property
    def contributors(self) -> "ClientContributors":
        """The consents of the same models to be learned from for everybody."""
        ...

    @property
    def suites(self) -> "Suites":
        """The suites of questions of the same models."""
        ...

    async def peek(self, request: ChatRequest) -> Peek:
        """Make a reply on the host that leaves no trace, whatever the request says of memory and log."""
        ...

    async def chat(self, request: ChatRequest) -> Interaction:
        """Run a whole turn on the host: grant, generate, commit."""
        ...

    async def create_model(self, model: ModelId) -> ModelView:
        """Create a personal model. Raises ``InvalidName`` and ``ModelExists``."""
        ...

    async def show_model(self, model: ModelId) -> ModelView: ...

    async def list_models(
        self, tenant: str, *, after: str | None = None, limit: int = 100, prefix: str = ""
    ) -> ModelPage:
        """List a tenant's models by name, ascending, strictly after the name ``after``.

        Only those whose names begin with ``prefix``.
        """
        ...

    async def erase_model(self, model: ModelId) -> None:
        """Erase the model, its data key and everything it owns, after its running turn."""
        ...

    async def read_log(self, model: ModelId, *, start: int = 0, limit: int = 100) -> tuple[Interaction, ...]:
        """Read up to ``limit`` interactions, oldest first, at and after ``start``.

        A log whose beginning was compacted is read from the oldest kept interaction on; each one's
        ``position`` says where that is.
        """
        ...

    async def give_feedback(
        self, model: ModelId, on: int | str, opinion: Opinion, key: str | None = None
    ) -> Feedback:
        """Record feedback on a reply beside the log; ``on`` is the reply's position or completion id.

        With the same ``key`` nothing is added and the first is returned; so it is without one for the same
        opinion, if nothing on the reply spoke of the same since. The last that was given is the newest by
        ``created_ms``, also if the clock stood still.

        Raises ``InvalidRequest`` for an empty or invalid opinion and for a turn in which nothing was said,
        ``InteractionNotFound``, ``InteractionForgotten``, ``FeedbackFull``, and ``OperationConflict`` for
        another opinion with the same key.
        """
        ...

    async def read_feedback(
        self, model: ModelId, *, start: int = 0, limit: int = 1000
    ) -> tuple[Feedback, ...]:
        """Read up to ``limit`` opinions on the interactions from ``start`` on, in the log's order."""
        ...

    async def move_alias(self, model: ModelId, alias: str, reference: str) -> ModelView:
        """Prewarm a revision of the model, as ``publish_revision`` does, then move ``alias`` to it.

        ``reference`` is the revision's digest, a prefix of it, or another alias. Neither the log nor the
        cursor moves. Raises as ``publish_revision``, ``RevisionNotFound``, and ``InvalidRequest`` for the
        base and for a prefix of several digests; the alias has not moved then.
        """
        ...

    async def remove_alias(self, model: ModelId, alias: str) -> ModelView:
        """Remove an alias; its revision stays.

        Raises ``RevisionNotFound`` if there is none, and ``InvalidRequest`` for ``latest``.
        """
        ...

    async def list_revisions(self, model: ModelId) -> tuple[Revision, ...]:
        """List the model's revisions, oldest first."""
        ...


class Hosts(ClientHosts, Protocol):
    """All of the population's operations; they raise as those."""

    @property
    def jobs(self) -> "TrainingJobs": ...

    @property
    def forgetting(self) -> "Forgetting": ...

    @property
    def memories(self) -> "Memories": ...

    @property
    def members(self) -> "Members": ...

    @property
    def contributors(self) -> "Contributors": ...

    @property
    def keys(self) -> "ApiKeys":
        """The API keys of all tenants."""
        ...

    @property
    def rates(self) -> "Rates":
        """What is taken of tenants' limits on requests and tokens."""
        ...

    @property
    def tenants(self) -> "Tenants":
        """What tenants may take, and what they have."""
        ...

    async def begin_turn(self, request: TurnRequest) -> TurnGrant | Interaction:
        """Wait for the model's turn; return the recorded interaction if the operation took effect before.

        Turns of one model are granted in the order of arrival. Raises ``MailboxFull``,
        ``HostOverloaded``, ``OperationConflict``, ``RevisionNotFound`` (unknown alias).
        """
        ...

    async def accept_turn(self, grant: TurnGrant, message: Reply) -> TurnGrant:
        """Commit the turn's message durably, as a turn without a reply; return the grant to go on with.

        ``finish_turn`` puts the reply into the same turn. If it never does, the turn stays in the log as it
        is, later turns of its conversation read it, and the same operation makes its reply as long as it is
        the newest turn; else it is said again, at the end of the log. Raises as ``finish_turn``.
        """
        ...

    async def finish_turn(self, grant: TurnGrant, reply: Reply) -> Interaction:
        """Commit the turn durably, then return it. The next turn is granted afterwards.

        Works after a host restart too, if no other turn was committed since the grant.
        Raises ``TurnExpired``, ``PositionConflict``, ``UnknownOutcome``.
        """
        ...

    async def abandon_turn(self, grant: TurnGrant, reason: str, *, refused: bool = False) -> None:
        """Abandon the turn; no reply is recorded and the next one is granted.

        If it was ``refused``, the message that it accepted is withdrawn from the log.
        """
        ...

    async def begin_peek(self, request: TurnRequest) -> TurnGrant:
        """Return what a turn would be made with now, for a reply that leaves no trace; see ``Peek``.

        Nothing waits, no turn begins, and nothing has to be ended. Besides aliases, ``request.alias`` may be
        ``base``, or a digest or its beginning. Raises ``RevisionNotFound``, and ``InvalidRequest`` for a
        beginning that several digests have.
        """
        ...

    async def create_model(self, model: ModelId, revision: Revision | None = None) -> ModelView:
        """Create a personal model, with ``latest`` on ``revision`` if one is given."""
        ...

    async def export_model(self, model: ModelId) -> PortableModel:
        """Read all of the model but its adapters' files, unencrypted and as of one moment."""
        ...

    async def import_model(self, model: ModelId, content: PortableModel) -> ModelView:
        """Create the model with the content of an exported one, sealed with a new data key.

        The files of its adapters must be in the store. Raises ``InvalidName``, ``ModelExists`` and
        ``ArchiveInvalid``; nothing is created then.
        """
        ...

    async def publish_revision(self, model: ModelId, revision: Revision, alias: str = "latest") -> ModelView:
        """Register a revision, prewarm it in an engine, then move ``alias`` to it.

        Until then turns get the revision that the alias names, and turns keep the one they began with. Moves
        of one alias take effect in the order of the calls. Raises ``InvalidName``, ``AdapterInvalid``,
        ``AdapterMismatch``, ``EngineUnavailable`` and ``EngineOverloaded``; the alias has not moved then, and
        the call may be repeated.
        """
        ...

    async def adapters_in_use(self, digests: frozenset[str]) -> frozenset[str]:
        """Return those of the adapters that models have. Raises ``StorageError`` if a shard is not served."""
        ...

    async def statistics(self) -> tuple[HostStatistics, ...]: ...
