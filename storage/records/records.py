"""The kinds of records that are kept in LMDB, or beside it; ``record.py`` says how one is encoded."""

from typing import Literal

from populace.storage.records.record import Record

NO_REPLY = ""
"""The finish reason in the log of a turn without a reply."""


class IdentityRecord(Record):
    """The identity of a personal model, which exists from this record's commit until its deletion.

    ``arrived`` is the log position that it had when it was imported from another store, and that moment in
    the served time of its shard in ms: all earlier interactions count as made then.
    """

    KIND = "identity"

    tenant: str
    name: str
    base: str
    created_ms: int
    arrived: tuple[int, int] | None = None


class DataKeyRecord(Record):
    """The key that seals a model's rows, wrapped by the master key. ``key_id`` is random and no secret."""

    KIND = "data_key"

    key_id: bytes
    wrapped: bytes


class ErasureRecord(Record):
    """Records that the model with a certain data key id was erased, and not whose model it was."""

    KIND = "erasure"

    erased_ms: int


class HeadRecord(Record):
    """The head of a personal model's log. Written in every turn's transaction.

    ``log_position`` counts the interactions ever made; those at ``[log_start, log_position)`` are
    kept, and have ``log_bytes`` with their feedback (None: an older release did not count them). ``cursor``
    is how far the model has been trained: ``[0, cursor)`` went into its weights. ``chain`` is the digest of
    the newest interaction, which contains its predecessor's, and ``start_chain`` that of the newest dropped
    one. Operation ids are kept for interactions from ``operations_start`` on.
    """

    KIND = "head"

    log_position: int = 0
    cursor: int = 0
    chain: bytes = b""
    memory_version: int = 0
    log_start: int = 0
    log_bytes: int | None = None
    start_chain: bytes = b""
    operations_start: int = 0


class RevisionRecord(Record):
    """An immutable adapter version with its lineage.

    Only ``ready`` changes, once: an alias may then be moved to it. Older releases had only ready ones.

    The fields after ``ready`` say how a revision was trained, so that it can be rebuilt: on the interactions
    of ``log_range`` and the feedback given on them before ``feedback_until_ms``, with ``data_digest`` of the
    examples made from them, with ``hyper_parameters`` on libraries of ``versions``, while the base was served
    with ``memory_module``. It took ``seconds`` and ``tokens``. ``objections`` say why it was not promoted.
    ``sources`` are the digests and weights of the revisions that a merged one was made from.
    """

    KIND = "revision"

    digest: str
    base: str
    method: str
    parent: str | None
    rank: int
    adapter_bytes: int
    created_ms: int
    log_range: tuple[int, int] | None = None
    scores: dict[str, float] = {}
    ready: bool = True
    feedback_until_ms: int | None = None
    data_digest: str | None = None
    hyper_parameters: dict[str, bool | int | float | str | None] = {}
    versions: dict[str, str] = {}
    memory_module: str | None = None
    objections: tuple[str, ...] = ()
    tokens: int = 0
    seconds: float = 0.0
    sources: tuple[tuple[str, float], ...] = ()


