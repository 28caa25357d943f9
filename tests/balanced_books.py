"""The hosts, shards and committers that are alive, so that their books are checked when a test ends."""

import functools
import weakref
from collections.abc import Callable
from typing import Any, Protocol

from populace.actors.host.model_host import ModelHost
from populace.storage.records.errors import StorageError
from populace.storage.shards.committer import Committer
from populace.storage.shards.ownership import stored_epoch
from populace.storage.shards.shard import Shard


class HasBooks(Protocol):
    def check_integrity(self) -> None: ...


_alive: "weakref.WeakSet[Any]" = weakref.WeakSet()


def watch() -> None:
    """Keep track of everything that is made from here on, for the whole session."""
    for kind in (ModelHost, Shard, Committer):
        kind.__init__ = _noted(kind.__init__)


def check() -> None:
    """Raise ``AssertionError`` if the books of anything alive do not balance."""
    for one in list(_alive):
        if not isinstance(one, Shard) or _is_owned(one):
            one.check_integrity()


def _is_owned(shard: Shard) -> bool:
    """Whether it serves; what another owner made of the rows since is not this one's."""
    try:
        with shard.read() as transaction:
            return stored_epoch(transaction) == shard.epoch
    except StorageError:
        return False


def _noted(make: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(make)
    def made(self: HasBooks, *args: Any, **options: Any) -> None:
        make(self, *args, **options)
        _alive.add(self)

    return made
