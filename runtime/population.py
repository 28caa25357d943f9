# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# Ray's API is partly untyped.
"""The Python face: a population, and models in it that are used like Ray actor handles."""

import asyncio
import logging
import threading
import time
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

import ray
from ray._raylet import Config  # type: ignore[attr-defined]  # a compiled module
from ray.exceptions import RayError

from populace.actors.catalogue import check_model_name
from populace.actors.errors import ClusterNotFound, InvalidRequest
from populace.actors.feedback import Feedback, Opinion
from populace.actors.hosts import HostStatistics, ModelView, Revision
from populace.actors.turn import Interaction, ModelId, operation_of
from populace.chat_request import MessageLike, chat_request
from populace.config import Settings, ask_for_ray_token, enter_quiet_environment
from populace.directory import Directory
from populace.host_actor import NAMESPACE, PopulationInfo, RayHostClient, host_error, host_name
from populace.memory_picture import PersonalMemory
from populace.running import find_running
from populace.storage.files import disk_named, replaced_durably

T = TypeVar("T")

DEFAULT_TENANT = "local"
ARCHIVE_BYTES_MAX = 64 * 2**30
"""Whoever imports here has the machine anyway; a file that claims more is not of a personal model."""

PAGE = 1000


class Population:
    """All personal models of one tenant. Thread safe; close it, or use it as a context manager."""

    def __init__(
        self, info: PopulationInfo, handles: Sequence[Any], *, tenant: str, owns_ray: bool = False
    ) -> None:
        """Use ``populace.connect``."""
        self._owns_ray = owns_ray
        self.tenant = tenant
        self.base = info.base
        self._info = info
        clients = [RayHostClient(handle, host_name(index)) for index, handle in enumerate(handles)]
        self.directory = Directory(clients, shard_count=info.shards)
        # Calls share messages per host, which needs one event loop for all threads.
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="populace", daemon=True)
        self._thread.start()

    @property
    def base_directory(self) -> Path:
        """Where the base model's files are on the machine that serves it."""
        return Path(self._info.base_directory)

    def model(self, name: str) -> "ModelHandle":
        """Get a handle; the model need not exist yet, the first call on it says whether it does.

        Raises ``InvalidName`` for a name that no model can have.
        """
        model = ModelId(self.tenant, name)
        check_model_name(model)
        return ModelHandle(self, model)

    def create(self, name: str, *, adapter: str | Path | None = None) -> "ModelHandle":
        """Create a personal model, whose first revision is ``adapter``, a PEFT LoRA directory or packed file.

        Raises ``InvalidName``, ``ModelExists``, ``AdapterInvalid``, ``AdapterMismatch``; nothing is
        created then.
        """
        handle = self.model(name)
        if adapter is None:
            self.run(self.directory.create_model(handle.id))
        else:
            with self._imported(adapter) as revision:
                self.run(self.directory.create_model(handle.id, revision))
        return handle

    def models(self) -> Iterator[ModelView]:
        """Walk all models by name, a page at a time."""
        after: str | None = None
        while True:
            page = self.run(self.directory.list_models(self.tenant, after=after, limit=PAGE))
            yield from page.models
            if page.after is None:
                return
            after = page.after

    def erase(self, name: str) -> None:
        """Erase the model after its running turn, with all that its person said. Raises ``ModelNotFound``.

        Its data key is destroyed, so no backup that was made before can be read either.
        """
        self.run(self.directory.erase_model(self.model(name).id))

    def export(self, name: str, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write all that the model is and was told to a file, as of one moment, and answer its path.

        What is in it is not encrypted. Raises ``ModelNotFound``, ``InvalidRequest`` (the file exists) and
        ``DiskRefused``; the file is as it was then.
        """
        from populace.archive.exporting import export_archive

        model, target = self.model(name).id, Path(path).absolute()
        if target.exists() and not overwrite:
            raise InvalidRequest(f"The file {target} exists already.", "path")
        with disk_named(target), replaced_durably(target) as file:
            export_archive(
                file,
                model.name,
                Path(self._info.data_directory),
                lambda: self.run(self.directory.export_model(model)),
            )
        return target

    def import_model(
        self, path: str | Path, name: str | None = None, *, bytes_max: int = ARCHIVE_BYTES_MAX
    ) -> "ModelHandle":
        """Create a model from an exported file of at most ``bytes_max`` bytes, unpacked.

        It has the exported model's name unless ``name`` is given, and all of its log, memory,
        revisions and aliases. Raises ``ArchiveInvalid``, ``ModelExists``, ``InvalidName``, ``AdapterInvalid``
        and ``AdapterMismatch``; nothing is created then.
        """
        from populace.archive.adapter_check import check_adapters
        from populace.archive.importing import Destination, import_archive
        from populace.archive.reading import open_archive_file

        destination = Destination(
            Path(self._info.data_directory),
            Path(self._info.base_directory),
            self.base.fingerprint,
            self._info.rank_max,
        )
        with open_archive_file(Path(path), bytes_max=bytes_max) as archive:
            view = import_archive(
                archive,
                self.tenant,
                name,
                destination,
                check=check_adapters,
                create=lambda model, content: self.run(self.directory.import_model(model, content)),
            )
        return ModelHandle(self, view.model)

    def fork(self, name: str, new_name: str) -> "ModelHandle":
        """Copy a model under a new name, see ``ModelHandle.fork``."""
        source, target = self.model(name), self.model(new_name)
        content = self.run(self.directory.export_model(source.id))
        self.run(self.directory.import_model(target.id, content))
        return target

    def statistics(self) -> tuple[HostStatistics, ...]:
        return self.run(self.directory.statistics())

    def close(self) -> None:
        """Let go of the connection; the population goes on. Safe to call twice.

        Ray is left too, if ``connect`` joined it: a process that stays in a Ray that ends is ended by it.
        """
        if self._loop.is_closed():
            return
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        if self._owns_ray:
            ray.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _imported(self, adapter: str | Path) -> AbstractContextManager[Revision]:
        # Torch and transformers load here, for those who bring an adapter.
        from populace.adapters.publishing import imported_adapter

        return imported_adapter(
            Path(adapter),
            Path(self._info.data_directory),
            Path(self._info.base_directory),
            self.base.fingerprint,
            rank_max=self._info.rank_max,
            now_ms=time.time_ns() // 1_000_000,
        )

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(call, self._loop).result()


class ModelHandle:
    """One personal model. ``ada.chat("hi")`` blocks, ``ada.chat.remote("hi")`` gives an ObjectRef."""

    def __init__(self, population: Population, model: ModelId) -> None:
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
        """Read what the model remembers, as of its last turn. Raises ``ModelNotFound``."""
        view = self._population.run(self._population.directory.show_memory(self.id))
        return PersonalMemory.of(view)

    def memory_at(self, position: int) -> PersonalMemory:
        """Compute what the model remembered after ``position`` turns, from its log.

        Raises ``ModelNotFound``, and ``InvalidRequest`` for a position that the log does not keep.
        """
        call = self._population.directory.show_memory(self.id, position)
        return PersonalMemory.of(self._population.run(call))

    def restore_memory(self, position: int | None, *, operation: str | None = None) -> Interaction:
        """Set the memory to what it was after ``position`` turns, in a turn of its own; None empties it.

        With an ``operation`` a retry changes nothing. Raises as ``memory_at``; nothing has changed then.
        """
        call = self._population.directory.restore_memory(self.id, position, operation_of(operation))
        return self._population.run(call)

    def feedback(
        self,
        on: Interaction | int | str,
        *,
        thumb: Literal["up", "down"] | None = None,
        rating: float | None = None,
        correction: str | None = None,
        reward: float | None = None,
        operation: str | None = None,
    ) -> Feedback:
        """Say what somebody thought of a reply: ``on`` is the turn, its position or its completion id.

        A ``rating`` is from 0 to 1, ``correction`` what the reply should have been, ``reward`` any number.
        The same feedback again is the same; with an ``operation`` only a retry is. Raises
        ``InvalidRequest``, ``InteractionNotFound``, ``FeedbackFull`` and ``OperationConflict``.
        """
        reference = on.position if isinstance(on, Interaction) else on
        opinion = Opinion(None if thumb is None else thumb == "up", rating, correction, reward)
        call = self._population.directory.give_feedback(self.id, reference, opinion, operation)
        return self._population.run(call)

    def opinions(self, *, start: int = 0, limit: int = 1000) -> tuple[Feedback, ...]:
        """Read the feedback on the turns at and after ``start``, in the log's order."""
        call = self._population.directory.read_feedback(self.id, start=start, limit=limit)
        return self._population.run(call)

    def fork(self, name: str) -> "ModelHandle":
        """Create a model that begins with all that this one is: log, memory, revisions and aliases.

        Raises ``ModelNotFound``, ``InvalidName`` and ``ModelExists``.
        """
        return self._population.fork(self.name, name)

    def publish(self, adapter: str | Path, *, alias: str = "latest") -> Revision:
        """Import a PEFT LoRA directory or packed file as a revision, prewarm it, and move ``alias`` to it.

        Until it is ready the old revision answers; turns in flight finish on the one they began with.
        Raises ``AdapterInvalid``, ``AdapterMismatch``, ``ModelNotFound``, ``EngineUnavailable`` and
        ``EngineOverloaded``; the alias has not moved then.
        """
        with self._population._imported(adapter) as revision:
            self._population.run(self._population.directory.publish_revision(self.id, revision, alias))
        return replace(revision, readiness="ready")

    def revisions(self) -> tuple[Revision, ...]:
        """List the revisions, oldest first."""
        return self._population.run(self._population.directory.list_revisions(self.id))

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

    def __init__(self, population: Population, model: ModelId) -> None:
        self._population = population
        self._model = model

    def __call__(self, message: str | Sequence[MessageLike], **options: Any) -> Interaction:
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

    def remote(self, message: str | Sequence[MessageLike], **options: Any) -> "ray.ObjectRef[Interaction]":
        """Start a turn; ``ray.get`` or ``await`` the result. Not retried if the host restarts."""
        request = chat_request(self._model, message, **options)
        client = self._population.directory.client_of(self._model)
        assert isinstance(client, RayHostClient)
        return client.handle.call.remote("chat", request)


def connect(
    address: str | None = None, *, tenant: str = DEFAULT_TENANT, data: str | Path | None = None
) -> Population:
    """Connect to a running Populace.

    ``address`` is a Ray address; None takes the Populace of this user that serves the data
    directory ``data`` (default: POPULACE_DATA) on this machine. Connecting is inside the cluster's
    trust boundary: it needs no API key, and ``tenant`` says whose models are meant. Raises
    ``ClusterNotFound``.
    """
    enter_quiet_environment()
    # A Ray that `populace serve` started asks for its user's token, which lies in their home. Ray
    # read the variable when it was imported; it does the same for a cluster of its own.
    if address is None and ask_for_ray_token():
        Config.initialize("")
    target = address or find_running(Settings.from_environment(data=data).data).ray_address
    joins_ray = not ray.is_initialized()
    if joins_ray:
        try:
            ray.init(address=target, namespace=NAMESPACE, logging_level=logging.ERROR, log_to_driver=False)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise ClusterNotFound(target, str(error).split("\n", 1)[0]) from error
    info: PopulationInfo = _described(_host(target, 0))
    handles = [_host(target, index) for index in range(info.hosts)]
    return Population(info, handles, tenant=tenant, owns_ray=joins_ray)


def _host(address: str, index: int) -> Any:
    try:
        return ray.get_actor(host_name(index), namespace=NAMESPACE)
    except ValueError:
        raise ClusterNotFound(
            address, "Ray runs there, but no Populace. Start it with `populace serve`."
        ) from None


def _described(handle: Any) -> PopulationInfo:
    try:
        return ray.get(handle.describe.remote())
    except RayError as error:
        raise host_error(host_name(0), error) from error
