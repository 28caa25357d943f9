"""The ``Connection`` protocol: a population in this cluster or behind an HTTP address."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from populace.actors.aggregation.ensemble import PopulationAnswer
from populace.actors.aggregation.question import Question
from populace.actors.aggregation.report import PopulationReport
from populace.actors.engine import BaseInfo
from populace.actors.hosts import ClientHosts, HostStatistics, ModelView, Revision
from populace.actors.merging import LayerDifference, MergedRevision
from populace.actors.request_log import RequestLog
from populace.actors.suites import SuiteResult
from populace.actors.turn import ChatRequest, Interaction, ModelId
from populace.client.streaming import AsyncReplyStream

if TYPE_CHECKING:
    import ray

    from populace.hosting.directory.directory import Directory

TellVote = Callable[[PopulationAnswer], None]


class MergeRequest(NamedTuple):
    """A merge of members: ``weights`` are by member name, None is the mean; see ``MergeOptions``."""

    models: tuple[str, ...]
    into: str
    weights: Mapping[str, float] | None
    method: str
    rank: int | None
    density: float
    seed: int


class Connection(Protocol):
    """A way to a population, used on one event loop.

    ``hosts`` has the operations on one model; those on files, engines or several models are methods here.
    """

    tenant: str
    base: BaseInfo
    turn_seconds_max: float
    """How long a turn may take if its caller does not say."""

    @property
    def base_directory(self) -> Path:
        """Return the directory of the base. Raises ``InvalidRequest`` if it is on another machine."""
        ...

    @property
    def directory(self) -> "Directory":
        """Return the directory of all hosts. Raises ``InvalidRequest`` over HTTP, without Ray."""
        ...

    @property
    def hosts(self) -> ClientHosts: ...

    async def stream(self, request: ChatRequest) -> AsyncReplyStream:
        """Begin a turn and return its reply as a stream. Raises what ``chat`` raises."""
        ...

    def remote_chat(self, request: ChatRequest) -> "ray.ObjectRef[Interaction]":
        """Start a turn on the model's host. Raises ``InvalidRequest`` over HTTP, without Ray."""
        ...

    async def ask(
        self, question: Question, models: Sequence[str] | None, on_vote: TellVote | None
    ) -> PopulationAnswer: ...

    async def report(self) -> PopulationReport: ...

    async def request_log(self, request_id: str) -> RequestLog: ...

    async def evaluate(self, model: ModelId, revision: str) -> SuiteResult:
        """Ask a revision the model's suite. Raises ``SuiteNotFound`` and ``RevisionNotFound``."""
        ...

    async def fork(self, model: ModelId, name: str) -> ModelView: ...

    async def publish(
        self, model: ModelId, adapter: Path, alias: str = "latest", *, create: bool = False
    ) -> Revision:
        """Publish an adapter's directory or packed file; with ``create`` as a new model's first."""
        ...

    async def diff(
        self, model: ModelId, one: str | None, other: str | None
    ) -> tuple[LayerDifference, ...]: ...

    async def merge(self, request: MergeRequest) -> MergedRevision: ...

    async def export(self, model: ModelId, target: Path) -> None:
        """Write the model's archive to a new or existing file, which is unchanged on an error."""
        ...

    async def import_model(self, path: Path, name: str | None) -> ModelView: ...

    async def statistics(self) -> tuple[HostStatistics, ...]: ...

    async def close(self) -> None: ...
