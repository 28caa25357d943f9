"""Takes over a shard: finds its environment, gets its writer lock, looks again, and writes the next epoch.

A compaction may make another generation current between the first look and the lock. Only the holder of the
lock of the generation that ``current`` names can change ``current``.

A shard opens even if its former owner was stopped while it held one of LMDB's locks.
A process that is stopped inside a write transaction (SIGSTOP, a debugger) keeps the writer lock,
and LMDB waits for that lock inside C, without a limit. So an opening runs on a thread of its own
and is watched. A stopped process in its way is killed: LMDB's locks are robust, so the next
process in the queue gets them, and a dead process's unfinished transaction never happened. A
running process is never killed; after a limit the opening gives up and names it.

The kernel and not a record says which processes have the environment open: each of them holds a
POSIX lock on ``lock.mdb``, which ``/proc`` shows. A recorded process id could have been reused, and
could mean another process in another container. A holder in another container, of another user or
on another machine is not shown: it is reported as unseen, and is not killed.
"""

import contextlib
import functools
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, InvalidStateError, wait
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

import psutil

from populace.storage.records.errors import ShardStopped, StorageError, StoreInUse, StoreInvalid
from populace.storage.shards import generations
from populace.storage.shards.ownership import take_ownership, write_header
from populace.storage.shards.rows import LmdbTransaction, Writer

T = TypeVar("T")

logger = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
"""The interval at which a slow opening looks for holders. One that stands still this long is stopped."""

WAIT_SECONDS_MAX = 30.0
"""The limit of an opening: a running owner holds the lock for one commit, which takes less than this."""

_LOCK_FILE = "lock.mdb"
_UNSEEN = "a process that cannot be seen from here (in another container, of another user or machine)"
_MOVED = -1
"""Instead of a count of moves: the process runs, or nothing is known about it."""


def open_watched(path: Path, opening: Callable[[Callable[[], None]], T]) -> T:
    """Run ``opening`` on a thread and return its result; kill a stopped process that is in its way.

    ``opening`` is passed a function to call once it has the writer lock and before it writes. That
    raises if the caller has given up, and ``opening`` must then undo what it did. Raises what ``opening``
    raised, and ``StoreInUse`` if it does not get the lock in time; its thread then goes on waiting, and
    ends with the process or when the lock is free.
    """
    outcome: Future[T] = Future()
    threading.Thread(
        target=_run, args=(path, opening, outcome), name=f"populace-open-{path.name}", daemon=True
    ).start()
    give_up = time.monotonic() + WAIT_SECONDS_MAX
    moves: dict[int, int] = {}
    while not wait([outcome], timeout=LOOK_SECONDS).done:
        if outcome.running():
            break
        holders = _holders(path)
        moves = {pid: _kill_if_still(pid, path, moves.get(pid)) for pid in holders}
        if time.monotonic() >= give_up and outcome.cancel():
            raise StoreInUse(str(path), " or ".join(map(_describe, holders)) or _UNSEEN)
    return outcome.result()


def _run(path: Path, opening: Callable[[Callable[[], None]], T], outcome: Future[T]) -> None:
    def begin() -> None:
        if not outcome.set_running_or_notify_cancel():
            raise StoreInUse(str(path), "another process, and its opening was given up")

    try:
        result = opening(begin)
    except BaseException as error:
        # The caller has given up and does not need the error.
        with contextlib.suppress(InvalidStateError):
            outcome.set_exception(error)
        return
    with contextlib.suppress(InvalidStateError):
        outcome.set_result(result)


def _holders(path: Path) -> list[int]:
    """Find the other processes that have the environment open.

    It is unknown which of them has the writer lock, so a stopped one may be killed because of a
    running one's long commit: it was about to be fenced in any case.
    """
    try:
        wanted = (path / _LOCK_FILE).stat()
    except OSError:
        return []
    return [pid for pid in psutil.pids() if pid != os.getpid() and _holds(pid, wanted)]


def _holds(pid: int, wanted: os.stat_result) -> bool:
    """Whether the process holds a lock on the file; a fork of the holder has it open, but has no lock."""
    try:
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(descriptor.stat(), wanted):
                    return "POSIX" in Path(f"/proc/{pid}/fdinfo/{descriptor.name}").read_text()
    except OSError:  # it ended meanwhile, or is another user's
        return False
    return False


