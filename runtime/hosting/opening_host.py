"""Opens a host's store in the background, again and again until it can be.

Ray gives an actor up for good whose constructor raises, and restarts one whose process ends. So the actor
of a host begins with nothing that may fail: a disk that is away when it restarts may be back a minute later.
"""

import asyncio
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future

from tenacity import RetryCallState, Retrying, stop_when_event_set, wait_exponential
from tenacity.nap import sleep_using_event

from populace.actors.errors import HostUnavailable
from populace.actors.host.model_host import ModelHost

logger = logging.getLogger(__name__)

CANNOT_OPEN = "its store cannot be opened"
"""How the reason of a ``HostUnavailable`` begins whose host met a problem; the rest is the error's code."""

WAIT_SECONDS_MAX = 5.0
"""How long a call waits for a host that is being opened; the caller's own patience goes on after that."""

WAIT_SECONDS_AGAIN = 0.5
"""The same once an attempt has failed: who asks for the state of the hosts is to hear why."""

RETRY_SECONDS_MAX = 10.0


class OpeningHost:
    """A ``ModelHost`` that is there once ``open_host``, which runs on a thread, has returned it."""

    def __init__(self, name: str, open_host: Callable[[], ModelHost]) -> None:
        self._name = name
        self._open_host = open_host
        self._opened: Future[ModelHost] = Future()
        self._ended = threading.Event()
        self._problem: str | None = None
        self._thread = threading.Thread(target=self._open, name="populace-open-host", daemon=True)
        self._thread.start()

    @property
    def opened(self) -> ModelHost | None:
        """The host, if it is open."""
        return self._opened.result() if self._opened.done() else None

    @property
    def problem(self) -> str | None:
        """Why the last attempt failed; None if the host is open, or none has failed yet."""
        return None if self._opened.done() else self._problem

    async def get(self) -> ModelHost:
        """Return the host. Raises ``HostUnavailable`` if it cannot be opened for now."""
        if self._opened.done():
            return self._opened.result()
        opened = asyncio.wrap_future(self._opened)
        # Not ``wait_for``: it would cancel what the other callers wait for too.
        seconds = WAIT_SECONDS_MAX if self._problem is None else WAIT_SECONDS_AGAIN
        done, _ = await asyncio.wait([opened], timeout=seconds)
        if not done:
            raise HostUnavailable(self._name, self._problem or "it is starting")
        return opened.result()

    async def close(self) -> None:
        """Close the host if it is open, and open it no more."""
        self._ended.set()
        await asyncio.to_thread(self._thread.join)
        if self._opened.done():
            self._opened.result().close()

    def _open(self) -> None:
        attempts = Retrying(
            wait=wait_exponential(0.5, max=RETRY_SECONDS_MAX),
            stop=stop_when_event_set(self._ended),
            sleep=sleep_using_event(self._ended),
            before_sleep=self._note,
            reraise=True,
        )
        try:
            host = attempts(self._open_host)
        except Exception:
            # Only if it was closed meanwhile: each problem is logged when it is met.
            return
        self._opened.set_result(host)

    def _note(self, state: RetryCallState) -> None:
        error = None if state.outcome is None else state.outcome.exception()
        self._problem = f"{CANNOT_OPEN} ({getattr(error, 'code', type(error).__name__)})"
        logger.error(
            "%s cannot be opened; it is tried again in %.0f s: %s", self._name, state.upcoming_sleep, error
        )
