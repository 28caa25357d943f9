"""Populace: a runtime for populations of persistent personal models.

The names below are resolved when they are first used, so that importing a policy, or printing
the command line's help, does not import Ray or an engine.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from populace.actors.access_errors import Unauthorized
    from populace.actors.aggregation.ensemble import PopulationAnswer
    from populace.actors.aggregation.question import Question
    from populace.actors.aggregation.report import PopulationReport
    from populace.actors.contributors import Contribution
    from populace.actors.engine import BaseInfo, Message, Sampling
    from populace.actors.errors import (
        AdapterInvalid,
        AdapterMismatch,
        ClusterNotFound,
        EngineOverloaded,
        EngineUnavailable,
        HostUnavailable,
        InvalidName,
        InvalidRequest,
        MailboxFull,
        MemoryStateMismatch,
        NoMember,
        PopulationTooSmall,
        PromptTooLong,
        Refused,
        TrainingUnavailable,
        TurnExpired,
    )
    from populace.actors.feedback import Feedback
    from populace.actors.forgetting import Forgotten
    from populace.actors.hosts import HostStatistics, ModelView, Revision
    from populace.actors.known import Known
    from populace.actors.members import MemberView
    from populace.actors.merging import LayerDifference, MergedRevision, MergeOptions
    from populace.actors.peek import Peek
    from populace.actors.request_log import LogLine, RequestLog, RequestNotFound, RequestSpan
    from populace.actors.suites import SuiteQuestion, SuiteResult, SuiteRow
    from populace.actors.tool_calls import ToolCall
    from populace.actors.training import JobProgress, TrainingJob
    from populace.actors.training_options import TrainingOptions
    from populace.actors.turn import Interaction
    from populace.client.async_model import AsyncModel
    from populace.client.async_population import AsyncPopulation
    from populace.client.connecting import connect, connect_async
    from populace.client.model_handle import ModelHandle
    from populace.client.population import Population
    from populace.client.streaming import AsyncReplyStream, ReplyStream
    from populace.pictures.memory import PersonalMemory
    from populace.storage.records.errors import (
        ArchiveInvalid,
        DiskRefused,
        FeedbackFull,
        InteractionNotFound,
        ModelExists,
        ModelNotFound,
        OperationConflict,
        PopulaceError,
        RevisionNotFound,
    )
    from populace.storage.training.errors import JobNotFound, SuiteNotFound, TrainingUnderWay

__version__ = "0.1.0"

_HOMES = {
    "AdapterInvalid": "populace.actors.errors",
    "AdapterMismatch": "populace.actors.errors",
    "ArchiveInvalid": "populace.storage.records.errors",
    "AsyncModel": "populace.client.async_model",
    "AsyncPopulation": "populace.client.async_population",
    "AsyncReplyStream": "populace.client.streaming",
    "BaseInfo": "populace.actors.engine",
    "ClusterNotFound": "populace.actors.errors",
    "Contribution": "populace.actors.contributors",
    "DiskRefused": "populace.storage.records.errors",
    "EngineOverloaded": "populace.actors.errors",
    "EngineUnavailable": "populace.actors.errors",
    "Feedback": "populace.actors.feedback",
    "FeedbackFull": "populace.storage.records.errors",
    "Forgotten": "populace.actors.forgetting",
    "HostStatistics": "populace.actors.hosts",
    "HostUnavailable": "populace.actors.errors",
    "Interaction": "populace.actors.turn",
    "InteractionNotFound": "populace.storage.records.errors",
    "InvalidName": "populace.actors.errors",
    "InvalidRequest": "populace.actors.errors",
    "JobNotFound": "populace.storage.training.errors",
    "JobProgress": "populace.actors.training",
    "Known": "populace.actors.known",
    "LayerDifference": "populace.actors.merging",
    "LogLine": "populace.actors.request_log",
    "MailboxFull": "populace.actors.errors",
    "MemberView": "populace.actors.members",
    "MemoryStateMismatch": "populace.actors.errors",
    "MergeOptions": "populace.actors.merging",
    "MergedRevision": "populace.actors.merging",
    "Message": "populace.actors.engine",
    "ModelExists": "populace.storage.records.errors",
    "ModelHandle": "populace.client.model_handle",
    "ModelNotFound": "populace.storage.records.errors",
    "ModelView": "populace.actors.hosts",
    "NoMember": "populace.actors.errors",
    "OperationConflict": "populace.storage.records.errors",
    "Peek": "populace.actors.peek",
    "PersonalMemory": "populace.pictures.memory",
    "PopulaceError": "populace.storage.records.errors",
    "Population": "populace.client.population",
    "PopulationAnswer": "populace.actors.aggregation.ensemble",
    "PopulationReport": "populace.actors.aggregation.report",
    "PopulationTooSmall": "populace.actors.errors",
    "PromptTooLong": "populace.actors.errors",
    "Question": "populace.actors.aggregation.question",
    "Refused": "populace.actors.errors",
    "ReplyStream": "populace.client.streaming",
    "RequestLog": "populace.actors.request_log",
    "RequestNotFound": "populace.actors.request_log",
    "RequestSpan": "populace.actors.request_log",
    "Revision": "populace.actors.hosts",
    "RevisionNotFound": "populace.storage.records.errors",
    "Sampling": "populace.actors.engine",
    "SuiteNotFound": "populace.storage.training.errors",
    "SuiteQuestion": "populace.actors.suites",
    "SuiteResult": "populace.actors.suites",
    "SuiteRow": "populace.actors.suites",
    "ToolCall": "populace.actors.tool_calls",
    "TrainingJob": "populace.actors.training",
    "TrainingOptions": "populace.actors.training_options",
    "TrainingUnavailable": "populace.actors.errors",
    "TrainingUnderWay": "populace.storage.training.errors",
    "TurnExpired": "populace.actors.errors",
    "Unauthorized": "populace.actors.access_errors",
    "connect": "populace.client.connecting",
    "connect_async": "populace.client.connecting",
}

__all__ = [
    "AdapterInvalid",
    "AdapterMismatch",
    "ArchiveInvalid",
    "AsyncModel",
    "AsyncPopulation",
    "AsyncReplyStream",
    "BaseInfo",
    "ClusterNotFound",
    "Contribution",
    "DiskRefused",
    "EngineOverloaded",
    "EngineUnavailable",
    "Feedback",
    "FeedbackFull",
    "Forgotten",
    "HostStatistics",
    "HostUnavailable",
    "Interaction",
    "InteractionNotFound",
    "InvalidName",
    "InvalidRequest",
    "JobNotFound",
    "JobProgress",
    "Known",
    "LayerDifference",
    "LogLine",
    "MailboxFull",
    "MemberView",
    "MemoryStateMismatch",
    "MergeOptions",
    "MergedRevision",
    "Message",
    "ModelExists",
    "ModelHandle",
    "ModelNotFound",
    "ModelView",
    "NoMember",
    "OperationConflict",
    "Peek",
    "PersonalMemory",
    "PopulaceError",
    "Population",
    "PopulationAnswer",
    "PopulationReport",
    "PopulationTooSmall",
    "PromptTooLong",
    "Question",
    "Refused",
    "ReplyStream",
    "RequestLog",
    "RequestNotFound",
    "RequestSpan",
    "Revision",
    "RevisionNotFound",
    "Sampling",
    "SuiteNotFound",
    "SuiteQuestion",
    "SuiteResult",
    "SuiteRow",
    "ToolCall",
    "TrainingJob",
    "TrainingOptions",
    "TrainingUnavailable",
    "TrainingUnderWay",
    "TurnExpired",
    "Unauthorized",
    "__version__",
    "connect",
    "connect_async",
]


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'populace' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
