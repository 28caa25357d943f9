"""The Python face: a population, and models in it that are used like Ray actor handles."""

from collections.abc import Coroutine, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack

from populace.actors.aggregation.ensemble import PopulationAnswer
from populace.actors.engine import BaseInfo
from populace.actors.hosts import HostStatistics, ModelView
from populace.actors.members import MemberView
from populace.actors.merging import MergedRevision
from populace.client.async_population import ARCHIVE_BYTES_MAX, AsyncPopulation
from populace.client.connection import TellVote
from populace.client.loop_thread import LoopThread
from populace.client.model_handle import ModelHandle
from populace.client.options import AskOptions

if TYPE_CHECKING:
    from populace.hosting.directory import Directory

T = TypeVar("T")


class Population:
    """All personal models of one tenant. Thread safe; close it, or use it as a context manager."""

    def __init__(self, population: AsyncPopulation, loop: LoopThread) -> None:
        """Use ``populace.connect``."""
        self._population = population
        self._loop = loop
        self.tenant = population.tenant
        self.base: BaseInfo = population.base

    @property
    def base_directory(self) -> Path:
        """Where the base model's files are on this machine. Raises ``InvalidRequest`` over HTTP."""
        return self._population.connection.base_directory

    @property
    def directory(self) -> "Directory":
        """The hosts themselves, with what operators ask of them. Raises ``InvalidRequest`` over HTTP."""
        return self._population.connection.directory

    def model(self, name: str) -> "ModelHandle":
        """Get a handle; the model need not exist yet, the first call on it says whether it does.

        Raises ``InvalidName`` for a name that no model can have.
        """
        return ModelHandle(self._loop, self._population.model(name))

    def create(
        self, name: str, *, adapter: str | Path | None = None, exist_ok: bool = False
    ) -> "ModelHandle":
        """Create a personal model, whose first revision is ``adapter``, a PEFT LoRA directory or packed file.

        With ``exist_ok`` a model that exists is returned as it is, and ``adapter`` is not published.
        Raises ``InvalidName``, ``ModelExists``, ``AdapterInvalid`` and ``AdapterMismatch``, and creates
        nothing then.
        """
        created = self._population.create(name, adapter=adapter, exist_ok=exist_ok)
        return ModelHandle(self._loop, self._loop.run(created))

    def models(self) -> Iterator[ModelView]:
        """Walk all models by name, a page at a time."""
        views = self._population.models()
        try:
            while (view := self._loop.run(anext(views, None))) is not None:
                yield view
        finally:
            if not self._loop.closed:
                self._loop.run(views.aclose())

    def erase(self, name: str) -> None:
        """Erase the model after its running turn, with all that its person said. Raises ``ModelNotFound``.

        Its data key is destroyed, so no backup that was made before can be read either.
        """
        self._loop.run(self._population.erase(name))

    def export(self, name: str, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write all that the model is and was told to a file, as of one moment, and answer its path.

        What is in it is not encrypted. Raises ``ModelNotFound``, ``InvalidRequest`` (the file exists) and
        ``DiskRefused``; the file is as it was then.
        """
        return self._loop.run(self._population.export(name, path, overwrite=overwrite))

    def import_model(
        self, path: str | Path, name: str | None = None, *, bytes_max: int = ARCHIVE_BYTES_MAX
    ) -> "ModelHandle":
        """Create a model from an exported file of at most ``bytes_max`` bytes, unpacked.

        It has the exported model's name unless ``name`` is given, and all of its log, memory,
        revisions and aliases. Raises ``ArchiveInvalid``, ``ModelExists``, ``InvalidName``, ``AdapterInvalid``
        and ``AdapterMismatch``; nothing is created then.
        """
        imported = self._population.import_model(path, name, bytes_max=bytes_max)
        return ModelHandle(self._loop, self._loop.run(imported))

    def fork(self, name: str, new_name: str) -> "ModelHandle":
        """Copy a model under a new name, see ``ModelHandle.fork``."""
        return ModelHandle(self._loop, self._loop.run(self._population.fork(name, new_name)))

    def members(self) -> tuple[MemberView, ...]:
        """Those of the models that take part in answers of the population, by name."""
        return self._loop.run(self._population.members())

    def ask(
        self,
        question: str,
        *,
        models: Sequence[str] | None = None,
        on_vote: TellVote | None = None,
        **options: Unpack[AskOptions],
    ) -> PopulationAnswer:
        """Have several models answer, and say what they come to together.

        ``options`` are the fields of ``Question``: ``k``, ``kind``, ``choices``, ``select``, ``combine`` and
        so on; with ``choices`` the kind is choice. ``models`` are who shall answer, instead of ``k`` that are
        chosen. ``on_vote`` is told what the votes so far come to, after each.

        Raises ``InvalidRequest``, ``PopulationTooSmall``, ``NoMember``, ``ModelNotFound`` and
        ``AdapterMismatch``.
        """
        return self._loop.run(self._population.ask(question, models=models, on_vote=on_vote, **options))

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
    ) -> MergedRevision:
        """Merge what members' adapters add to the base into a revision of the model ``into``, and answer it.

        ``into`` is created if there is none; the revision becomes its ``latest`` and names all that it comes
        from. ``weights`` are by name, without them the mean; for the rest see ``MergeOptions``. Merged
        weights may say what a member was told: all have to share texts.

        Raises ``InvalidRequest``, ``NoMember``, ``ModelNotFound``, ``AdapterInvalid``, and what
        ``ModelHandle.publish`` raises. Asked for ``linear`` it warns, and makes the sum.
        """
        return self._loop.run(
            self._population.merge(
                models, into, weights=weights, method=method, rank=rank, density=density, seed=seed
            )
        )

    def statistics(self) -> tuple[HostStatistics, ...]:
        return self._loop.run(self._population.statistics())

    def close(self) -> None:
        """Let go of the connection; the population goes on. Safe to call twice.

        Ray is left too, if ``connect`` joined it: a process that stays in a Ray that ends is ended by it.
        """
        if not self._loop.closed:
            self._loop.run(self._population.close())
            self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        """Run a call of the ``directory`` to its end, from any thread."""
        return self._loop.run(call)