class InteractionRecord(Record):
    """One acknowledged turn: its messages, its reply, and what it was served with.

    ``messages`` are the request's own (role, content) pairs; the model saw them after the
    ``history_turns`` newest earlier turns of the same ``conversation``. ``previous`` is the chain
    digest of the interaction before this one, empty for the first. ``created_ms`` is the wall clock's time
    and ``served_ms`` the time that retention counts; None: an older release did not distinguish them.
    ``memory_read`` says whether the memory was read, ``memory_from`` is the first message of the prompt,
    history included, that was written into it (None: nothing was), with the reply's tokens ``reply_ids``.
    ``memory_module`` is the digest of the memory module that the base was served with then. ``memory`` is
    the memory it was served with, which some interactions keep so that a replay of the log need not begin
    at its start; ``memory_after`` is what an interaction that set the memory left. ``retrieved`` are the
    positions of the earlier turns that the prompt had besides, and ``context_digest`` is of what it said of
    them, see ``actors/context.py``. The first ``instructions`` of the messages are for this turn alone: the
    model saw them before the history, and no later turn was shown them. ``note`` is what a front end keeps
    with the turn.

    ``forgotten`` replaces a forgotten turn: the time of forgetting in ms, the digest that recognises the turn
    in a client's history (``policies/ingestion.py``), and the hash of its operation id.

    A turn without a reply has the ``finish_reason`` ``NO_REPLY``, and nothing of what a reply leaves: its
    message was accepted, and the reply is not made yet or never was.
    """

    KIND = "interaction"

    position: int
    operation: str
    completion_id: str
    messages: tuple[tuple[str, str], ...]
    reply: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    revision: str
    base: str
    memory_version: int
    created_ms: int
    conversation: str | None = None
    history_turns: int = 0
    previous: bytes = b""
    served_ms: int | None = None
    memory_read: bool = False
    memory_from: int | None = None
    reply_ids: tuple[int, ...] = ()
    memory: bytes | None = None
    memory_module: str | None = None
    memory_after: bytes | None = None
    retrieved: tuple[int, ...] = ()
    context_digest: bytes = b""
    forgotten: tuple[int, bytes, bytes] | None = None
    instructions: int = 0
    note: str = ""

    @property
    def answer(self) -> str | None:
        """The reply; None if the turn has none."""
        return None if self.finish_reason == NO_REPLY else self.reply


class OperationRecord(Record):
    """Records that an operation id took effect, with which body, and at which log position.

    ``body_hash`` is empty if something of the body was forgotten since.
    """

    KIND = "operation"

    body_hash: bytes
    position: int
    expires_ms: int

    def is_of(self, body_hash: bytes) -> bool:
        """Whether a request with this body may be a retry of it."""
        return self.body_hash in (body_hash, b"")


class FeedbackRecord(Record):
    """Feedback on the reply at ``position``, of one or more kinds.

    ``thumb`` is True for up; ``rating`` is from 0 to 1, ``reward`` any number; ``correction`` is what the
    reply should have been. ``operation`` and ``body_hash`` distinguish a retry from other feedback.
    """

    KIND = "feedback"

    position: int
    operation: str
    body_hash: bytes
    created_ms: int
    thumb: bool | None = None
    rating: float | None = None
    correction: str | None = None
    reward: float | None = None


class JobRecord(Record):
    """A training of a personal model, kept from the moment it is asked for.

    ``options`` are JSON. ``state`` is one of ``storage/rows/jobs.py``, ``reason`` why it ended so.
    ``log_range``, ``feedback_until_ms``, ``parent`` and ``started_ms`` are fixed when it starts, so that a
    training resumed after a crash learns from the same data. ``session_key`` names and opens the file of its
    session meanwhile, and is empty once it has ended. ``loss`` and ``reward`` are those of the newest of
    ``step`` steps, ``curve`` has those of some steps by their numbers; ``candidate`` is the digest of the
    resulting revision. ``note`` is kept as it came. ``plan`` says how much is learned and what judges it,
    with no word of the person's.
    """

    KIND = "job"

    number: int
    operation: str
    body_hash: bytes
    options: str
    created_ms: int
    session_key: bytes
    state: str = "waiting"
    reason: str = ""
    started_ms: int | None = None
    ended_ms: int | None = None
    log_range: tuple[int, int] | None = None
    feedback_until_ms: int | None = None
    parent: str | None = None
    step: int = 0
    steps: int = 0
    loss: float | None = None
    reward: float | None = None
    tokens: int = 0
    seconds: float = 0.0
    curve: tuple[tuple[int, float], ...] = ()
    candidate: str | None = None
    note: str = ""
    plan: str = ""


