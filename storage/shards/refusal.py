"""The reason why a shard refuses all work: the error that stopped it first, for every later call."""

import logging
from typing import NoReturn

from populace.storage.records.errors import ShardStopped, StorageError, UnknownOutcome

logger = logging.getLogger(__name__)


class Refusal:
    """Refuses nothing until ``stop`` or ``close``, and everything from then on until ``lift``."""

    def __init__(self, shard: int) -> None:
        self._shard = shard
        self._error: StorageError | None = None

    @property
    def is_on(self) -> bool:
        return self._error is not None

    def check(self) -> None:
        """Raise a fresh copy of the error that stopped the shard, if it is stopped."""
        if self._error is not None:
            raise type(self._error)(*self._error.args)

    def stop(self, error: StorageError, cause: BaseException | None = None) -> NoReturn:
        """Refuse all further work, then raise ``error``."""
        self.begin(error)
        raise error from cause

    def begin(self, error: StorageError) -> None:
        """Refuse all further work because of ``error``, unless it is refused already."""
        if self._error is None:
            logger.error("shard %d stops: %s", self._shard, error)
            # The outcome of a later call is known: it has not even begun.
            self._error = (
                ShardStopped(self._shard, error.cause) if isinstance(error, UnknownOutcome) else error
            )

    def close(self) -> None:
        """Refuse all further work; an earlier reason stays."""
        self._error = self._error or ShardStopped(self._shard, "it is closed")

    def lift(self) -> None:
        self._error = None
