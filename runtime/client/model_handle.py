"""A personal model in Python: a handle that is used like that of a Ray actor."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Unpack, overload

from populace.actors.feedback import Feedback
from populace.actors.forgetting import Forgotten, MemoryAfter
from populace.actors.hosts import ModelView, Revision
from populace.actors.known import Known
from populace.actors.members import MemberView
from populace.actors.merging import LayerDifference
from populace.actors.training import TrainingJob
from populace.actors.turn import Interaction
from populace.client.async_model import AsyncModel
from populace.client.chat_request import MessageLike
from populace.client.options import ChatOptions, TrainOptions
from populace.client.streaming import ReplyStream, Runner
from populace.pictures.memory import PersonalMemory
from populace.policies.diversity.disclosure import Sharing

if TYPE_CHECKING:
    import ray


class ModelHandle:
    """One personal model. ``ada.chat("hi")`` blocks, ``ada.chat.remote("hi")`` gives an ObjectRef."""

    def __init__(self, runner: Runner, model: AsyncModel) -> None:
        self._runner = runner
        self._model = model
        self.id = model.id
        self.chat = ChatMethod(runner, model)

    @property
    def name(self) -> str:
        return self.id.name

    def show(self) -> ModelView:
        """Read what the model is and where it stands. Raises ``ModelNotFound``."""
        return self._runner.run(self._model.show())

    def log(self, *, start: int = 0, limit: int = 100) -> tuple[Interaction, ...]:
        """Read up to ``limit`` interactions, oldest first, at and after ``start``.

        A log whose beginning was compacted is read from ``show().log_start`` on.
        """
        return self._runner.run(self._model.log(start=start, limit=limit))

    @property
    def memory(self) -> PersonalMemory:
        """Read what the model remembers as of now; ``known()`` asks it. Raises ``ModelNotFound``."""
        memory = self._runner.run(self._model.memory())

        def ask(questions: Sequence[str]) -> Known:
            return self._runner.run(self._model.known(questions))

        return replace(memory, ask=ask)

    def memory_at(self, position: int) -> PersonalMemory:
        """Compute what the model remembered after ``position`` turns, from its log.

        Raises ``ModelNotFound``, and ``InvalidRequest`` for a position that the log does not keep.
        """
        return self._runner.run(self._model.memory_at(position))

    def restore_memory(self, position: int | None, *, operation: str | None = None) -> Interaction:
        """Set the memory to what it was after ``position`` turns, in a turn of its own; None empties it.

        With an ``operation`` a retry changes nothing. Raises as ``memory_at``; nothing has changed then.
        """
        return self._runner.run(self._model.restore_memory(position, operation=operation))

    def feedback(
        self,
        on: Interaction | int | str,
        *,
        thumb: bool | Literal["up", "down"] | None = None,
        rating: float | None = None,
        correction: str | None = None,
        reward: float | None = None,
        operation: str | None = None,
    ) -> Feedback:
        """Say what somebody thought of a reply: ``on`` is the turn, its position or its completion id.

        ``thumb`` is True or ``"up"``, False or ``"down"``, a ``rating`` from 0 to 1, ``correction`` what the
        reply should have been, ``reward`` any number.
        The same feedback again is the same; with an ``operation`` only a retry is. Raises
        ``InvalidRequest``, ``InteractionNotFound``, ``FeedbackFull`` and ``OperationConflict``.
        """
        return self._runner.run(
            self._model.feedback(
                on, thumb=thumb, rating=rating, correction=correction, reward=reward, operation=operation
            )
        )

    def opinions(self, *, start: int = 0, limit: int = 1000) -> tuple[Feedback, ...]:
        """Read the feedback on the turns at and after ``start``, in the log's order."""
        return self._runner.run(self._model.opinions(start=start, limit=limit))

    def forget(
        self,
        what: Interaction | int | Sequence[int] | str,
        *,
        confirm: bool = False,
        memory: MemoryAfter = "folded",
        operation: str | None = None,
    ) -> Forgotten:
        """Forget turns for good: the turn or its position, several, or words that find them.

        Words find and forget nothing unless ``confirm`` is true: ``found`` of the answer has the turns. What
        is forgotten leaves the log, the memory and every revision that learned from it, and no byte of it
        stays; the answer names later turns that were shown it. ``memory="emptied"`` empties a memory that
        cannot be folded again. With an ``operation`` a retry changes nothing.

        Raises ``InteractionNotFound``, ``InvalidRequest``, ``OperationConflict``, and ``MemoryStateMismatch``
        if the memory is of a module that is not served; nothing has changed then.
        """
        return self._runner.run(self._model.forget(what, confirm=confirm, memory=memory, operation=operation))

    def fork(self, name: str) -> "ModelHandle":
        """Create a model that begins with all that this one is: log, memory, revisions and aliases.

        Raises ``ModelNotFound``, ``InvalidName`` and ``ModelExists``.
        """
        return ModelHandle(self._runner, self._runner.run(self._model.fork(name)))

    def publish(self, adapter: str | Path, *, alias: str = "latest") -> Revision:
        """Import a PEFT LoRA directory or packed file as a revision, prewarm it, and move ``alias`` to it.

        Until it is ready the old revision answers; turns in flight finish on the one they began with.
        Raises ``AdapterInvalid``, ``AdapterMismatch``, ``ModelNotFound``, ``EngineUnavailable`` and
        ``EngineOverloaded``; the alias has not moved then.
        """
        return self._runner.run(self._model.publish(adapter, alias=alias))

    def move_alias(self, alias: str, revision: str) -> ModelView:
        """Move an alias to a revision that the model has, and prewarm that before, as ``publish`` does.

        ``revision`` is its digest, the beginning of it, or another alias. What the model has learned from
        stays as noted: ``rollback`` gives that back to the log. Raises ``InvalidName``, ``RevisionNotFound``,
        ``InvalidRequest``, ``AdapterMismatch``, ``EngineUnavailable`` and ``EngineOverloaded``; the alias has
        not moved then.
        """
        return self._runner.run(self._model.move_alias(alias, revision))

    def remove_alias(self, alias: str) -> ModelView:
        """Remove an alias other than ``latest``; its revision stays.

        Raises ``RevisionNotFound`` if there is none, and ``InvalidRequest`` for ``latest``.
        """
        return self._runner.run(self._model.remove_alias(alias))

    def train(
        self,
        *,
        tasks: Sequence[Mapping[str, Any]] = (),
        operation: str | None = None,
        seconds_max: float | None = None,
        **options: Unpack[TrainOptions],
    ) -> TrainingJob:
        """Train the model on its log and feedback, wait for what comes of it, and answer that.

        ``options`` are the fields of ``TrainingOptions``: ``method``, ``rank``, ``epochs``, ``seed``,
        ``learning_rate``, ``unjudged`` and so on. A candidate that is better than its parent answers from
        then on; the job's ``state`` says whether it is, and its ``reason`` why not. After ``seconds_max`` the
        job is answered as it is then, and goes on; 0 does not wait.

        With ``method="rl"`` it learns from what a ``reward`` makes of its replies to ``tasks``, and one in
        eight of these is held out to judge it: ``ada.train(method="rl", reward="number",
        tasks=[{"prompt": "What is 3 + 4?", "answer": 7}, …])``.

        Raises ``InvalidRequest``, ``TrainingUnderWay`` and ``TrainingUnavailable``.
        """
        return self._runner.run(
            self._model.train(tasks=tasks, operation=operation, seconds_max=seconds_max, **options)
        )

    def rebuild(self, *, seconds_max: float | None = None) -> TrainingJob:
        """Make the revision that answers again, from the base and what it learned from; see ``train``.

        On the base that it was trained on, a revision without a parent comes out to the bit. On another base
        the model is of that base then. Raises ``RevisionNotFound`` for a model that is the base's, and
        ``InvalidRequest`` for a revision that was not trained here, or whose log is not kept any more.
        """
        return self._runner.run(self._model.rebuild(seconds_max=seconds_max))

    def share(self, sharing: Sharing | None) -> MemberView | None:
        """Have the model take part in answers of the population, or with None no longer.

        With ``"votes"`` what it votes for is told, with ``"texts"`` what it says as well. Its memory and its
        log are never read for that. Raises ``InvalidRequest`` and ``ModelNotFound``.
        """
        return self._runner.run(self._model.share(sharing))

    def jobs(self) -> tuple[TrainingJob, ...]:
        """The model's trainings, newest first."""
        return self._runner.run(self._model.jobs())

    def cancel_training(self) -> TrainingJob:
        """Cancel the training that is under way. Raises ``JobNotFound`` if there is none."""
        return self._runner.run(self._model.cancel_training())

    def rollback(self) -> ModelView:
        """Give ``latest`` back to the parent of the revision that it names, and what went into it to the log.

        Raises ``RevisionNotFound`` for a model that is the base's, or whose parent is elsewhere.
        """
        return self._runner.run(self._model.rollback())

    def revisions(self) -> tuple[Revision, ...]:
        """List the revisions, oldest first."""
        return self._runner.run(self._model.revisions())

    def diff(self, one: str | None = None, other: str | None = None) -> tuple[LayerDifference, ...]:
        """Compare two revisions layer by layer: norms, distance and principal angles.

        Each is an alias, a digest or its beginning, or ``base``, which changes nothing. ``one`` None is what
        answers, ``other`` None is the parent of ``one``. Raises ``RevisionNotFound``, and ``InvalidRequest``
        for a beginning that several have.
        """
        return self._runner.run(self._model.diff(one, other))

    def export(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write all of the model to a file, see ``Population.export``."""
        return self._runner.run(self._model.export(path, overwrite=overwrite))

    def erase(self) -> None:
        """Erase the model, see ``Population.erase``. Raises ``ModelNotFound``."""
        self._runner.run(self._model.erase())

    def __repr__(self) -> str:
        return f"<personal model {self.id.tenant}/{self.id.name}>"


class ChatMethod:
    """``chat`` of a handle, called plainly or through ``remote`` as on a Ray actor."""

    def __init__(self, runner: Runner, model: AsyncModel) -> None:
        self._runner = runner
        self._model = model

    @overload
    def __call__(
        self,
        message: str | Sequence[MessageLike],
        *,
        stream: Literal[False] = False,
        **options: Unpack[ChatOptions],
    ) -> Interaction: ...

    @overload
    def __call__(
        self, message: str | Sequence[MessageLike], *, stream: Literal[True], **options: Unpack[ChatOptions]
    ) -> ReplyStream: ...

    def __call__(
        self, message: str | Sequence[MessageLike], *, stream: bool = False, **options: Unpack[ChatOptions]
    ) -> Interaction | ReplyStream:
        """Make one turn and return it when it is durably in the log; ``str()`` of it is the reply.

        A text continues the ``conversation`` (default ``main``; None begins with nothing before
        it) from the model's own log. A sequence of messages is read exactly as it is. With ``stream`` the
        texts of the reply are returned as they are made, for ``for``: see ``ReplyStream``.

        Options: ``conversation``, ``alias``, ``operation`` (an idempotency key: the same key gives
        the same turn), ``turn_seconds_max``, ``memory`` (``{"read": bool, "write": bool}``: whether the
        reply may use the model's memory and whether the turn goes into it; both are true by default),
        ``context`` (``{"retrieve": 3}``: so many turns of the model's log, those that fit the message best,
        are told of in the prompt; ``Interaction.retrieved`` has their positions), and those of ``Sampling``
        (``max_tokens``, ``temperature``, ``top_p``, ``top_k``, ``seed``, ``stop``, ...).

        Raises ``InvalidRequest``, ``ModelNotFound``, ``MailboxFull``, ``PromptTooLong``,
        ``OperationConflict``, ``TurnExpired``, ``HostUnavailable``. A host that restarts meanwhile is waited
        for.
        """
        if stream:
            begun = self._runner.run(self._model.chat(message, stream=True, **options))
            return ReplyStream(self._runner, begun)
        return self._runner.run(self._model.chat(message, **options))

    def remote(
        self, message: str | Sequence[MessageLike], **options: Unpack[ChatOptions]
    ) -> "ray.ObjectRef[Interaction]":
        """Start a turn; ``ray.get`` or ``await`` the result. Not retried if the host restarts.

        Raises ``InvalidRequest`` for a population that is connected over HTTP.
        """
        return self._model.remote_chat(message, **options)
