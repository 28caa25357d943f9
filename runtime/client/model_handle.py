"""A personal model in Python: a handle that is used like that of a Ray actor."""

import time
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar, Unpack, cast

import ray

from populace.actors.errors import InvalidRequest
from populace.actors.feedback import Feedback, Opinion, thumb_of
from populace.actors.forgetting import Forgotten, MemoryAfter
from populace.actors.hosts import ModelView, Revision
from populace.actors.members import MemberView
from populace.actors.revision_names import find_compared
from populace.actors.reward_tasks import tasks_of
from populace.actors.training import TrainingJob, TrainingOptions
from populace.actors.turn import Interaction, ModelId, operation_of
from populace.client.chat_request import MessageLike, chat_request
from populace.client.options import ChatOptions, TrainOptions, check_options
from populace.hosting.directory import Directory
from populace.hosting.host_actor import RayHostClient
from populace.pictures.memory import PersonalMemory
from populace.policies.diversity.disclosure import Sharing
from populace.storage.records.errors import RevisionNotFound
from populace.storage.rows.ledger import FIRST_ALIAS

if TYPE_CHECKING:
    from populace.adapters.lora.comparing import LayerDifference

T = TypeVar("T")

POLL_SECONDS = 0.5


class Owner(Protocol):
    """The population that a handle is of: what it asks there, and what there is told of a model's name."""

    tenant: str
    directory: Directory

    def run(self, call: Coroutine[Any, Any, T]) -> T: ...

    def imported(self, adapter: str | Path) -> AbstractContextManager[Revision]: ...

    def export(self, name: str, path: str | Path, *, overwrite: bool = False) -> Path: ...

    def erase(self, name: str) -> None: ...

    def compare(self, one: str | None, other: str | None) -> "list[LayerDifference]": ...


