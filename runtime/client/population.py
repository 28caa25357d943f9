# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# Ray's API is partly untyped.
"""The Python face: a population, and models in it that are used like Ray actor handles."""

import asyncio
import logging
import threading
import time
import warnings
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, aclosing, nullcontext, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack

import ray
from ray._raylet import Config  # type: ignore[attr-defined]  # a compiled module
from ray.exceptions import RayError

from populace.actors.aggregation.aggregator import Aggregator
from populace.actors.aggregation.ensemble import PopulationAnswer
from populace.actors.aggregation.question import Question
from populace.actors.engine import Message
from populace.actors.errors import ClusterNotFound, InvalidRequest
from populace.actors.hosts import HostStatistics, ModelView, Revision
from populace.actors.keepers.catalogue import check_model_name
from populace.actors.members import MemberView, revision_to_merge
from populace.actors.turn import ModelId
from populace.client.model_handle import ModelHandle
from populace.client.options import AskOptions, check_options
from populace.engines.client import ReplicaEngine
from populace.hosting.aggregation import aggregator_over
from populace.hosting.directory import Directory
from populace.hosting.host_actor import NAMESPACE, PopulationInfo, RayHostClient, host_error, host_name
from populace.settings.running import find_running
from populace.settings.settings import Settings, ask_for_ray_token, enter_quiet_environment
from populace.storage.records.errors import ModelExists, ModelNotFound
from populace.storage.records.files import disk_named, replaced_durably
from populace.storage.store import Store

if TYPE_CHECKING:
    from populace.adapters.lora.comparing import LayerDifference
    from populace.adapters.lora.merged_revision import MergedRevision

T = TypeVar("T")

DEFAULT_TENANT = "local"
ARCHIVE_BYTES_MAX = 64 * 2**30
"""Whoever imports here has the machine anyway; a file that claims more is not of a personal model."""

