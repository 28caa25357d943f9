"""An event loop on a thread of its own, for callers that block."""

import asyncio
import logging
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from populace.actors.errors import InvalidRequest
from populace.storage.records.errors import PopulaceError

logger = logging.getLogger(__name__)

T = TypeVar("T")

CLOSE_SECONDS = 5.0
"""How long ``close`` waits for cancelled tasks to end."""


def without_frames(error: PopulaceError) -> PopulaceError:
    """Return the error without where in Populace it was raised, which says nothing to who called it.

    That is logged at debug level.
    """
    logger.debug("a call failed", exc_info=error)
    return error.with_traceback(None)


class LoopThread:
    """Implements ``Runner``. All calls share one loop, so that calls to one host share messages."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="populace", daemon=True)
        self._thread.start()

    @property
    def closed(self) -> bool:
        return self._loop.is_closed()

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        """Run a call to its end, from any thread. An interrupt cancels it.

        Raises ``InvalidRequest`` after ``close``. Errors that are raised on purpose come ``without_frames``.
        """
        __tracebackhide__ = True  # pytest and IPython leave this frame out
        if self.closed:
            call.close()
            raise InvalidRequest("This population was closed: connect again.", "population")
        if threading.current_thread() is self._thread:
            call.close()
            raise InvalidRequest(
                "A callback of this population cannot wait for another call on it.", "population"
            )
        running = asyncio.run_coroutine_threadsafe(call, self._loop)
        try:
            return running.result()
        except PopulaceError as error:
            raise without_frames(error) from None
        except BaseException:
            running.cancel()
            raise

    def start(self, call: Coroutine[Any, Any, Any]) -> None:
        """Run a call without waiting for it. Raises ``RuntimeError`` if closed."""
        asyncio.run_coroutine_threadsafe(call, self._loop)

    def close(self) -> None:
        """Cancel the tasks on the loop, as ``asyncio.run`` does, and end the thread. Safe to call twice."""
        if self.closed:
            return
        self.run(_end_tasks())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _end_tasks() -> None:
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    if left:
        await asyncio.wait(left, timeout=CLOSE_SECONDS)
    await asyncio.get_running_loop().shutdown_asyncgens()
