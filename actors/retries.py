"""Retries of calls to a host or a server that restarts, for the client and for the directory of hosts."""

import logging

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
    stop_before_delay,
    wait_exponential,
)

from populace.actors.errors import HostUnavailable
from populace.storage.records.errors import ShardStopped, UnknownOutcome

logger = logging.getLogger(__name__)

LOST: tuple[type[HostUnavailable], type[ShardStopped], type[UnknownOutcome]] = (
    HostUnavailable,
    ShardStopped,
    UnknownOutcome,
)
"""After these errors it is unknown whether the call took effect."""

GROWTH_MAX = 16
"""Each wait is twice the one before, up to this many times the first."""


def retrying(
    called: str, lost: tuple[type[Exception], ...], *, first_seconds: float, seconds_max: float
) -> AsyncRetrying:
    """Return what repeats a call after errors of ``lost``, and raises the last error at ``seconds_max``.

    The first wait is ``first_seconds``. Each repetition is logged with ``called``, the name of the call. Only
    for calls that may take effect twice without harm.
    """

    def report(state: RetryCallState) -> None:
        error = None if state.outcome is None else state.outcome.exception()
        logger.info("%s is retried in %.2f s: %s", called, state.upcoming_sleep, error)

    return AsyncRetrying(
        retry=retry_if_exception_type(lost),
        wait=wait_exponential(first_seconds, max=GROWTH_MAX * first_seconds),
        stop=stop_before_delay(seconds_max),
        before_sleep=report,
        reraise=True,
    )
