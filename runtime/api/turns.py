"""The turns of a model's log, the feedback on them, and the forgotten ones."""

from typing import Literal

from populace.actors.engine import FinishReason, Message
from populace.actors.feedback import Feedback, Opinion
from populace.actors.forgetting import Forgotten, MemoryAfter
from populace.actors.memory import MemoryTrace
from populace.actors.turn import BASE_REVISION, Interaction, ModelId
from populace.api.objects import ApiObject, milliseconds, seconds


class MessageObject(ApiObject):
    """One message of a turn."""

    role: str
    content: str


class MemoryTraceObject(ApiObject):
    """Whether the turn read the memory, and the first message of its prompt that was written into it."""

    read: bool
    written_from: int | None

    @classmethod
    def of(cls, trace: MemoryTrace) -> "MemoryTraceObject":
        return cls(read=trace.read, written_from=trace.written_from)

    def value(self) -> MemoryTrace:
        return MemoryTrace(self.read, self.written_from)


class InteractionObject(ApiObject):
    """A turn of the log; see ``Interaction``. ``finish_reason`` null says that it has no reply."""

    object: Literal["interaction"] = "interaction"
    position: int
    memory: MemoryTraceObject | None
    retrieved: tuple[int, ...]
    forgotten: bool
    operation: str
    completion_id: str
    created: int
    messages: tuple[MessageObject, ...]
    reply: str
    finish_reason: FinishReason | None
    prompt_tokens: int
    completion_tokens: int
    revision: str
    base: str
    memory_version: int
    conversation: str | None

    @classmethod
    def of(cls, turn: Interaction) -> "InteractionObject":
        return cls(
            position=turn.position,
            memory=None if turn.memory is None else MemoryTraceObject.of(turn.memory),
            retrieved=turn.retrieved,
            forgotten=turn.forgotten,
            operation=turn.operation,
            completion_id=turn.completion_id,
            created=seconds(turn.created_ms),
            messages=tuple(MessageObject(role=said.role, content=said.content) for said in turn.messages),
            reply=turn.reply,
            finish_reason=turn.finish_reason,
            prompt_tokens=turn.prompt_tokens,
            completion_tokens=turn.completion_tokens,
            revision=turn.revision,
            base=turn.base,
            memory_version=turn.memory_version,
            conversation=turn.conversation,
        )

    def value(self, model: ModelId, *, replayed: bool = False) -> Interaction:
        """Restore the turn, without its number of history turns, its note and the tokens that it wrote."""
        return Interaction(
            model=model,
            position=self.position,
            operation=self.operation,
            completion_id=self.completion_id,
            messages=tuple(Message(said.role, said.content) for said in self.messages),
            reply=self.reply,
            finish_reason=self.finish_reason,
            prompt_tokens=self.prompt_tokens,
            completion_tokens=self.completion_tokens,
            revision=self.revision,
            base=self.base,
            memory_version=self.memory_version,
            created_ms=milliseconds(self.created),
            conversation=self.conversation,
            replayed=replayed,
            memory=None if self.memory is None else self.memory.value(),
            retrieved=self.retrieved,
            forgotten=self.forgotten,
        )


class FeedbackObject(ApiObject):
    """An opinion on a reply; see ``Feedback``."""

    object: Literal["feedback"] = "feedback"
    model: str
    position: int
    created: int
    thumb: Literal["up", "down"] | None
    rating: float | None
    correction: str | None
    reward: float | None

    @classmethod
    def of(cls, given: Feedback) -> "FeedbackObject":
        opinion = given.opinion
        return cls(
            model=given.model.name,
            position=given.position,
            created=seconds(given.created_ms),
            thumb=None if opinion.thumb is None else "up" if opinion.thumb else "down",
            rating=opinion.rating,
            correction=opinion.correction,
            reward=opinion.reward,
        )

    def value(self, tenant: str) -> Feedback:
        thumb = None if self.thumb is None else self.thumb == "up"
        opinion = Opinion(thumb, self.rating, self.correction, self.reward)
        return Feedback(ModelId(tenant, self.model), self.position, opinion, milliseconds(self.created))


class ForgottenObject(ApiObject):
    """The turns that were forgotten or found; see ``Forgotten``. ``message`` is a summary in words."""

    object: Literal["personal_model.forgotten"] = "personal_model.forgotten"
    id: str
    position: int | None
    forgotten: tuple[int, ...]
    already_forgotten: tuple[int, ...]
    shown: tuple[int, ...]
    repeated: tuple[int, ...]
    revisions: tuple[str, ...]
    aliases: dict[str, str]
    jobs: tuple[int, ...]
    memory: MemoryAfter | None
    found: tuple[InteractionObject, ...]
    near: tuple[InteractionObject, ...]
    message: str

    @classmethod
    def of(cls, forgotten: Forgotten) -> "ForgottenObject":
        return cls(
            id=forgotten.model.name,
            position=forgotten.position,
            forgotten=forgotten.positions,
            already_forgotten=forgotten.already,
            shown=forgotten.shown,
            repeated=forgotten.repeated,
            revisions=forgotten.revisions,
            aliases={alias: digest or BASE_REVISION for alias, digest in forgotten.aliases},
            jobs=forgotten.jobs,
            memory=forgotten.memory,
            found=tuple(InteractionObject.of(turn) for turn in forgotten.found),
            near=tuple(InteractionObject.of(turn) for turn in forgotten.near),
            message=str(forgotten),
        )

    def value(self, tenant: str) -> Forgotten:
        model = ModelId(tenant, self.id)
        return Forgotten(
            model=model,
            positions=self.forgotten,
            already=self.already_forgotten,
            shown=self.shown,
            repeated=self.repeated,
            revisions=self.revisions,
            jobs=self.jobs,
            aliases=tuple(
                (alias, None if digest == BASE_REVISION else digest) for alias, digest in self.aliases.items()
            ),
            memory=self.memory,
            position=self.position,
            found=tuple(turn.value(model) for turn in self.found),
            near=tuple(turn.value(model) for turn in self.near),
        )