def _kill_if_still(pid: int, path: Path, moves_before: int | None) -> int:
    """Kill the process if it was stopped at the last look, is now, and has not moved in between.

    Returns the count of moves to pass at the next look. One look is not enough: under a tracer every
    process is stopped for a moment at each system call.
    """
    try:
        process = os.pidfd_open(pid)
    except OSError:
        return _MOVED
    try:
        # From here on ``process`` means the same process, even if its number is reused.
        moves = _moves_if_stopped(pid)
        wanted = (path / _LOCK_FILE).stat()
        if moves == _MOVED or moves != moves_before or not _holds(pid, wanted):
            return moves
        logger.warning("%s is stopped and holds the lock of %s: it is killed", _describe(pid), path)
        signal.pidfd_send_signal(process, signal.SIGKILL)
        return _MOVED
    except (OSError, KeyError):  # it ended meanwhile, or this kernel does not count
        return _MOVED
    finally:
        os.close(process)


def _moves_if_stopped(pid: int) -> int:
    """Count how often the process's threads gave up a CPU; return ``_MOVED`` if one is not stopped."""
    moves = 0
    for thread in Path(f"/proc/{pid}/task").iterdir():
        fields = dict(_fields(thread / "status"))
        if fields["State"][0] not in "Tt":
            return _MOVED
        moves += int(fields["voluntary_ctxt_switches"]) + int(fields["nonvoluntary_ctxt_switches"])
    return moves


def _fields(status: Path) -> Iterator[tuple[str, str]]:
    for line in status.read_text(errors="replace").splitlines():
        name, _, value = line.partition(":")
        yield name, value.strip()


def _describe(pid: int) -> str:
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        title = " ".join(" ".join(process.cmdline()).split())[:80] or process.name()
        return f"process {pid} ({title})"
    return f"process {pid}"


class Closable(Protocol):
    def close(self) -> None: ...


Environment = TypeVar("Environment", bound=Closable)
"""LMDB's environment; a type variable, so that only the two modules that use lmdb import it."""


class Claim(NamedTuple):
    """The opening of a shard by an owner."""

    path: Path
    number: int
    shard_count: int
    owner: str


def take_over(
    claim: Claim,
    open_environment: Callable[[Path], Environment],
    begin_write: Callable[[Environment], AbstractContextManager[LmdbTransaction]],
    *,
    fatal: type[Exception],
) -> tuple[Environment, Path, int]:
    """Return the shard's open environment, its directory and the new epoch.

    A stopped process that is in the way is killed. The remains of crashes and compactions are removed.
    Raises ``StoreInvalid`` and ``StoreVersionMismatch``, what ``open_environment`` raises, and
    ``ShardStopped`` for what is ``fatal``.
    """
    while True:
        place = generations.locate(claim.path)
        if place is None:
            raise StoreInvalid(str(claim.path), "there is no shard")
        try:
            environment, epoch = open_watched(
                place, functools.partial(_take, claim, place, open_environment, begin_write, fatal)
            )
        except _Moved:
            continue
        return environment, place, epoch


class _Moved(Exception):
    """A compaction made another generation current meanwhile."""


def _take(
    claim: Claim,
    place: Path,
    open_environment: Callable[[Path], Environment],
    begin_write: Callable[[Environment], AbstractContextManager[LmdbTransaction]],
    fatal: type[Exception],
    begin: Callable[[], None],
) -> tuple[Environment, int]:
    """Write the next epoch and return it, unless ``begin`` raises because the opening was given up."""
    try:
        environment = open_environment(place)
    except StorageError:
        _raise_if_moved(claim.path, place)
        raise
    try:
        with begin_write(environment) as transaction:
            _raise_if_moved(claim.path, place)
            begin()
            writer = Writer(transaction)
            if place == claim.path and next(writer.scan(b"", limit=1), None) is None:
                # Schema 1 made the environment first, and its header together with the first epoch.
                write_header(writer, claim.number, claim.shard_count)
            epoch = take_ownership(writer, str(claim.path), claim.number, claim.shard_count, claim.owner)
            generations.sweep(claim.path, place)
        return environment, epoch
    except BaseException as error:
        environment.close()
        # Errors of a file that was compacted away do not matter.
        _raise_if_moved(claim.path, place)
        if isinstance(error, (fatal, OSError)):
            raise ShardStopped(claim.number, str(error)) from error
        raise


def _raise_if_moved(path: Path, place: Path) -> None:
    if generations.locate(path) != place:
        raise _Moved