class ModelHandle:
    """One personal model. ``ada.chat("hi")`` blocks, ``ada.chat.remote("hi")`` gives an ObjectRef."""

    def __init__(self, population: Owner, model: ModelId) -> None:
        self._population = population
        self.id = model
        self.chat = ChatMethod(population, model)

    @property
    def name(self) -> str:
        return self.id.name

    def show(self) -> ModelView:
        """Read what the model is and where it stands. Raises ``ModelNotFound``."""
        return self._population.run(self._population.directory.show_model(self.id))

    def log(self, *, start: int = 0, limit: int = 100) -> tuple[Interaction, ...]:
        """Read up to ``limit`` interactions, oldest first, at and after ``start``.

        A log whose beginning was compacted is read from ``show().log_start`` on.
        """
        call = self._population.directory.read_log(self.id, start=start, limit=limit)
        return self._population.run(call)

    @property
    def memory(self) -> PersonalMemory:
        """Read what the model remembers as of now; ``known()`` asks it. Raises ``ModelNotFound``."""
        memories = self._population.directory.memories
        view = self._population.run(memories.show(self.id))
        return PersonalMemory.of(view, lambda asked: self._population.run(memories.known(self.id, asked)))

    def memory_at(self, position: int) -> PersonalMemory:
        """Compute what the model remembered after ``position`` turns, from its log.

        Raises ``ModelNotFound``, and ``InvalidRequest`` for a position that the log does not keep.
        """
        call = self._population.directory.memories.show(self.id, position)
        return PersonalMemory.of(self._population.run(call))

    def restore_memory(self, position: int | None, *, operation: str | None = None) -> Interaction:
        """Set the memory to what it was after ``position`` turns, in a turn of its own; None empties it.

        With an ``operation`` a retry changes nothing. Raises as ``memory_at``; nothing has changed then.
        """
        call = self._population.directory.memories.restore(self.id, position, operation_of(operation))
        return self._population.run(call)

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
        reference = on.position if isinstance(on, Interaction) else on
        opinion = Opinion(thumb_of(thumb), rating, correction, reward)
        call = self._population.directory.give_feedback(self.id, reference, opinion, operation)
        return self._population.run(call)

    def opinions(self, *, start: int = 0, limit: int = 1000) -> tuple[Feedback, ...]:
        """Read the feedback on the turns at and after ``start``, in the log's order."""
        call = self._population.directory.read_feedback(self.id, start=start, limit=limit)
        return self._population.run(call)

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
        forgetting = self._population.directory.forgetting
        named = turns_named(what)
        if isinstance(named, str) and not confirm:
            return self._population.run(forgetting.find(self.id, named))
        call = forgetting.forget(self.id, named, operation_of(operation), memory=memory)
        return self._population.run(call)

    def fork(self, name: str) -> "ModelHandle":
        """Create a model that begins with all that this one is: log, memory, revisions and aliases.

        Raises ``ModelNotFound``, ``InvalidName`` and ``ModelExists``.
        """
        target = ModelId(self._population.tenant, name)
        content = self._population.run(self._population.directory.export_model(self.id))
        self._population.run(self._population.directory.import_model(target, content))
        return ModelHandle(self._population, target)

    def publish(self, adapter: str | Path, *, alias: str = "latest") -> Revision:
        """Import a PEFT LoRA directory or packed file as a revision, prewarm it, and move ``alias`` to it.

        Until it is ready the old revision answers; turns in flight finish on the one they began with.
        Raises ``AdapterInvalid``, ``AdapterMismatch``, ``ModelNotFound``, ``EngineUnavailable`` and
        ``EngineOverloaded``; the alias has not moved then.
        """
        with self._population.imported(adapter) as revision:
            self._population.run(self._population.directory.publish_revision(self.id, revision, alias))
        return replace(revision, readiness="ready")

    def move_alias(self, alias: str, revision: str) -> ModelView:
        """Move an alias to a revision that the model has, and prewarm that before, as ``publish`` does.

        ``revision`` is its digest, the beginning of it, or another alias. What the model has learned from
        stays as noted: ``rollback`` gives that back to the log. Raises ``InvalidName``, ``RevisionNotFound``,
        ``InvalidRequest``, ``AdapterMismatch``, ``EngineUnavailable`` and ``EngineOverloaded``; the alias has
        not moved then.
        """
        return self._population.run(self._population.directory.move_alias(self.id, alias, revision))

    def remove_alias(self, alias: str) -> ModelView:
        """Remove an alias other than ``latest``; its revision stays.

        Raises ``RevisionNotFound`` if there is none, and ``InvalidRequest`` for ``latest``.
        """
        return self._population.run(self._population.directory.remove_alias(self.id, alias))

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
        check_options(options, TrainOptions, "train")
        call = self._population.directory.jobs.ask(
            self.id, TrainingOptions(**options), operation, tasks_of(tasks)
        )
        job = self._population.run(call)
        give_up = None if seconds_max is None else time.monotonic() + seconds_max
        while job.is_open and (give_up is None or time.monotonic() < give_up):
            time.sleep(POLL_SECONDS)
            job = next(one for one in self.jobs() if one.number == job.number)
        return job

    def rebuild(self, *, seconds_max: float | None = None) -> TrainingJob:
        """Make the revision that answers again, from the base and what it learned from; see ``train``.

        On the base that it was trained on, a revision without a parent comes out to the bit. On another base
        the model is of that base then. Raises ``RevisionNotFound`` for a model that is the base's, and
        ``InvalidRequest`` for a revision that was not trained here, or whose log is not kept any more.
        """
        serving = self.show().aliases.get(FIRST_ALIAS)
        if serving is None:
            raise RevisionNotFound(self.name, FIRST_ALIAS)
        return self.train(rebuilds=serving, seconds_max=seconds_max)

    def share(self, sharing: Sharing | None) -> MemberView | None:
        """Have the model take part in answers of the population, or with None no longer.

        With ``"votes"`` what it votes for is told, with ``"texts"`` what it says as well. Its memory and its
        log are never read for that. Raises ``InvalidRequest`` and ``ModelNotFound``.
        """
        return self._population.run(self._population.directory.members.share(self.id, sharing))

    def jobs(self) -> tuple[TrainingJob, ...]:
        """The model's trainings, newest first."""
        return self._population.run(self._population.directory.jobs.of_model(self.id))

    def cancel_training(self) -> TrainingJob:
        """Cancel the training that is under way. Raises ``JobNotFound`` if there is none."""
        return self._population.run(self._population.directory.jobs.cancel(self.id))

    def rollback(self) -> ModelView:
        """Give ``latest`` back to the parent of the revision that it names, and what went into it to the log.

        Raises ``RevisionNotFound`` for a model that is the base's, or whose parent is elsewhere.
        """
        serving = self.show().aliases.get(FIRST_ALIAS)
        if serving is None:
            raise RevisionNotFound(self.name, FIRST_ALIAS)
        return self._population.run(self._population.directory.jobs.roll_back(self.id, serving))

    def revisions(self) -> tuple[Revision, ...]:
        """List the revisions, oldest first."""
        return self._population.run(self._population.directory.list_revisions(self.id))

    def diff(self, one: str | None = None, other: str | None = None) -> "list[LayerDifference]":
        """Compare two revisions layer by layer: norms, distance and principal angles.

        Each is an alias, a digest or its beginning, or ``base``, which changes nothing. ``one`` None is what
        answers, ``other`` None is the parent of ``one``. Raises ``RevisionNotFound``, and ``InvalidRequest``
        for a beginning that several have.
        """
        found = find_compared(self.name, self.revisions(), self.show().aliases, one or None, other)
        return self._population.compare(*found)

    def export(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write all of the model to a file, see ``Population.export``."""
        return self._population.export(self.name, path, overwrite=overwrite)

    def erase(self) -> None:
        """Erase the model, see ``Population.erase``. Raises ``ModelNotFound``."""
        self._population.erase(self.name)

    def __repr__(self) -> str:
        return f"<personal model {self.id.tenant}/{self.id.name}>"


class ChatMethod:
    """``chat`` of a handle, called plainly or through ``remote`` as on a Ray actor."""

    def __init__(self, population: Owner, model: ModelId) -> None:
        self._population = population
        self._model = model

    def __call__(self, message: str | Sequence[MessageLike], **options: Unpack[ChatOptions]) -> Interaction:
        """Make one turn and return it when it is durably in the log; ``str()`` of it is the reply.

        A text continues the ``conversation`` (default ``main``; None begins with nothing before
        it) from the model's own log. A sequence of messages is read exactly as it is.

        Options: ``conversation``, ``alias``, ``operation`` (an idempotency key: the same key gives
        the same turn), ``turn_seconds_max``, ``memory`` (``{"read": bool, "write": bool}``: whether the
        reply may use the model's memory and whether the turn goes into it; both are true by default),
        ``context`` (``{"retrieve": 3}``: so many turns of the model's log, those that fit the message best,
        are told of in the prompt; ``Interaction.retrieved`` has their positions), and those of ``Sampling``
        (``max_tokens``, ``temperature``, ``top_p``, ``top_k``, ``seed``, ``stop``, ...).

        Raises ``ModelNotFound``, ``MailboxFull``, ``PromptTooLong``, ``OperationConflict``,
        ``TurnExpired``, ``HostUnavailable``. A host that restarts meanwhile is waited for.
        """
        request = chat_request(self._model, message, **options)
        return self._population.run(self._population.directory.chat(request))

    def remote(
        self, message: str | Sequence[MessageLike], **options: Unpack[ChatOptions]
    ) -> "ray.ObjectRef[Interaction]":
        """Start a turn; ``ray.get`` or ``await`` the result. Not retried if the host restarts."""
        request = chat_request(self._model, message, **options)
        client = self._population.directory.client_of(self._model)
        assert isinstance(client, RayHostClient)
        return client.handle.call.remote("chat", request)


def turns_named(what: object) -> str | list[int]:
    """Read what a Python caller names turns by. Raises ``InvalidRequest`` for what names none."""
    if isinstance(what, str):
        return what
    if isinstance(what, Interaction):
        return [what.position]
    several = cast("Sequence[object]", what) if isinstance(what, Sequence) else [what]
    positions = [what] if isinstance(what, bytes) else list(several)
    # True is an int to Python, and not the position 1 to anybody.
    if not all(type(one) is int and one >= 0 for one in positions):
        raise InvalidRequest(f"Name turns by their positions or by words, not by {what!r:.80}.", "positions")
    return cast("list[int]", positions)
