"""A model's memory: its state in numbers, and what the model knows from it."""

from base64 import b64decode, b64encode
from typing import Literal

from populace.actors.known import SURE_MIN, Known, KnownFact
from populace.actors.memories import MemoryView, MemoryWrite
from populace.actors.turn import ModelId
from populace.api.objects import ApiObject, milliseconds, seconds

NORM_DIGITS = 6
SURE_DIGITS = 4


class MemoryWriteObject(ApiObject):
    """A turn that was written into the memory."""

    position: int
    created: int
    messages: int
    reply_tokens: int


class MemoryObject(ApiObject):
    """A model's memory. A state works only with its own module; ``served_module`` is the engine's.

    ``norms`` are the Frobenius norms of the layers' states. ``state`` is the engine's packed state in base64,
    null unless it was asked for.
    """

    object: Literal["personal_model.memory"] = "personal_model.memory"
    id: str
    version: int
    module: str | None
    served_module: str | None
    bytes: int
    norms: tuple[float, ...]
    writes: tuple[MemoryWriteObject, ...]
    state: str | None = None

    @classmethod
    def of(
        cls,
        view: MemoryView,
        *,
        module: str | None,
        served_module: str | None,
        size: int,
        norms: tuple[float, ...],
        with_state: bool,
    ) -> "MemoryObject":
        writes = tuple(
            MemoryWriteObject(
                position=write.position,
                created=seconds(write.created_ms),
                messages=write.messages,
                reply_tokens=write.reply_tokens,
            )
            for write in view.writes
        )
        return cls(
            id=view.model.name,
            version=view.version,
            module=module,
            served_module=served_module,
            bytes=size,
            norms=tuple(round(norm, NORM_DIGITS) for norm in norms),
            writes=writes,
            state=b64encode(view.state).decode() if with_state and view.state is not None else None,
        )

    def value(self, tenant: str) -> MemoryView:
        writes = tuple(
            MemoryWrite(write.position, milliseconds(write.created), write.messages, write.reply_tokens)
            for write in self.writes
        )
        state = None if self.state is None else b64decode(self.state)
        return MemoryView(ModelId(tenant, self.id), self.version, state, writes)


class FactObject(ApiObject):
    """An answer with the turn that it comes from; see ``KnownFact``."""

    question: str
    answer: str
    sure: float
    position: int
    said: str
    read: bool = False


class KnownObject(ApiObject):
    """What a model knows about its person, as of the log before ``position``; see ``Known``."""

    object: Literal["personal_model.known"] = "personal_model.known"
    id: str
    position: int | None = None
    refreshing: bool = False
    sure_min: float = SURE_MIN
    facts: tuple[FactObject, ...]
    unknown: tuple[str, ...]

    @classmethod
    def of(cls, known: Known) -> "KnownObject":
        facts = tuple(
            FactObject(
                question=fact.question,
                answer=fact.answer,
                sure=round(fact.sure, SURE_DIGITS),
                position=fact.position,
                said=fact.said,
                read=fact.read,
            )
            for fact in known.facts
        )
        return cls(
            id=known.model.name,
            position=known.position,
            refreshing=known.refreshing,
            sure_min=known.sure_min,
            facts=facts,
            unknown=known.unknown,
        )

    def value(self, tenant: str) -> Known:
        facts = tuple(
            KnownFact(fact.question, fact.answer, fact.sure, fact.position, fact.said, fact.read)
            for fact in self.facts
        )
        model = ModelId(tenant, self.id)
        return Known(model, facts, self.unknown, self.position, self.refreshing, self.sure_min)
