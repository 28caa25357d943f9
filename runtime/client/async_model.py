"""A personal model for asyncio: the verbs of ``ModelHandle``, awaited."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Unpack, cast, overload

from populace.actors.contributors import Contribution
from populace.actors.errors import InvalidRequest
from populace.actors.feedback import Feedback, Opinion, thumb_of
from populace.actors.forgetting import Forgotten, MemoryAfter
from populace.actors.hosts import ModelView, Revision
from populace.actors.known import SURE_MIN, Known, check_sure_min, checked_questions
from populace.actors.members import MemberView
from populace.actors.merging import LayerDifference
from populace.actors.peek import Peek
from populace.actors.reward_tasks import tasks_of
from populace.actors.suites import Suite, SuiteResult, read_suite, suite_of
from populace.actors.training import TrainingJob
from populace.actors.training_options import TrainingOptions
from populace.actors.turn import ChatRequest, Interaction, ModelId, operation_of
from populace.client.chat_request import MessageLike, chat_request, peek_request
from populace.client.connection import Connection
from populace.client.options import ChatOptions, PeekOptions, TrainOptions, check_options
from populace.client.streaming import AsyncReplyStream
from populace.pictures.memory import PersonalMemory
from populace.policies.diversity.disclosure import Sharing
from populace.storage.records.errors import RevisionNotFound
from populace.storage.rows.ledger import FIRST_ALIAS

if TYPE_CHECKING:
    import ray

POLL_SECONDS = 0.5


class AsyncModel:
    """One personal model. Each method does and raises the same as that of ``ModelHandle``."""

    def __init__(self, connection: Connection, model: ModelId) -> None:
        self._connection = connection
        self._hosts = connection.hosts
        self.id: ModelId = model

    @property
    def name(self) -> str:
        return self.id.name

    @overload
    async def chat(
        self,
        message: str | Sequence[MessageLike],
        *,
        stream: Literal[False] = False,
        **options: Unpack[ChatOptions],
    ) -> Interaction: ...

    @overload
    async def chat(
        self, message: str | Sequence[MessageLike], *, stream: Literal[True], **options: Unpack[ChatOptions]
    ) -> AsyncReplyStream: ...

    async def chat(
        self, message: str | Sequence[MessageLike], *, stream: bool = False, **options: Unpack[ChatOptions]
    ) -> Interaction | AsyncReplyStream:
        """Make one turn; with ``stream`` return its texts for ``async for``. See ``ModelHandle.chat``."""
        request = self._request(message, options)
        if stream:
            return await self._connection.stream(request)
        return await self._hosts.chat(request)

    def remote_chat(
        self, message: str | Sequence[MessageLike], **options: Unpack[ChatOptions]
    ) -> "ray.ObjectRef[Interaction]":
        """See ``ChatMethod.remote``."""
        return self._connection.remote_chat(self._request(message, options))

    def _request(self, message: str | Sequence[MessageLike], options: ChatOptions) -> ChatRequest:
        options.setdefault("turn_seconds_max", self._connection.turn_seconds_max)
        return chat_request(self.id, message, self._connection.base.sampling, **options)

    async def peek(self, message: str | Sequence[MessageLike], **options: Unpack[PeekOptions]) -> Peek:
        """See ``ModelHandle.peek``."""
        options.setdefault("turn_seconds_max", self._connection.turn_seconds_max)
        return await self._hosts.peek(
            peek_request(self.id, message, self._connection.base.sampling, **options)
        )

    async def show(self) -> ModelView:
        """See ``ModelHandle.show``."""
        return await self._hosts.show_model(self.id)

    async def log(self, *, start: int = 0, limit: int = 100) -> tuple[Interaction, ...]:
        """See ``ModelHandle.log``."""
        return await self._hosts.read_log(self.id, start=start, limit=limit)

    async def memory(self) -> PersonalMemory:
        """See ``ModelHandle.memory``; ``known`` asks it questions."""
        return PersonalMemory.of(await self._hosts.memories.show(self.id))

    async def known(
        self, questions: str | Sequence[str] = (), *, sure_min: float = SURE_MIN, wait: bool = False
    ) -> Known:
        """Return what the model knows about its person; see ``PersonalMemory.known``."""
        check_sure_min(sure_min)
        # What is neither a text nor several is refused by name, like any question that is none.
        several = isinstance(questions, Iterable) and not isinstance(questions, str)  # pyright: ignore[reportUnnecessaryIsInstance]
        asked = tuple(questions) if several else (cast("str", questions),)
        checked = checked_questions(asked) if asked else ()
        return await self._hosts.memories.known(self.id, checked, sure_min=sure_min, wait=wait)

    async def memory_at(self, position: int) -> PersonalMemory:
        """See ``ModelHandle.memory_at``."""
        return PersonalMemory.of(await self._hosts.memories.show(self.id, position))

    async def restore_memory(self, position: int | None, *, operation: str | None = None) -> Interaction:
        """See ``ModelHandle.restore_memory``."""
        return await self._hosts.memories.restore(self.id, position, operation_of(operation))

    async def feedback(
        self,
        on: Interaction | int | str,
        *,
        thumb: bool | Literal["up", "down"] | None = None,
        rating: float | None = None,
        correction: str | None = None,
        reward: float | None = None,
        operation: str | None = None,
    ) -> Feedback:
        """See ``ModelHandle.feedback``."""
        reference = _position(self.id, on) if isinstance(on, Interaction) else on
        opinion = Opinion(thumb_of(thumb), rating, correction, reward)
        return await self._hosts.give_feedback(self.id, reference, opinion, operation)

    async def opinions(self, *, start: int = 0, limit: int = 1000) -> tuple[Feedback, ...]:
        """See ``ModelHandle.opinions``."""
        return await self._hosts.read_feedback(self.id, start=start, limit=limit)

    async def forget(
        self,
        what: Interaction | int | Sequence[int] | str,
        *,
        confirm: bool = False,
        memory: MemoryAfter = "folded",
        operation: str | None = None,
    ) -> Forgotten:
        """See ``ModelHandle.forget``."""
        named = turns_named(self.id, what)
        if isinstance(named, str) and not confirm:
            return await self._hosts.forgetting.find(self.id, named)
        return await self._hosts.forgetting.forget(self.id, named, operation_of(operation), memory=memory)

    async def fork(self, name: str) -> "AsyncModel":
        """See ``ModelHandle.fork``."""
        return AsyncModel(self._connection, (await self._connection.fork(self.id, name)).model)

    async def publish(self, adapter: str | Path, *, alias: str = "latest") -> Revision:
        """See ``ModelHandle.publish``."""
        return await self._connection.publish(self.id, Path(adapter), alias)

    async def move_alias(self, alias: str, revision: str) -> ModelView:
        """See ``ModelHandle.move_alias``."""
        return await self._hosts.move_alias(self.id, alias, revision)

    async def remove_alias(self, alias: str) -> ModelView:
        """See ``ModelHandle.remove_alias``."""
        return await self._hosts.remove_alias(self.id, alias)

    async def train(
        self,
        *,
        tasks: Sequence[Mapping[str, Any]] = (),
        operation: str | None = None,
        seconds_max: float | None = None,
        on_progress: Callable[[TrainingJob], None] | None = None,
        **options: Unpack[TrainOptions],
    ) -> TrainingJob:
        """See ``ModelHandle.train``."""
        check_options(options, TrainOptions, "train")
        job = await self._hosts.jobs.ask(self.id, TrainingOptions(**options), operation, tasks_of(tasks))
        loop = asyncio.get_running_loop()
        give_up = None if seconds_max is None else loop.time() + seconds_max
        while True:
            if on_progress is not None:
                on_progress(job)
            if not job.is_open or (give_up is not None and loop.time() >= give_up):
                return job
            await asyncio.sleep(POLL_SECONDS)
            job = next(asked for asked in await self.jobs() if asked.number == job.number)

    async def rebuild(
        self,
        *,
        seconds_max: float | None = None,
        on_progress: Callable[[TrainingJob], None] | None = None,
    ) -> TrainingJob:
        """See ``ModelHandle.rebuild``."""
        serving = await self._serving()
        return await self.train(rebuilds=serving, seconds_max=seconds_max, on_progress=on_progress)

    async def evaluate(
        self, suite: str | Path | Sequence[Mapping[str, Any]] | None = None, revision: str = "latest"
    ) -> SuiteResult:
        """See ``ModelHandle.evaluate``."""
        if suite is not None:
            await self._hosts.suites.keep(self.id, _suite(suite))
        return await self._connection.evaluate(self.id, revision)

    async def suite(self) -> Suite:
        """See ``ModelHandle.suite``."""
        return await self._hosts.suites.show(self.id)

    async def remove_suite(self) -> None:
        """See ``ModelHandle.remove_suite``."""
        await self._hosts.suites.remove(self.id)

    async def share(self, sharing: Sharing | None) -> MemberView | None:
        """See ``ModelHandle.share``."""
        return await self._hosts.members.share(self.id, sharing)

    async def contribute(self, agrees: bool = True) -> Contribution:
        """See ``ModelHandle.contribute``."""
        return await self._hosts.contributors.consent(self.id, agrees=agrees)

    async def contribution(self) -> Contribution:
        """See ``ModelHandle.contribution``."""
        return await self._hosts.contributors.of_model(self.id)

    async def jobs(self) -> tuple[TrainingJob, ...]:
        """See ``ModelHandle.jobs``."""
        return await self._hosts.jobs.of_model(self.id)

    async def cancel_training(self) -> TrainingJob:
        """See ``ModelHandle.cancel_training``."""
        return await self._hosts.jobs.cancel(self.id)

    async def rollback(self) -> ModelView:
        """See ``ModelHandle.rollback``."""
        return await self._hosts.jobs.roll_back(self.id, await self._serving())

    async def revisions(self) -> tuple[Revision, ...]:
        """See ``ModelHandle.revisions``."""
        return await self._hosts.list_revisions(self.id)

    async def diff(self, one: str | None = None, other: str | None = None) -> tuple[LayerDifference, ...]:
        """See ``ModelHandle.diff``."""
        return await self._connection.diff(self.id, one, other)

    async def export(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """See ``Population.export``."""
        target = _target(path, overwrite=overwrite)
        await self._connection.export(self.id, target)
        return target

    async def erase(self) -> None:
        """See ``Population.erase``."""
        await self._hosts.erase_model(self.id)

    async def _serving(self) -> str:
        """Return the digest that ``latest`` names. Raises ``RevisionNotFound`` if that is the base."""
        serving = (await self.show()).aliases.get(FIRST_ALIAS)
        if serving is None:
            raise RevisionNotFound(self.name, FIRST_ALIAS)
        return serving

    def __repr__(self) -> str:
        return f"<personal model {self.id.tenant}/{self.id.name}>"


def _target(path: str | Path, *, overwrite: bool) -> Path:
    target = Path(path).absolute()
    if target.exists() and not overwrite:
        raise InvalidRequest(f"The file {target} exists already.", "path")
    return target


def _suite(told: str | Path | Sequence[Mapping[str, Any]]) -> Suite:
    return read_suite(Path(told)) if isinstance(told, str | Path) else suite_of(told)


def _position(model: ModelId, turn: Interaction) -> int:
    """Return the turn's position in the log. Raises ``InvalidRequest`` if it is another model's."""
    if turn.model != model:
        raise InvalidRequest(f"That is a turn of `{turn.model.name}`, not of `{model.name}`.", "positions")
    return turn.position


def turns_named(model: ModelId, what: object) -> str | list[int]:
    """Return the positions, or the words, that a caller names turns of ``model`` by.

    Raises ``InvalidRequest`` for a value that names no turns, and for a turn of another model.
    """
    if isinstance(what, str):
        return what
    if isinstance(what, Interaction):
        return [_position(model, what)]
    several = cast("Sequence[object]", what) if isinstance(what, Sequence) else [what]
    positions = [what] if isinstance(what, bytes) else list(several)
    # True is an int in Python, but no caller means position 1 by it.
    if not all(type(position) is int and position >= 0 for position in positions):
        raise InvalidRequest(f"Name turns by their positions or by words, not by {what!r:.80}.", "positions")
    return cast("list[int]", positions)
