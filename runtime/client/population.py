"""The Python interface: a population, and models in it that are used like Ray actor handles."""

from collections.abc import Coroutine, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack

from populace.actors.aggregation.ensemble import PopulationAnswer
from populace.actors.aggregation.report import PopulationReport
from populace.actors.engine import BaseInfo
from populace.actors.hosts import HostStatistics, ModelView
from populace.actors.members import MemberView
from populace.actors.merging import MergedRevision
from populace.actors.request_log import RequestLog
from populace.client.async_population import AsyncPopulation
from populace.client.connection import TellVote
from populace.client.loop_thread import LoopThread
from populace.client.model_handle import ModelHandle
from populace.client.options import AskOptions
from populace.settings.signals import kept_sigterm

if TYPE_CHECKING:
    from populace.hosting.directory.directory import Directory

T = TypeVar("T")


class Population:
    """All personal models of one tenant. Thread safe; close it, or use it as a context manager."""

    def __init__(self, population: AsyncPopulation, loop: LoopThread) -> None:
        """Use ``populace.connect``."""
        self._population = population
        self._loop = loop
        self.tenant: str = population.tenant
        self.base: BaseInfo = population.base

    @property
    def base_directory(self) -> Path:
        """Return the directory of the base model on this machine. Raises ``InvalidRequest`` over HTTP."""
        return self._population.connection.base_directory

    @property
    def directory(self) -> "Directory":
        """Return the directory of the hosts, for operators. Raises ``InvalidRequest`` over HTTP."""
        return self._population.connection.directory

    def model(self, name: str) -> "ModelHandle":
        """Return a handle; whether the model exists is found out by the first call on it.

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

    def models(self, prefix: str = "") -> Iterator[ModelView]:
        """Walk all models whose names begin with ``prefix`` by name, a page at a time.

        A ``RuntimeWarning`` names what the list does without, as it is damaged.
        """
        views = self._population.models(prefix)
        try:
            while (view := self._loop.run(anext(views, None))) is not None:
                yield view
        finally:
            if not self._loop.closed:
                self._loop.run(views.aclose())

    def erase(self, name: str) -> None:
        """Erase the model after its running turn, and everything its person said. Raises ``ModelNotFound``.

        Its data key is destroyed, so no backup that was made before can be read either.
        """
        self._loop.run(self._population.erase(name))

    def export(self, name: str, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write the whole model, with its log, to a file, as of one moment, and return the file's path.

        The file is not encrypted. Raises ``ModelNotFound``, ``InvalidRequest`` (the file exists) and
        ``DiskRefused``, and leaves an existing file unchanged then.
        """
        return self._loop.run(self._population.export(name, path, overwrite=overwrite))

    def import_model(self, path: str | Path, name: str | None = None) -> "ModelHandle":
        """Create a model from an exported file; how large it may be is the server's setting.

        It has the exported model's name unless ``name`` is given, and all of its log, memory,
        revisions and aliases. Raises ``ArchiveInvalid``, ``ModelExists``, ``InvalidName``, ``AdapterInvalid``
        and ``AdapterMismatch``; nothing is created then.
        """
        imported = self._population.import_model(path, name)
        return ModelHandle(self._loop, self._loop.run(imported))

    def fork(self, name: str, new_name: str) -> "ModelHandle":
        """Copy a model under a new name, see ``ModelHandle.fork``."""
        return ModelHandle(self._loop, self._loop.run(self._population.fork(name, new_name)))

    def members(self) -> tuple[MemberView, ...]:
        """List the models that take part in answers of the population, by name."""
        return self._loop.run(self._population.members())

    def report(self) -> PopulationReport:
        """Report which members answer the probes alike, and what more voters are worth. No model is asked."""
        return self._loop.run(self._population.report())

    def request_log(self, request_id: str) -> RequestLog:
        """Return what the server has logged of the requests of this id, an ``X-Request-Id``, and their trace.

        Raises ``RequestNotFound`` if it has nothing of this tenant's, ``Refused`` while another one is looked
        up, and ``InvalidRequest`` for what can be no id.
        """
        return self._loop.run(self._population.request_log(request_id))

    def ask(
        self,
        question: str,
        *,
        models: Sequence[str] | None = None,
        on_vote: TellVote | None = None,
        **options: Unpack[AskOptions],
    ) -> PopulationAnswer:
        """Ask several models, and return their combined answer.

        ``options`` are the fields of ``Question``: ``k``, ``kind``, ``choices``, ``select``, ``combine`` and
        so on; with ``choices`` the kind is choice. ``models`` names the members that answer,
        instead of ``k`` chosen ones. ``on_vote`` is called after each vote with the answer so far.

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
        """Merge what members' adapters add to the base into a revision of the model ``into``; returns it.

        ``into`` is created if it does not exist; the revision becomes its ``latest`` and names its sources.
        ``weights`` are by member name, without them the mean is taken; for the rest see ``MergeOptions``.
        Merged weights may reveal what a member was told, so all members have to share texts.

        Raises ``InvalidRequest``, ``NoMember``, ``ModelNotFound``, ``AdapterInvalid``, and what
        ``ModelHandle.publish`` raises. For the method ``linear`` it warns, and makes the sum.
        """
        return self._loop.run(
            self._population.merge(
                models, into, weights=weights, method=method, rank=rank, density=density, seed=seed
            )
        )

    def statistics(self) -> tuple[HostStatistics, ...]:
        return self._loop.run(self._population.statistics())

    def close(self) -> None:
        """Close the connection; the population keeps running. Safe to call twice.

        Also leaves Ray if ``connect`` joined it, because Ray ends the processes in it when it ends.
        """
        if not self._loop.closed:
            with kept_sigterm():  # the loop has a thread of its own, which cannot
                self._loop.run(self._population.close())
            self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<population {self.tenant} on {self.base.name}{', closed' if self._loop.closed else ''}>"

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        """Run a call of the ``directory`` to its end, from any thread."""
        return self._loop.run(call)
