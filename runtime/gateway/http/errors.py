"""Errors on the wire: each ``PopulaceError`` has one HTTP status and an OpenAI error body."""

import logging
import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

from fastapi.responses import JSONResponse

from populace.actors import access_errors as access
from populace.actors import errors as actors
from populace.actors.draining import Draining, DrainRefused
from populace.actors.passing_on import GatewayUnavailable
from populace.actors.request_head import RequestHeadTooLarge
from populace.actors.request_log import RequestNotFound
from populace.base.prepare import BaseInvalid
from populace.encoder.files import EncoderInvalid
from populace.gateway.http.request_spans import fail_request
from populace.gateway.http.target import advice_on_missing
from populace.pictures.figures import MatplotlibMissing
from populace.settings.errors import ConfigFileInvalid, MemoryTooSmall, SettingsError
from populace.storage.backups import errors as backups
from populace.storage.journal import errors as journal
from populace.storage.packed import errors as packed
from populace.storage.records import errors as storage
from populace.storage.records.errors import PopulaceError
from populace.storage.resharding import errors as resharding
from populace.storage.training import errors as training
from populace.storage.uploads import errors as uploads
from populace.telemetry.calls import current_request_id

logger = logging.getLogger(__name__)

STATUS: Mapping[type[PopulaceError], int] = {
    PopulaceError: 500,
    storage.StorageError: 500,
    storage.ModelNotFound: 404,
    storage.ModelExists: 409,
    storage.RevisionNotFound: 404,
    storage.InteractionNotFound: 404,
    storage.InteractionForgotten: 410,
    storage.FeedbackFull: 409,
    training.JobNotFound: 404,
    training.JobEnded: 409,
    training.SuiteNotFound: 404,
    training.TrainingUnderWay: 409,
    uploads.UploadNotFound: 404,
    uploads.UploadsFull: 409,
    storage.OperationConflict: 409,
    storage.PositionConflict: 409,
    storage.Fenced: 503,
    storage.UnknownOutcome: 503,
    storage.ShardStopped: 503,
    storage.ShardUnavailable: 503,
    storage.ShardAway: 503,
    storage.DiskFull: 503,
    storage.DiskRefused: 503,
    storage.WriteQueueFull: 503,
    storage.StoreVersionMismatch: 500,
    storage.StoreInvalid: 500,
    storage.StoreDamaged: 500,
    storage.StoreInUse: 503,
    storage.MasterKeyRefused: 500,
    backups.BackupInvalid: 500,
    backups.BackupVersionMismatch: 500,
    backups.KeyFileRefused: 500,
    backups.DirectoryRefused: 500,
    journal.BucketRefused: 503,
    journal.BucketUnreachable: 503,
    journal.JournalUnsettled: 503,
    journal.JournalOvertaken: 503,
    journal.JournalBehind: 503,
    journal.JournalDamaged: 500,
    journal.SegmentsGone: 500,
    journal.JournalElsewhere: 503,
    journal.JournalTakenOver: 503,
    journal.JournalCopied: 503,
    journal.JournalNeeded: 503,
    journal.JournalLeft: 503,
    journal.JournalOutcomeUnknown: 503,
    journal.NothingThen: 500,
    journal.StoreNotNamed: 500,
    journal.JournalOfOthers: 500,
    resharding.ReshardingNeedsSpace: 503,
    resharding.ReshardingFailed: 500,
    packed.PackedAdapterInvalid: 400,
    packed.PackedAdapterVersionMismatch: 400,
    storage.ArchiveInvalid: 400,
    storage.RecordInvalid: 500,
    storage.RecordNewer: 500,
    actors.InvalidRequest: 400,
    actors.InvalidName: 400,
    actors.PromptTooLong: 400,
    actors.TextTooLong: 400,
    actors.AdapterInvalid: 400,
    actors.AdapterMismatch: 400,
    actors.MemoryModuleInvalid: 400,
    actors.MemoryModuleMismatch: 400,
    actors.EpisodesInvalid: 400,
    actors.TasksInvalid: 400,
    actors.PopulationTooSmall: 409,
    actors.NoMember: 409,
    actors.MemoryStateInvalid: 500,
    actors.MemoryStateMismatch: 409,
    actors.RequestTooLarge: 413,
    RequestHeadTooLarge: 431,
    actors.ResponseNotFound: 404,
    actors.ConversationNotFound: 404,
    RequestNotFound: 404,
    access.Unauthorized: 401,
    access.KeyExpired: 401,
    access.RoleNeeded: 403,
    access.ModelNotOfKey: 403,
    access.AllModelsNeeded: 403,
    access.KeyNotFound: 404,
    access.LimitReached: 429,
    actors.Refused: 429,
    actors.MailboxFull: 429,
    actors.HostOverloaded: 503,
    actors.EngineOverloaded: 503,
    actors.TurnExpired: 504,
    actors.HostUnavailable: 503,
    actors.EngineUnavailable: 503,
    GatewayUnavailable: 503,
    actors.TrainingUnavailable: 409,
    actors.TrainingFailed: 500,
    actors.NothingToTrain: 409,
    actors.TrainingDiverged: 500,
    actors.TrainingStopped: 503,
    actors.RewardFailed: 500,
    actors.RolloutsStale: 500,
    actors.StartFailed: 503,
    Draining: 503,
    DrainRefused: 503,
    actors.ClusterNotFound: 503,
    SettingsError: 500,
    ConfigFileInvalid: 500,
    MemoryTooSmall: 500,
    BaseInvalid: 500,
    EncoderInvalid: 500,
    MatplotlibMissing: 500,
}