PAGE = 1000
CLOSE_SECONDS = 5.0
"""For what waits to hear that it shall not."""


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
        self._engine: ReplicaEngine | None = None
        self._aggregator: Aggregator | None = None
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

    def create(
        self, name: str, *, adapter: str | Path | None = None, exist_ok: bool = False
    ) -> "ModelHandle":
        """Create a personal model, whose first revision is ``adapter``, a PEFT LoRA directory or packed file.

        With ``exist_ok`` a model that exists is returned as it is, and ``adapter`` is not published.
        Raises ``InvalidName``, ``ModelExists``, ``AdapterInvalid`` and ``AdapterMismatch``, and creates
        nothing then.
        """
        handle = self.model(name)
        with suppress(ModelExists) if exist_ok else nullcontext():
            if adapter is None:
                self.run(self.directory.create_model(handle.id))
            else:
                with self.imported(adapter) as revision:
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
        return self.model(name).fork(new_name)

    def compare(self, one: str | None, other: str | None) -> "list[LayerDifference]":
        """Compare two adapters of this store by their digests, None for the base."""
        # Torch loads here, for those who compare.
        from populace.adapters.lora.comparing import compare_stored

        return compare_stored(
            Store.adapters(Path(self._info.data_directory)),
            Path(self._info.base_directory),
            self.base.fingerprint,
            one,
            other,
            rank_max=self._info.rank_max,
        )

    def members(self) -> tuple[MemberView, ...]:
        """Those of the models that take part in answers of the population, by name."""
        return self.run(self.directory.members.of_tenant(self.tenant))

    def ask(
        self,
        question: str,
        *,
        models: Sequence[str] | None = None,
        on_vote: Callable[[PopulationAnswer], None] | None = None,
        **options: Unpack[AskOptions],
    ) -> PopulationAnswer:
        """Have several models answer, and say what they come to together.

        ``options`` are the fields of ``Question``: ``k``, ``kind``, ``choices``, ``select``, ``combine`` and
        so on; with ``choices`` the kind is choice. ``models`` are who shall answer, instead of ``k`` that are
        chosen. ``on_vote`` is told what the votes so far come to, after each.

        Raises ``InvalidRequest``, ``PopulationTooSmall``, ``NoMember``, ``ModelNotFound`` and
        ``AdapterMismatch``.
        """
        check_options(options, AskOptions, "ask")
        given: dict[str, Any] = dict(options)
        if given.get("choices"):
            given = {"kind": "choice", **given, "choices": tuple(given["choices"])}
        asked = Question((Message("user", question),), **given)
        return self.run(self._ask(asked, models, on_vote))

    def merge(
        self,
        models: Sequence[str],
        into: str,
        *,
        weights: Mapping[str, float] | None = None,
        method: str = "sum",
        rank: int | None = None,
        density: float = 0.5,
        seed: int = 0,
    ) -> "MergedRevision":
        """Merge what members' adapters add to the base into a revision of the model ``into``, and answer it.

        ``into`` is created if there is none; the revision becomes its ``latest`` and names all that it comes
        from. ``weights`` are by name, without them the mean; for the rest see ``MergeOptions``. Merged
        weights may say what a member was told: all have to share texts.

        Raises ``InvalidRequest``, ``NoMember``, ``ModelNotFound``, ``AdapterInvalid``, and what
        ``ModelHandle.publish`` raises. Asked for ``linear`` it warns, and makes the sum.
        """
        # Torch loads here, for those who merge.
        from populace.adapters.lora.merged_revision import merged_adapter
        from populace.adapters.lora.merging import LINEAR, LINEAR_WARNING, MergeOptions, weights_of

        if method == LINEAR:
            warnings.warn(LINEAR_WARNING, stacklevel=2)
            method = "sum"
        names = list(dict.fromkeys(models))
        target = self.model(into)
        with merged_adapter(
            [revision_to_merge(name, self._member(name)) for name in names],
            weights_of(weights, names),
            MergeOptions(method, rank, density, seed),  # type: ignore[arg-type]  # it is checked there
            Path(self._info.data_directory),
            Path(self._info.base_directory),
            self.base.fingerprint,
            rank_max=self._info.rank_max,
            now_ms=time.time_ns() // 1_000_000,
        ) as merged:
            try:
                self.run(self.directory.publish_revision(target.id, merged.revision))
            except ModelNotFound:
                self.run(self.directory.create_model(target.id, merged.revision))
        return merged

    def _member(self, name: str) -> MemberView | None:
        return self.run(self.directory.members.of_model(self.model(name).id))

    async def _ask(
        self,
        question: Question,
        models: Sequence[str] | None,
        on_vote: Callable[[PopulationAnswer], None] | None,
    ) -> PopulationAnswer:
        if self._aggregator is None:
            self._engine = ReplicaEngine(self.base)
            data = Path(self._info.data_directory)
            self._aggregator = aggregator_over(self.directory, self._engine, data)
        found: PopulationAnswer | None = None
        async with aclosing(self._aggregator.ask(self.tenant, question, models)) as answers:
            async for found in answers:
                if on_vote is not None:
                    on_vote(found)
        assert found is not None, "there is one at least"
        return found

    def statistics(self) -> tuple[HostStatistics, ...]:
        return self.run(self.directory.statistics())

    def close(self) -> None:
        """Let go of the connection; the population goes on. Safe to call twice.

        Ray is left too, if ``connect`` joined it: a process that stays in a Ray that ends is ended by it.
        """
        if self._loop.is_closed():
            return
        self.run(self._end_tasks())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        if self._owns_ray:
            ray.shutdown()

    async def _end_tasks(self) -> None:
        """End what still waits on the loop, as ``asyncio.run`` does, or each would be told as destroyed."""
        if self._engine is not None:
            # Its sockets are the loop's.
            self._engine.close()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=CLOSE_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def imported(self, adapter: str | Path) -> AbstractContextManager[Revision]:
        """Check an adapter and keep its file for the time of the block, see ``ModelHandle.publish``."""
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
        """Run a call of the directory's to its end, from any thread."""
        return asyncio.run_coroutine_threadsafe(call, self._loop).result()


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
