"""Populace: a runtime for populations of persistent personal models.

The names below are resolved when they are first used, so that importing a policy, or printing
the command line's help, does not import Ray or an engine.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from populace.actors.engine import Message, Sampling
    from populace.actors.errors import (
        AdapterInvalid,
        AdapterMismatch,
        ClusterNotFound,
        EngineUnavailable,
        HostUnavailable,
        InvalidName,
        InvalidRequest,
        MailboxFull,
        PromptTooLong,
        Refused,
        TurnExpired,
    )
    from populace.actors.turn import Interaction
    from populace.client.model_handle import ModelHandle
    from populace.client.population import Population, connect
    from populace.storage.records.errors import (
        ArchiveInvalid,
        ModelExists,
        ModelNotFound,
        OperationConflict,
        PopulaceError,
    )

__version__ = "0.1.0"

_HOMES = {
    "AdapterInvalid": "populace.actors.errors",
    "AdapterMismatch": "populace.actors.errors",
    "ArchiveInvalid": "populace.storage.records.errors",
    "ClusterNotFound": "populace.actors.errors",
    "EngineUnavailable": "populace.actors.errors",
    "HostUnavailable": "populace.actors.errors",
    "Interaction": "populace.actors.turn",
    "InvalidName": "populace.actors.errors",
    "InvalidRequest": "populace.actors.errors",
    "MailboxFull": "populace.actors.errors",
    "Message": "populace.actors.engine",
    "ModelExists": "populace.storage.records.errors",
    "ModelHandle": "populace.client.model_handle",
    "ModelNotFound": "populace.storage.records.errors",
    "OperationConflict": "populace.storage.records.errors",
    "PopulaceError": "populace.storage.records.errors",
    "Population": "populace.client.population",
    "PromptTooLong": "populace.actors.errors",
    "Refused": "populace.actors.errors",
    "Sampling": "populace.actors.engine",
    "TurnExpired": "populace.actors.errors",
    "connect": "populace.client.population",
}

__all__ = [
    "AdapterInvalid",
    "AdapterMismatch",
    "ArchiveInvalid",
    "ClusterNotFound",
    "EngineUnavailable",
    "HostUnavailable",
    "Interaction",
    "InvalidName",
    "InvalidRequest",
    "MailboxFull",
    "Message",
    "ModelExists",
    "ModelHandle",
    "ModelNotFound",
    "OperationConflict",
    "PopulaceError",
    "Population",
    "PromptTooLong",
    "Refused",
    "Sampling",
    "TurnExpired",
    "__version__",
    "connect",
]


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'populace' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