TYPES: Mapping[int, str] = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "invalid_request_error",
    405: "invalid_request_error",
    409: "conflict_error",
    410: "invalid_request_error",
    413: "invalid_request_error",
    429: "rate_limit_error",
    431: "invalid_request_error",
}


OF_OPERATORS = (
    journal.BucketRefused,
    journal.BucketUnreachable,
    journal.JournalUnsettled,
    journal.JournalOvertaken,
    journal.JournalDamaged,
    journal.JournalElsewhere,
    journal.JournalTakenOver,
    journal.JournalCopied,
    journal.StoreNotNamed,
    journal.JournalOfOthers,
)
"""Errors whose messages name buckets, objects and directories: these are for the log, and not for tenants."""

IN_THE_LOG = "The journal of this store does not take or give what this needs; the log says why."

RATE_LIMIT_HEADERS, TOKEN_LIMIT_HEADERS = (
    tuple(f"x-ratelimit-{name}-{kind}" for name in ("limit", "remaining", "reset"))
    for kind in ("requests", "tokens")
)
"""OpenAI's names. A full queue tells by the first ones how many may wait; a limit what is left of it."""

ANSWERED: Counter[str] = Counter()
"""How many errors this process answered, by code; streams whose status was 200 already have them too."""

TEXT_LENGTH_MAX = 1000
"""Longest message, in characters; messages quote the caller, who may have sent megabytes."""


def status_of(error_type: type[PopulaceError]) -> int:
    """Return the HTTP status of an error class; raises ``KeyError`` if none is defined."""
    return STATUS[error_type]


def error_body(message: str, *, status: int, code: str, parameter: str | None = None) -> dict[str, Any]:
    """Build the body that OpenAI clients parse, with the id of the request that failed, and count it.

    The request's span ends as failed if the status is 500 or more.
    """
    error = {
        "message": _presentable(message),
        "type": TYPES.get(status, "server_error"),
        "param": None if parameter is None else _presentable(parameter),
        "code": code,
    }
    ANSWERED[code] += 1
    if status >= 500:
        fail_request(code)
    request_id = current_request_id()
    return {"error": error if request_id is None else {**error, "request_id": request_id}}


def populace_error_body(error: PopulaceError) -> dict[str, Any]:
    """Build the body of one of our own errors; a client rebuilds it from its fields, ``details``."""
    parameter = error.parameter if isinstance(error, actors.InvalidRequest) else None
    advice = advice_on_missing(error.model) if isinstance(error, storage.ModelNotFound) else None
    told = {name: getattr(error, name) for name in error.fields if name not in ("message", "parameter")}
    message = " ".join(filter(None, (str(error), advice)))
    if isinstance(error, OF_OPERATORS):
        logger.warning("a request ends as %s: %s", error.code, error)
        message, told = IN_THE_LOG, {}
    elif isinstance(error, journal.JournalOutcomeUnknown):
        told["cause"] = "its journal did not answer"
        message = error.template.format_map(told)
    body = error_body(message, status=status_of(type(error)), code=error.code, parameter=parameter)
    details = {
        name: _presentable(value) if isinstance(value, str) else value
        for name, value in told.items()
        if value is None or isinstance(value, str | int | float)
    }
    if details:
        body["error"]["details"] = details
    return body


def internal_error_body() -> dict[str, Any]:
    """Build the body for an unforeseen error: its details are for the log, not for the caller."""
    message = "Populace failed unexpectedly. The log has the details; please report it."
    return error_body(message, status=500, code=PopulaceError.code)


def error_response(error: PopulaceError) -> JSONResponse:
    status = status_of(type(error))
    headers: dict[str, str] = {}
    if error.retry_after_s is not None:
        seconds = max(1, math.ceil(error.retry_after_s))
        headers["Retry-After"] = str(seconds)
        if isinstance(error, actors.Refused) and error.limit is not None:
            names = TOKEN_LIMIT_HEADERS if _is_of_tokens(error) else RATE_LIMIT_HEADERS
            headers |= dict(zip(names, (str(error.limit), "0", f"{seconds}s"), strict=True))
    else:
        # Otherwise OpenAI's clients repeat every 409 and 5xx, though the response cannot change.
        headers["x-should-retry"] = "false"
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(populace_error_body(error), status_code=status, headers=headers)


def _is_of_tokens(error: actors.Refused) -> bool:
    return isinstance(error, access.LimitReached) and error.limit_name == "tokens_per_minute"


def _presentable(text: str) -> str:
    """Cut a text to a readable length, and escape lone surrogates, which no response can carry."""
    cut = text if len(text) <= TEXT_LENGTH_MAX else text[:TEXT_LENGTH_MAX] + "…"
    return cut.encode("utf-8", "backslashreplace").decode()
