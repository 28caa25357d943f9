"""A personal model as a dict would keep it: what was acknowledged, and what that promises."""

from dataclasses import dataclass, field, replace

from populace.actors.host_limits import HostLimits
from populace.actors.hosts import ModelView
from populace.actors.turn import Interaction, ModelId, TurnRequest
from populace.policies.log_retention import LogLimits

LIMITS = HostLimits(
    idle_seconds_max=50,
    mailbox_max=3,
    operation_seconds_kept=200,
    shard_free_bytes_min=1,
    log=LogLimits(interactions_min=2, seconds_kept=500, interactions_max=12),
)


@dataclass
class Taken:
    """What took effect under an operation id, and when: in seconds that passed, whatever clocks say."""

    body: bytes
    position: int
    at_s: float

    def is_kept(self, now_s: float) -> bool:
        return now_s - self.at_s < LIMITS.operation_seconds_kept


@dataclass
class ExpectedModel:
    """``start`` is the oldest position that was seen to be kept; ``made_s`` says when each turn was made.

    ``accepted`` are the operations whose turns have no reply, until they get one.
    """

    log: list[Interaction] = field(default_factory=list[Interaction])
    made_s: list[float] = field(default_factory=list[float])
    taken: dict[str, Taken] = field(default_factory=dict[str, Taken])
    accepted: dict[str, Taken] = field(default_factory=dict[str, Taken])
    aliases: dict[str, str] = field(default_factory=dict[str, str])
    start: int = 0

    def carried(self, to: ModelId, now_s: float) -> "ExpectedModel":
        """The model as it is elsewhere at first: what it promises is promised anew from now on."""
        return ExpectedModel(
            log=[replace(one, model=to) for one in self.log],
            made_s=[now_s] * len(self.log),
            taken={
                operation: replace(taken, at_s=now_s)
                for operation, taken in self.taken.items()
                if taken.is_kept(now_s)
            },
            accepted={
                operation: replace(taken, at_s=now_s)
                for operation, taken in self.accepted.items()
                if taken.is_kept(now_s) or taken.position == len(self.log) - 1
            },
            aliases=dict(self.aliases),
            start=self.start,
        )

    def append(self, made: Interaction, body: bytes, now_s: float) -> None:
        """Add a turn that was just acknowledged; its id must not be one that still names another.

        It takes the place of the newest turn if that is its own, or of the same body, and has no reply.
        """
        before = self.taken.get(made.operation)
        assert before is None or not before.is_kept(now_s), f"{made.operation} took effect twice"
        if made.position == len(self.log) - 1:
            gone = self.log.pop()
            assert gone.answer is None
            assert self.accepted.pop(gone.operation).body == body
            self.made_s.pop()
        assert made.position == len(self.log)
        self.log.append(replace(made, replayed=False))
        self.made_s.append(now_s)
        self.accepted.pop(made.operation, None)
        is_answered = made.answer is not None
        (self.taken if is_answered else self.accepted)[made.operation] = Taken(body, made.position, now_s)

    def withdraw(self, operation: str) -> None:
        """Remove a message that was refused."""
        assert self.log.pop().operation == operation
        self.made_s.pop()
        del self.accepted[operation]

    def body_of(self, operation: str) -> bytes:
        """The body that the operation was used with last."""
        return {**self.taken, **self.accepted}[operation].body

    def check_replay(self, request: TurnRequest, answer: Interaction) -> None:
        """Check the answer to a request whose operation took effect before."""
        taken = self.taken[request.operation]
        assert taken.body == request.body_hash
        assert answer == replace(self.log[taken.position], replayed=True)

    def check_kept(self, view: ModelView, kept: tuple[Interaction, ...], now_s: float) -> None:
        """Check what the store has of the model; what it dropped since, it had a reason to."""
        assert view.log_position == len(self.log)
        assert view.aliases == self.aliases
        assert view.log_start >= self.start
        for position in range(self.start, view.log_start):
            is_over = len(self.log) - position > LIMITS.log.interactions_max
            is_old = now_s - self.made_s[position] >= LIMITS.log.seconds_kept
            assert is_over or (is_old and position < len(self.log) - LIMITS.log.interactions_min)
        used = {**self.taken, **self.accepted}.values()
        pinned = [one.position for one in used if one.is_kept(now_s)]
        assert view.log_start <= min(pinned, default=len(self.log))
        assert list(kept) == self.log[view.log_start :]
        self.start = view.log_start
