"""Why a shard refuses all work: what stopped it first, for every call that comes later."""

import logging
from typing import NoReturn

from populace.storage.records.errors import ShardStopped, StorageError, UnknownOutcome

logger = logging.getLogger(__name__)


class Refusal:
    """Nothing is refused until ``stop`` or ``close``, and everything from then on until ``lift``."""

    def __init__(self, shard: int) -> None:
        self._shard = shard
        self._error: StorageError | None = None

    @property
    def is_on(self) -> bool:
        return self._error is not None

    def check(self) -> None:
        """Raise a fresh copy of what stopped the shard, if something did."""
        if self._error is not None:
            raise type(self._error)(*self._error.args)

    def stop(self, error: StorageError, cause: BaseException | None = None) -> NoReturn:
        """Refuse all further work, then raise ``error``."""
        if self._error is None:
            logger.error("shard %d stops: %s", self._shard, error)
            # A later call's outcome is known: it is not even begun.
            self._error = (
                ShardStopped(self._shard, error.cause) if isinstance(error, UnknownOutcome) else error
            )
        raise error from cause

    def close(self) -> None:
        """Refuse all further work, for the first reason that there was."""
        self._error = self._error or ShardStopped(self._shard, "it is closed")

    def lift(self) -> None:
        self._error = None
