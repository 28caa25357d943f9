"""One activation of a personal model: a mailbox and at most one running turn.

A plain object on a host's event loop. It decides whose turn it is; it neither generates nor
stores. It knows the store only by the snapshot that it was activated with, which each of its own
commits moves forward.

``Lifecycle`` is the life of one activation. The identity is not here: it exists from create to erase, whether
active or not.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from populace.actors.clock import Clock, Timer
from populace.actors.engine import AdapterRef
from populace.actors.errors import MailboxFull, TurnExpired
from populace.actors.keepers.log_index import LogIndex
from populace.actors.keepers.sentence_vectors import SentenceVectors
from populace.actors.turn import BASE_REVISION, ModelId, TurnGrant, TurnRequest
from populace.policies.admission import retry_after_s
from populace.policies.corrections import Corrected
from populace.storage.records.errors import ModelNotFound, RevisionNotFound
from populace.storage.rows.ledger import FIRST_ALIAS, StoredModel


@dataclass(frozen=True, slots=True, eq=False)
class QueuedTurn:
    """A turn request and the future of its grant."""

    request: TurnRequest
    granted: asyncio.Future[TurnGrant]


class Mailbox:
    """Holds waiting turns in the order of arrival; a turn whose caller gave up is skipped."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._turns: deque[QueuedTurn] = deque()

    def __len__(self) -> int:
        return len(self._turns)

    @property
    def is_full(self) -> bool:
        return len(self._turns) >= self._capacity

    def put(self, queued: QueuedTurn) -> None:
        assert not self.is_full, "the caller checks is_full and refuses"
        self._turns.append(queued)

    def take(self) -> QueuedTurn | None:
        """Take the oldest turn that a caller still waits for."""
        while self._turns:
            queued = self._turns.popleft()
            if not queued.granted.done():
                return queued
        return None

    def discard(self, queued: QueuedTurn) -> None:
        """Drop a turn whose caller stopped waiting, if it is still here."""
        if queued in self._turns:
            self._turns.remove(queued)

    def check_integrity(self) -> None:
        """Raise ``AssertionError`` if a turn in the box was granted already, or there are more than fit."""
        assert len(self._turns) <= self._capacity, "there are more turns than there is room for"
        for queued in self._turns:
            assert not queued.granted.done() or queued.granted.cancelled(), "an answered turn still waits"

    def fail(self, error: Exception) -> None:
        """Fail every waiting turn with ``error``, so that no caller hangs."""
        while (queued := self.take()) is not None:
            queued.granted.set_exception(error)


class Phase(Enum):
    """The phases of an activation."""

    ACTIVE = "active"
    """Turns are granted in the order of arrival."""

    DRAINING = "draining"
    """No new turn is accepted; the running one may still commit."""

    GONE = "gone"
    """Passivated, erased or lost with its shard. Every call raises; a new activation may exist."""


TRANSITIONS: dict[Phase, frozenset[Phase]] = {
    Phase.ACTIVE: frozenset({Phase.DRAINING, Phase.GONE}),
    Phase.DRAINING: frozenset({Phase.GONE}),
    Phase.GONE: frozenset(),
}


class Lifecycle:
    """Holds the phase and refuses a transition that the table does not name."""

    def __init__(self) -> None:
        self.phase = Phase.ACTIVE

    def move(self, to: Phase) -> None:
        assert to in TRANSITIONS[self.phase], f"{self.phase} -> {to}"
        self.phase = to


ACTIVATION_BYTES = 5 * 1024
"""The bytes of an activation besides its memory state and its log's words: object, mailbox, records, entries.

Measured over 20,000 idle ones: 4.3 kB of private memory each (4.0 kB of it Python objects). Its
waiting turns, 1.3 kB each, are bounded by the mailbox and not counted.
"""

TURN_SECONDS_EXPECTED = 2.0
"""The estimate of a turn's length before any turn has ended."""


@dataclass(slots=True)
class RunningTurn:
    """The turn that has the model now. While ``committing``, the deadline does not end it.

    One that was ``given_up`` while its message was committed ends afterwards.
    """

    grant: TurnGrant
    started_s: float
    deadline: Timer
    committing: bool = False
    given_up: bool = False


