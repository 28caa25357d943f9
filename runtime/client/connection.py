"""The ``Connection`` protocol: a population in this cluster or behind an HTTP address."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from populace.actors.aggregation.ensemble import PopulationAnswer
from populace.actors.aggregation.question import Question
from populace.actors.aggregation.report import PopulationReport
from populace.actors.contributors import Contribution
from populace.actors.engine import BaseInfo
from populace.actors.feedback import Feedback, Opinion
from populace.actors.forgetting import Forgotten, MemoryAfter
from populace.actors.hosts import HostStatistics, ModelPage, ModelView, Revision
from populace.actors.known import SURE_MIN, Known
from populace.actors.members import MemberView
from populace.actors.memories import MemoryView
from populace.actors.merging import LayerDifference, MergedRevision
from populace.actors.peek import Peek
from populace.actors.request_log import RequestLog
from populace.actors.reward_tasks import RewardTask
from populace.actors.suites import Suite, SuiteResult
from populace.actors.training import TrainingJob
from populace.actors.training_options import TrainingOptions
from populace.actors.turn import ChatRequest, Interaction, ModelId
from populace.client.streaming import AsyncReplyStream
from populace.policies.diversity.disclosure import Sharing

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


class Jobs(Protocol):
    """The part of ``TrainingJobs`` that a client uses."""

    async def ask(
        self,
        model: ModelId,
        options: TrainingOptions,
        key: str | None = None,
        tasks: Sequence[RewardTask] = (),
    ) -> TrainingJob: ...

    async def cancel(self, model: ModelId) -> TrainingJob: ...

    async def of_model(self, model: ModelId) -> tuple[TrainingJob, ...]: ...

    async def roll_back(self, model: ModelId, revision: str) -> ModelView: ...


class Members(Protocol):
    """The part of ``actors.members.Members`` that a client uses."""

    async def share(self, model: ModelId, sharing: Sharing | None) -> MemberView | None: ...

    async def of_tenant(self, tenant: str) -> tuple[MemberView, ...]: ...


class Contributors(Protocol):
    """The part of ``actors.contributors.Contributors`` that a client uses."""

    async def consent(self, model: ModelId, *, agrees: bool) -> Contribution: ...

    async def of_model(self, model: ModelId) -> Contribution: ...


class Memories(Protocol):
    """The part of ``actors.memories.Memories`` that a client uses."""

    async def show(self, model: ModelId, position: int | None = None) -> MemoryView: ...

    async def restore(self, model: ModelId, position: int | None, operation: str) -> Interaction: ...

    async def known(
        self, model: ModelId, questions: Sequence[str], *, sure_min: float = SURE_MIN, wait: bool = False
    ) -> Known: ...


class Forgetting(Protocol):
    """The part of ``actors.forgetting.Forgetting`` that a client uses."""

    async def find(self, model: ModelId, words: str) -> Forgotten: ...

    async def forget(
        self, model: ModelId, what: str | Sequence[int], operation: str, *, memory: MemoryAfter = "folded"
    ) -> Forgotten: ...


class Suites(Protocol):
    """The part of ``actors.suites.Suites`` that a client uses."""

    async def show(self, model: ModelId) -> Suite: ...

    async def keep(self, model: ModelId, suite: Suite) -> Suite: ...

    async def remove(self, model: ModelId) -> None: ...


class ClientHosts(Protocol):
    """The part of ``Hosts`` that a client uses; it raises the same errors."""

    @property
    def jobs(self) -> Jobs: ...

    @property
    def members(self) -> Members: ...

    @property
    def contributors(self) -> Contributors: ...

    @property
    def memories(self) -> Memories: ...

    @property
    def forgetting(self) -> Forgetting: ...

    @property
    def suites(self) -> Suites: ...

    async def chat(self, request: ChatRequest) -> Interaction: ...

    async def peek(self, request: ChatRequest) -> Peek: ...

    async def create_model(self, model: ModelId) -> ModelView: ...

    async def show_model(self, model: ModelId) -> ModelView: ...

    async def list_models(
        self, tenant: str, *, after: str | None = None, limit: int = 100, prefix: str = ""
    ) -> ModelPage: ...

    async def erase_model(self, model: ModelId) -> None: ...

    async def read_log(
        self, model: ModelId, *, start: int = 0, limit: int = 100
    ) -> tuple[Interaction, ...]: ...

    async def give_feedback(
        self, model: ModelId, on: int | str, opinion: Opinion, key: str | None = None
    ) -> Feedback: ...

    async def read_feedback(
        self, model: ModelId, *, start: int = 0, limit: int = 1000
    ) -> tuple[Feedback, ...]: ...

    async def list_revisions(self, model: ModelId) -> tuple[Revision, ...]: ...

    async def move_alias(self, model: ModelId, alias: str, reference: str) -> ModelView: ...

    async def remove_alias(self, model: ModelId, alias: str) -> ModelView: ...


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