class UploadRecord(Record):
    """A file that a caller uploaded; ``key`` opens its content, ``sha256`` is the digest of that.

    It is no row: it lies wrapped by the master key beside the content.
    """

    KIND = "upload"

    filename: str
    purpose: str
    size: int
    sha256: bytes
    created_ms: int
    expires_ms: int | None
    key: bytes


class TasksRecord(Record):
    """The reward tasks of a model's open training, as JSON; the row of the job is written every second."""

    KIND = "tasks"

    tasks: str


class MemberRecord(Record):
    """A personal model takes part in the population's answers, and shares ``votes`` or ``texts``."""

    KIND = "member"

    sharing: Literal["votes", "texts"]
    since_ms: int


class ProfileRecord(Record):
    """The answers of a revision (a digest, or ``base``) to the probe set with the digest ``probes``.

    ``log_probs`` are float16, little-endian: for each probe the logarithms of its ``choices``. ``accuracy``
    is the share of probes whose likeliest choice is right.
    """

    KIND = "profile"

    revision: str
    probes: str
    choices: int
    log_probs: bytes
    accuracy: float
    created_ms: int


class ForgottenRecord(Record):
    """The digests of a model's forgotten turns, the newest last, also of those that its log dropped since.

    A client that sends one of them again does not bring it back. ``let_go`` counts the digests that are not
    kept: the oldest beyond a limit, and those of turns whose words another turn has, or had told anew.
    """

    KIND = "forgotten"

    turns: tuple[bytes, ...]
    let_go: int = 0


class SuiteRecord(Record):
    """A person's own suite: (ask, expect, check, system) of each question; None: it has no system text.

    ``least`` has of each question how like its reply has to be, None where it does not say; none for a suite
    that was stored before there was such a check.
    """

    KIND = "suite"

    questions: tuple[tuple[str, str, str, str | None], ...]
    least: tuple[float | None, ...] = ()


class KnownRecord(Record):
    """What a model answered about its person when its log had ``position`` turns and ``log_bytes`` bytes.

    ``facts`` are (question, answer, sure, position of its turn, whether it was read there); the turn's words
    are not kept twice. ``made_with`` names base, memory module and revision. ``position`` is None until the
    first answers are kept. ``asking`` is the number of the asking that may write: a newer one has another.
    """

    KIND = "known"

    asking: bytes
    position: int | None = None
    log_bytes: int = 0
    made_with: str = ""
    facts: tuple[tuple[str, str, float, int, bool], ...] = ()


class MemoryRecord(Record):
    """The memory state of a personal model after ``version`` interactions."""

    KIND = "memory"

    version: int
    payload: bytes


class SnapshotRecord(Record):
    """The fold of the dropped interactions at ``[0, position)``.

    ``chain`` is the digest of the newest of them, ``memory`` the state that they left, None without a memory.
    """

    KIND = "snapshot"

    position: int
    chain: bytes
    memory_version: int
    memory: bytes | None


class ApiKeyRecord(Record):
    """An API key; only the SHA-256 of its secret is kept.

    ``role`` is what it may do, ``models`` the names of the only models that it is for, ``expires_ms`` when it
    ends; earlier releases had none of these, and their keys are of the whole tenant and do not end. It was
    used at ``used_ms``, or up to a few minutes later. Until ``former_until_ms`` the secret before the last
    rotation counts as well. The limits are those of the key alone, beside its tenant's.
    """

    KIND = "api_key"

    key_id: str
    tenant: str
    label: str
    secret_sha256: bytes
    created_ms: int
    revoked_ms: int | None = None
    role: Literal["read", "tenant", "admin"] = "tenant"
    models: tuple[str, ...] | None = None
    expires_ms: int | None = None
    used_ms: int | None = None
    former_sha256: bytes = b""
    former_until_ms: int = 0
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None


class TenantRecord(Record):
    """What a tenant may take; None: as much as there is. A tenant without a record has no limit."""

    KIND = "tenant"

    tenant: str
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    people: int | None = None
    bytes: int | None = None
    open_jobs: int | None = None
