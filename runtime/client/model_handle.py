"""A personal model in Python: a handle that is used like that of a Ray actor."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Unpack, overload

from populace.actors.contributors import Contribution
from populace.actors.feedback import Feedback
from populace.actors.forgetting import Forgotten, MemoryAfter
from populace.actors.hosts import ModelView, Revision
from populace.actors.known import SURE_MIN, Known
from populace.actors.members import MemberView
from populace.actors.merging import LayerDifference
from populace.actors.peek import Peek
from populace.actors.suites import Suite, SuiteResult
from populace.actors.training import TrainingJob
from populace.actors.turn import Interaction, ModelId
from populace.client.async_model import AsyncModel
from populace.client.chat_request import MessageLike
from populace.client.options import ChatOptions, PeekOptions, TrainOptions
from populace.client.progress import TrainingProgress, shown
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
        self.id: ModelId = model.id
        self.chat: ChatMethod = ChatMethod(runner, model)

    @property
    def name(self) -> str:
        return self.id.name

    def peek(self, message: str | Sequence[MessageLike], **options: Unpack[PeekOptions]) -> Peek:
        """Return the model's reply as if this were its next turn, and leave no trace; ``str()`` is the reply.

        The adapter, the memory and the log are read as they are now, also while a turn runs. Nothing is
        logged, remembered or learned from. The options are those of ``chat`` but ``operation``; besides an
        alias, ``alias`` may be a revision's digest or its beginning, or ``base`` for the base without
        adapter and memory.

        Raises ``InvalidRequest``, ``ModelNotFound``, ``RevisionNotFound``, ``PromptTooLong``,
        ``TurnExpired``, ``HostUnavailable``.
        """
        return self._runner.run(self._model.peek(message, **options))

    def show(self) -> ModelView:
        """Return the model's current state. Raises ``ModelNotFound``."""
        return self._runner.run(self._model.show())

    def log(self, *, start: int = 0, limit: int = 100) -> tuple[Interaction, ...]:
        """Read up to ``limit`` interactions, oldest first, at and after ``start``.

        A log whose beginning was compacted starts at ``show().log_start``.
        """
        return self._runner.run(self._model.log(start=start, limit=limit))

    @property
    def memory(self) -> PersonalMemory:
        """Return the model's current memory; its ``known()`` asks it questions. Raises ``ModelNotFound``."""
        memory = self._runner.run(self._model.memory())

        def ask(questions: str | Sequence[str], *, sure_min: float = SURE_MIN, wait: bool = False) -> Known:
            with shown(f"Asking {self.name} what it knows"):
                return self._runner.run(self._model.known(questions, sure_min=sure_min, wait=wait))

        return replace(memory, ask=ask)

    def memory_at(self, position: int) -> PersonalMemory:
        """Compute from the log the memory that the model had after ``position`` turns.

        Raises ``ModelNotFound``, and ``InvalidRequest`` for a position that is no longer in the log.
        """
        return self._runner.run(self._model.memory_at(position))

    def restore_memory(self, position: int | None, *, operation: str | None = None) -> Interaction:
        """Set the memory to what it was after ``position`` turns; None empties it.

        This is recorded as a turn of its own.

        With an ``operation`` a retry changes nothing. Raises what ``memory_at`` raises, before any change.
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
        """Record feedback on a reply; ``on`` is the turn, its position or its completion id.

        ``thumb`` is True or ``"up"``, False or ``"down"``, a ``rating`` from 0 to 1, ``correction`` what the
        reply should have been, ``reward`` any number.
        Repeated feedback is stored once, unless other feedback of the same kind came in between; with an
        ``operation``, only a retry counts as repeated. Raises ``InvalidRequest``, ``InteractionNotFound``,
        ``FeedbackFull`` and ``OperationConflict``.
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
        """Forget turns for good, named by themselves, their positions, or words that find them.

        Words only find turns, unless ``confirm`` is true: ``found`` of the result has those with all of the
        words, or else ``near`` the nearest ones. A forgotten turn leaves
        the log, the memory and every revision that learned from it, and no byte of it stays; the result names
        later turns whose prompts contained it. ``memory="emptied"`` empties a memory that cannot be
        recomputed. With an ``operation`` a retry changes nothing.

        Raises ``InteractionNotFound``, ``InvalidRequest``, ``OperationConflict``, and ``MemoryStateMismatch``
        if the memory belongs to a module that is not served; nothing has changed then.
        """
        return self._runner.run(self._model.forget(what, confirm=confirm, memory=memory, operation=operation))

    def fork(self, name: str) -> "ModelHandle":
        """Copy this model to a new one, with log, memory, revisions and aliases.

        Raises ``ModelNotFound``, ``InvalidName`` and ``ModelExists``.
        """
        return ModelHandle(self._runner, self._runner.run(self._model.fork(name)))

    def publish(self, adapter: str | Path, *, alias: str = "latest") -> Revision:
        """Import a PEFT LoRA directory or packed file as a revision, prewarm it, and move ``alias`` to it.

        Until it is ready the old revision stays in use; turns in flight finish on the one they began with.
        Raises ``AdapterInvalid``, ``AdapterMismatch``, ``ModelNotFound``, ``EngineUnavailable`` and
        ``EngineOverloaded``; the alias has not moved then.
        """
        return self._runner.run(self._model.publish(adapter, alias=alias))

    def move_alias(self, alias: str, revision: str) -> ModelView:
        """Prewarm a revision that the model has, as ``publish`` does, and move an alias to it.

        ``revision`` is its digest, the beginning of it, or another alias. Which turns count as learned does
        not change; ``rollback`` changes that too. Raises ``InvalidName``, ``RevisionNotFound``,
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
        on_progress: Callable[[TrainingJob], None] | None = None,
        **options: Unpack[TrainOptions],
    ) -> TrainingJob:
        """Train the model on its log and feedback, wait for the end, and return the job.

        ``options`` are the fields of ``TrainingOptions``: ``method``, ``rank``, ``epochs``, ``seed``,
        ``learning_rate``, ``unjudged`` and so on. A candidate that is better than its parent becomes
        the current revision; the job's ``state`` says whether it did, and its ``reason`` why not. After
        ``seconds_max`` the job is returned as it is then, and goes on; 0 does not wait. ``on_progress`` is
        called with the job twice a second; without it a terminal or a notebook shows how far it is.

        With ``method="rl"`` the model learns from the ``reward`` of its replies to ``tasks``, of which one in
        eight is held out to judge it: ``ada.train(method="rl", reward="number",
        tasks=[{"prompt": "What is 3 + 4?", "answer": 7}, …])``.

        Raises ``InvalidRequest``, ``TrainingUnderWay`` and ``TrainingUnavailable``.
        """
        with shown(f"Training {self.name}") as say:
            training = self._model.train(
                tasks=tasks,
                operation=operation,
                seconds_max=seconds_max,
                on_progress=on_progress or TrainingProgress(say),
                **options,
            )
            return self._runner.run(training)

    def rebuild(
        self,
        *,
        seconds_max: float | None = None,
        on_progress: Callable[[TrainingJob], None] | None = None,
    ) -> TrainingJob:
        """Retrain the current revision from the base and what it learned from; see ``train``.

        On the base that it was trained on, a revision without a parent comes out bit for bit the same. On
        another base the model becomes one of that base. Raises ``RevisionNotFound`` for a model without a
        revision, and ``InvalidRequest`` for a revision that was not trained here, or whose log is no longer
        kept.
        """
        with shown(f"Training {self.name}") as say:
            tell = on_progress or TrainingProgress(say)
            return self._runner.run(self._model.rebuild(seconds_max=seconds_max, on_progress=tell))

    def evaluate(
        self, suite: str | Path | Sequence[Mapping[str, Any]] | None = None, revision: str = "latest"
    ) -> SuiteResult:
        """Ask the model its person's own suite, and return its replies and which of them pass.

        A ``suite`` is a file of JSON lines, or such lines as mappings: ``{"ask": "What is my dog called?",
        "expect": "Bruno"}``, with a ``check`` (``contains``, ``exact``, ``number`` or ``matches``) and a
        ``system`` text if wanted. It is stored with the model instead of an earlier one; without it the
        stored one is asked. From then on no training replaces a revision by one that fails what it passed.

        Each question is asked greedily, as a peek at a chat that begins with it: with the memory, corrections
        and what was told before. It leaves no trace. ``revision`` is an alias, a digest or its beginning, or
        ``base``. Raises ``InvalidRequest``, which names the first bad line, ``SuiteNotFound``,
        ``RevisionNotFound`` and ``ModelNotFound``.
        """
        with shown(f"Asking {self.name} its questions"):
            return self._runner.run(self._model.evaluate(suite, revision))

    def suite(self) -> Suite:
        """Return the stored suite, a ``SuiteQuestion`` for each line. Raises ``SuiteNotFound``."""
        return self._runner.run(self._model.suite())

    def remove_suite(self) -> None:
        """Remove the stored suite, if there is one."""
        self._runner.run(self._model.remove_suite())

    def share(self, sharing: Sharing | None) -> MemberView | None:
        """Let the model take part in answers of the population; None ends that.

        ``"votes"`` shares its votes, ``"texts"`` also the texts of its answers. Its memory and its log are
        never read for that. Raises ``InvalidRequest`` and ``ModelNotFound``.
        """
        return self._runner.run(self._model.share(sharing))

    def contribute(self, agrees: bool = True) -> Contribution:
        """Let the tenant's community learn from this model's liked replies; False withdraws that.

        What was agreed counts from the community's next training on. One that is under way when a person
        withdraws begins again without their text. Raises ``ModelNotFound``.
        """
        return self._runner.run(self._model.contribute(agrees))

    def contribution(self) -> Contribution:
        """Return whether the community may learn from this model. Raises ``ModelNotFound``."""
        return self._runner.run(self._model.contribution())

    def jobs(self) -> tuple[TrainingJob, ...]:
        """List the model's trainings, newest first."""
        return self._runner.run(self._model.jobs())

    def cancel_training(self) -> TrainingJob:
        """Cancel the training that is under way. Raises ``JobNotFound`` if there is none."""
        return self._runner.run(self._model.cancel_training())

    def rollback(self) -> ModelView:
        """Move ``latest`` back to the parent of its revision; turns learned since count as not learned.

        Raises ``RevisionNotFound`` for a model without a revision, or without that revision's parent.
        """
        return self._runner.run(self._model.rollback())

    def revisions(self) -> tuple[Revision, ...]:
        """List the revisions, oldest first."""
        return self._runner.run(self._model.revisions())

    def diff(self, one: str | None = None, other: str | None = None) -> tuple[LayerDifference, ...]:
        """Compare two revisions layer by layer: norms, distance and principal angles.

        Each is an alias, a digest or its beginning, or ``base``, which changes nothing. ``one`` None is the
        current revision, ``other`` None is the parent of ``one``. Raises ``RevisionNotFound``, and
        ``InvalidRequest`` for an ambiguous beginning.
        """
        return self._runner.run(self._model.diff(one, other))

    def export(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write the whole model to a file, see ``Population.export``."""
        return self._runner.run(self._model.export(path, overwrite=overwrite))

    def erase(self) -> None:
        """Erase the model, see ``Population.erase``. Raises ``ModelNotFound``."""
        self._runner.run(self._model.erase())

    def __repr__(self) -> str:
        return f"<personal model {self.id.tenant}/{self.id.name}>"


class ChatMethod:
    """The ``chat`` of a handle, called directly or through ``remote`` as on a Ray actor."""

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

        A text continues the ``conversation`` from the model's own log (default ``main``; ``"new"``, or None,
        begins with nothing before it). A sequence of messages is read exactly as it is. With ``stream`` the
        texts of the reply are returned as they are made: see ``ReplyStream``.

        Options: ``conversation``, ``alias``, ``operation`` (an idempotency key: the same key gives
        the same turn), ``turn_seconds_max`` (over HTTP at most the server's),
        ``response_format`` (a pydantic class or a JSON schema: a reply
        that is not cut off at ``max_tokens`` is JSON of it), ``tools``, ``tool_choice`` and
        ``parallel_tool_calls`` (in OpenAI's shape; ``Interaction.tool_calls`` has the calls),
        ``memory`` (``{"read": bool, "write": bool}``: whether the reply may use the model's memory and
        whether the turn goes into it; both are true by default),
        ``context`` (``{"retrieve": 3}``: the three turns of the model's log that fit the message best are put
        into the prompt; ``Interaction.retrieved`` has their positions. Whatever it says, the reply keeps to
        a correction of an earlier reply to nearly the same message, unless ``{"corrections": False}`` is
        given), and those of ``Sampling``
        (``max_tokens``, ``temperature``, ``top_p``, ``top_k``, ``seed``, ``stop``, ...); without them
        ``temperature``, ``top_p`` and ``top_k`` are as the base recommends.

        Raises ``InvalidRequest``, ``ModelNotFound``, ``MailboxFull``, ``PromptTooLong``,
        ``OperationConflict``, ``TurnExpired``, ``HostUnavailable``. Waits for a host that restarts meanwhile.
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
