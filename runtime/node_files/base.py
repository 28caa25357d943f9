"""The base on a node: where it is already, or fetched into the node's cache, whole or not at all."""

import errno
import logging
import shutil
from pathlib import Path

from filelock import FileLock

from populace.base.files import BaseInvalid
from populace.base.files import fingerprint as fingerprint_of
from populace.base.fingerprints import fetched_directory, find_base, note_fingerprint
from populace.node_files.fetching import Fetching, FileGone
from populace.node_files.pieces import SharedFile, Wanted
from populace.storage.records.files import sync_directory, sync_file

FETCHING = ".fetching-"
PROGRESS_SHARE = 0.1
"""The log says each time that another such share of the base is here."""

logger = logging.getLogger(__name__)


def node_base(base: str, fingerprint: str, directory: Path, cache: Path, fetching: Fetching) -> Path:
    """Return the directory of the base with this fingerprint on this node; fetch it if there is none.

    Several processes may call this at once: one fetches, the others wait. A process that is killed leaves
    what the next one goes on from, and nothing that passes for a base. Raises ``BaseInvalid`` if it cannot be
    fetched, or what came has another fingerprint, and ``EngineUnavailable`` if the hosts do not answer.
    """
    found = find_base(fingerprint, cache, directory)
    if found is not None:
        return found
    target = fetched_directory(fingerprint, cache)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_name(f".{fingerprint}.lock")):
            # Another process of this node may have been faster.
            return find_base(fingerprint, cache, directory) or _fetch(
                base, fingerprint, target, cache, fetching
            )
    except OSError as error:
        full = f"the disk is full; free some room in {cache}, or name another directory in POPULACE_CACHE"
        reason = full if error.errno == errno.ENOSPC else f"{error.filename or cache}: {error.strerror}"
        raise BaseInvalid(base, f"it cannot be kept on this node: {reason}") from error
    except FileGone as error:
        raise BaseInvalid(base, f"the hosts' directory lost the file {error} while it was fetched") from error


def _fetch(base: str, fingerprint: str, target: Path, cache: Path, fetching: Fetching) -> Path:
    wanted = Wanted("base", fingerprint)
    files = fetching.files(wanted)
    if files is None:
        raise BaseInvalid(base, "neither this node nor a host has the base of this fingerprint")
    unfinished = target.with_name(f"{FETCHING}{fingerprint}")
    unfinished.mkdir(exist_ok=True)
    _check_room(base, files, unfinished)
    progress = _Progress(base, sum(file.bytes for file in files))
    for file in files:
        if Path(file.name).name != file.name:
            raise BaseInvalid(base, f"a host lists the file {file.name[:80]!r}, which is no name")
        _fetch_file(base, wanted, file, unfinished, fetching, progress)
    sync_directory(unfinished)
    _check(base, fingerprint, unfinished)
    # One that lies there was just found to be something else.
    shutil.rmtree(target, ignore_errors=True)
    unfinished.rename(target)
    sync_directory(target.parent)
    note_fingerprint(target, cache, fingerprint)
    logger.info("the base %s is in %s", base, target)
    return target


def _check(base: str, wanted: str, directory: Path) -> None:
    """Compare the fingerprint of what came; remove it if it is another base, or none."""
    try:
        found = fingerprint_of(directory)
    except BaseInvalid:
        shutil.rmtree(directory)
        raise
    if found != wanted:
        shutil.rmtree(directory)
        reason = f"what the hosts sent has the fingerprint {found[:12]}…, and not {wanted[:12]}…"
        raise BaseInvalid(base, f"{reason}; was its directory changed since `populace serve` began?")


def _fetch_file(
    base: str, wanted: Wanted, file: SharedFile, folder: Path, fetching: Fetching, progress: "_Progress"
) -> None:
    whole = folder / file.name
    # Only a file that was compared and synced has its own name.
    if whole.exists() and whole.stat().st_size == file.bytes:
        progress.add(file.bytes)
        return
    part = folder / f"{file.name}.part"
    if not fetching.save(wanted, file, part, progress.add):
        part.unlink()
        raise BaseInvalid(base, f"the file {file.name} that a host sent is not the one that it listed")
    sync_file(part)
    part.rename(whole)


def _check_room(base: str, files: tuple[SharedFile, ...], folder: Path) -> None:
    there = sum(path.stat().st_size for path in folder.iterdir())
    needed, free = sum(file.bytes for file in files) - there, shutil.disk_usage(folder).free
    if needed > free:
        raise BaseInvalid(
            base,
            f"it needs {needed / 1e9:.1f} GB on this node and {folder.parent} has {free / 1e9:.1f} GB; "
            "free some, or name another directory in POPULACE_CACHE",
        )


class _Progress:
    """Logs how much of the base is here."""

    def __init__(self, base: str, size: int) -> None:
        self._base = base
        self._size = size
        self._there = 0
        self._told = 0.0
        logger.info("fetching the base %s, %.2f GB", base, size / 1e9)

    def add(self, size: int) -> None:
        self._there += size
        share = self._there / max(1, self._size)
        if share >= self._told + PROGRESS_SHARE:
            self._told = share
            logger.info("%.0f %% of the base %s is here", share * 100, self._base)