class PersonalModel:
    """Grants turns one at a time, in the order of arrival, each with a deadline."""

    def __init__(
        self,
        stored: StoredModel,
        *,
        incarnation: str,
        clock: Clock,
        mailbox_max: int,
        adapter_of: Callable[[str], AdapterRef],
        begins_on: Callable[[StoredModel], str | None],
        on_idle: Callable[["PersonalModel"], None],
    ) -> None:
        self.id = ModelId(stored.identity.tenant, stored.identity.name)
        self.stored = stored
        self.index = LogIndex()
        """The words of the model's log, as far as retrievals have read it."""
        self.corrections: tuple[Corrected, ...] | None = None
        """What was corrected in the log; None if no turn has read it yet."""
        self.vectors = SentenceVectors()
        """Those of the sentences of the log that questions were compared with."""
        self._incarnation = incarnation
        self._clock = clock
        self._adapter_of = adapter_of
        self._begins_on = begins_on
        self._on_idle = on_idle
        self._lifecycle = Lifecycle()
        self._mailbox = Mailbox(mailbox_max)
        self._running: RunningTurn | None = None
        self._grants = 0
        self._turn_s_mean = TURN_SECONDS_EXPECTED
        self._drained: asyncio.Event = asyncio.Event()

    def request_turn(self, request: TurnRequest) -> QueuedTurn:
        """Queue for a turn; ``queued.granted`` resolves when the turn begins.

        Raises ``MailboxFull``, ``RevisionNotFound`` for an unknown alias, and ``ModelNotFound``
        while the model is being erased.
        """
        if self._lifecycle.phase is not Phase.ACTIVE:
            raise ModelNotFound(self.id.name)
        named_revision(self.stored, request.alias)
        if self._mailbox.is_full:
            raise MailboxFull(
                f"{len(self._mailbox)} turns wait for `{self.id.name}` already.",
                retry_after_s(len(self._mailbox), self._turn_s_mean),
                limit=len(self._mailbox),
            )
        queued = QueuedTurn(request, asyncio.get_running_loop().create_future())
        self._mailbox.put(queued)
        self._grant_next()
        return queued

    def withdraw(self, queued: QueuedTurn) -> None:
        """Take back a request whose caller stopped waiting, granted already or not."""
        self._mailbox.discard(queued)
        if queued.granted.done() and not queued.granted.cancelled() and queued.granted.exception() is None:
            self.release(queued.granted.result())
        queued.granted.cancel()
        self._settle()

    def claim(self, grant: TurnGrant) -> None:
        """Hold the running turn for its commit: from here on the deadline cannot end it.

        Raises ``TurnExpired`` if ``grant`` is no longer the running turn.
        """
        if not self.is_running(grant):
            raise TurnExpired(self.id.name, "its deadline passed or its caller gave it up")
        running = self._running
        assert running is not None, "is_running says so"
        if running.committing:
            raise TurnExpired(self.id.name, "it is being committed by another call")
        running.committing = True
        running.deadline.cancel()

    def go_on(self, grant: TurnGrant, stored: StoredModel) -> None:
        """Adopt the state with the turn's message; the turn goes on, unless it ended meanwhile."""
        running = self._running
        assert running is not None
        assert running.grant.grant_id == grant.grant_id
        self.stored = stored
        running.committing = False
        left_s = running.started_s + grant.turn_seconds_max - self._clock.monotonic()
        if running.given_up or left_s <= 0:
            self._end_running()
        else:
            running.deadline = self._clock.call_later(left_s, lambda: self._expire(grant))

    def advance(self, grant: TurnGrant, stored: StoredModel) -> None:
        """Adopt the committed state and grant the next turn."""
        running = self._running
        assert running is not None
        assert running.grant.grant_id == grant.grant_id
        assert stored.head.log_position >= self.stored.head.log_position
        self.stored = stored
        took_s = self._clock.monotonic() - running.started_s
        self._turn_s_mean += 0.2 * (took_s - self._turn_s_mean)
        self._end_running()

    def abandon(self, grant: TurnGrant) -> None:
        """Abandon the turn, unless it has ended or is being committed: a commit cannot be undone."""
        if self._running is not None and self.is_running(grant):
            self._running.given_up = True
            if not self._running.committing:
                self._end_running()

    def release(self, grant: TurnGrant) -> None:
        """End the turn without a record, if it is still running, and grant the next."""
        if self.is_running(grant):
            self._end_running()

    def replace_aliases(self, aliases: dict[str, str]) -> None:
        """Adopt moved aliases. The running turn keeps the revision it began with."""
        self.stored = self.stored._replace(aliases=aliases)

    def send_waiting_away(self, error: Exception) -> None:
        """Fail the turns that wait; the running one goes on."""
        self._mailbox.fail(error)

    async def drain(self) -> None:
        """Refuse new turns, fail the waiting ones, and wait for the running turn to end."""
        if self._lifecycle.phase is Phase.ACTIVE:
            self._lifecycle.move(Phase.DRAINING)
            self._mailbox.fail(ModelNotFound(self.id.name))
            self._settle()
        await self._drained.wait()

    def die(self, error: Exception) -> None:
        """Leave memory at once; waiting callers get ``error``."""
        if self._lifecycle.phase is Phase.GONE:
            return
        self._lifecycle.move(Phase.GONE)
        self._mailbox.fail(error)
        if self._running is not None:
            self._running.deadline.cancel()
            self._running = None
        self._drained.set()

    def is_running(self, grant: TurnGrant) -> bool:
        return self._running is not None and self._running.grant.grant_id == grant.grant_id

    @property
    def is_busy(self) -> bool:
        return self._running is not None or len(self._mailbox) > 0

    @property
    def waiting(self) -> int:
        return len(self._mailbox)

    @property
    def memory_bytes(self) -> int:
        """The bytes of its memory state, 0 without one."""
        memory = self.stored.memory
        return len(memory.payload) if memory else 0

    @property
    def resident_bytes(self) -> int:
        corrected = sum(one.bytes for one in self.corrections or ())
        return ACTIVATION_BYTES + self.memory_bytes + self.index.bytes + self.vectors.bytes + corrected

    def check_integrity(self) -> None:
        """Raise ``AssertionError`` unless the running turn and the mailbox agree with the phase."""
        phase, running = self._lifecycle.phase, self._running
        self._mailbox.check_integrity()
        if phase is Phase.GONE:
            assert running is None, "a gone model runs nothing"
        if phase is not Phase.ACTIVE:
            assert len(self._mailbox) == 0, "a model that leaves has no mail"
            assert self._drained.is_set() == (running is None), "it is drained once its last turn has ended"
        if len(self._mailbox) > 0:
            assert running is not None, "mail waits although no turn runs"
        if running is not None:
            assert running.grant.model == self.id
            accepted = self.stored.head.log_position - running.grant.position
            assert accepted in (0, 1), "of a running turn the log has its message at most"

    def _grant_next(self) -> None:
        if self._running is not None:
            return
        queued = self._mailbox.take()
        if queued is None:
            return
        request = queued.request
        try:
            grant = self._grant_for(request)
        except (RevisionNotFound, ModelNotFound) as error:
            queued.granted.set_exception(error)
            self._grant_next()
            return
        deadline = self._clock.call_later(request.turn_seconds_max, lambda: self._expire(grant))
        self._running = RunningTurn(grant, self._clock.monotonic(), deadline)
        queued.granted.set_result(grant)

    def _grant_for(self, request: TurnRequest) -> TurnGrant:
        revision = named_revision(self.stored, request.alias) or self._begins_on(self.stored) or BASE_REVISION
        self._grants += 1
        adapter = None if revision == BASE_REVISION else self._adapter_of(revision)
        return grant_of(self.stored, request, f"{self._incarnation}:{self._grants}", revision, adapter)

    def _expire(self, grant: TurnGrant) -> None:
        if self.is_running(grant):
            self._end_running()

    def _end_running(self) -> None:
        assert self._running is not None
        self._running.deadline.cancel()
        self._running = None
        self._grant_next()
        self._settle()

    def _settle(self) -> None:
        """Report that the model has nothing to do."""
        if self.is_busy:
            return
        if self._lifecycle.phase is Phase.DRAINING:
            self._drained.set()
        elif self._lifecycle.phase is Phase.ACTIVE:
            self._on_idle(self)


def named_revision(stored: StoredModel, alias: str) -> str | None:
    """Return the revision that the alias names; None is ``latest`` of a model without one of its own.

    Raises ``RevisionNotFound``.
    """
    if alias in stored.aliases:
        return stored.aliases[alias]
    if alias == FIRST_ALIAS:
        return None
    raise RevisionNotFound(stored.identity.name, alias)


def grant_of(
    stored: StoredModel, request: TurnRequest, grant_id: str, revision: str, adapter: AdapterRef | None
) -> TurnGrant:
    """Make a grant of the model as it is stored, so far without anything of its log."""
    return TurnGrant(
        model=request.model,
        created_ms=stored.identity.created_ms,
        operation=request.operation,
        body_hash=request.body_hash,
        grant_id=grant_id,
        position=stored.head.log_position,
        revision=revision,
        adapter=adapter,
        base=stored.identity.base,
        memory_version=stored.head.memory_version,
        history=(),
        history_of=request.history_of,
        turn_seconds_max=request.turn_seconds_max,
        memory=None if stored.memory is None else stored.memory.payload,
    )
