"""Detects a data directory of the past, after another machine went on from its journal.

``journal.json`` in a data directory says where its journal is, so that whoever reads the directory without
``POPULACE_JOURNAL`` can look, and which directory it is, so that a copy is known for one. An owner that
claims a shard notes its epoch in the shard, and then writes the shard's data keys to the journal under that
epoch. So a directory whose shard has a lower one is a former one. That takes no key.
"""

import platform
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from populace.storage.header import HEADER_FILE, read_header
from populace.storage.journal.bucket import Bucket
from populace.storage.journal.errors import JournalCopied, JournalNeeded, JournalTakenOver
from populace.storage.journal.opening import open_bucket
from populace.storage.journal.segment import Position
from populace.storage.journal.shard_journal import newest_epoch, shard_folder
from populace.storage.journal.shipping import JournalRow, State, stored_row
from populace.storage.records.errors import StoreInvalid
from populace.storage.records.files import disk_named, write_durably
from populace.storage.shards.pages import read_snapshot
from populace.storage.store import JOURNAL_FILE, Store

SHARDS_AT_ONCE = 16


class _Place(BaseModel):
    """Which directory it is: ``inode`` is another one in a copy, and stays when the directory is moved."""

    machine: str
    path: str
    inode: int

    def __str__(self) -> str:
        return f"{self.path} on {self.machine}"


class Standing(BaseModel):
    """Up to where a shard has what its journal has: a ``Position``, with its digest in hexadecimal digits."""

    segment: int
    digest: str
    epoch: int
    commit: int

    @property
    def position(self) -> Position:
        return Position(self.segment, bytes.fromhex(self.digest), self.epoch, self.commit)


class FormerJournal(BaseModel):
    """A journal that a store had before, which would bring back whom it erased since.

    ``shards`` are those that it had then, None for one that was not in it. With ``is_ours`` it was found that
    no other machine goes on with it, and to empty it was begun.
    """

    url: str
    shards: tuple[Standing | None, ...]
    is_ours: bool = False


class _Noted(BaseModel):
    """``journal.json``. ``url`` has nothing that is secret; an earlier release noted no ``place``.

    ``joined``: the directory was begun for a store that others have, and its shards come from the journal.
    ``former`` are the journals before it that may have something of the store; its own is one after
    resharding, as its shards are others.
    """

    model_config = ConfigDict(strict=True, extra="ignore")

    url: str
    place: _Place | None = None
    joined: bool = False
    former: tuple[FormerJournal, ...] = ()


def note_journal(path: Path, bucket: Bucket, *, joins: bool = False) -> None:
    """Note in a data directory where its journal is, and which directory it is.

    ``joins``: what its shards hold is to come from there. Raises ``StoreInvalid`` and ``DiskRefused``.
    """
    with disk_named(path):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        joined = joins or awaited_shard(path) is not None
        former = _former(path, bucket.url)
        own = _Noted(url=bucket.url, place=_place_of(path), joined=joined, former=former)
        if _noted(path) != own:
            _write(path, own)


def _write(path: Path, noted: _Noted) -> None:
    with disk_named(path):
        write_durably(path / JOURNAL_FILE, noted.model_dump_json().encode() + b"\n")


def _former(path: Path, url: str) -> tuple[FormerJournal, ...]:
    """Return the journals that a directory had before the one of this URL.

    What a copy was made of goes on with its own journal, so that this is no former one of the copy.
    """
    noted = _noted(path)
    if noted is None or copied_from(path) is not None or not (path / HEADER_FILE).exists():
        return ()
    if noted.url == url:
        return noted.former
    own = FormerJournal(url=noted.url, shards=_standings(path))
    # Shards that replaced others have none yet, and what those had is known.
    known = [own] if any(own.shards) else [one for one in noted.former if one.url == noted.url]
    others = [one for one in noted.former if one.url not in (noted.url, url)]
    return (*others, *known)


def _standings(path: Path) -> tuple[Standing | None, ...]:
    stored = dict(_stored_rows(path))
    return tuple(
        None if (row := stored.get(number)) is None else _standing(row)
        for number in range(read_header(path).shards)
    )


def _standing(row: JournalRow) -> Standing:
    at = row.position
    return Standing(segment=at.segment, digest=at.digest.hex(), epoch=at.epoch, commit=row.commit)


def awaited_shard(path: Path) -> int | None:
    """Return a shard of a data directory that is still to come from the journal; None if all are whole.

    It is empty until a host has opened it, and may not be served as if the store had no people. Raises
    ``StoreInvalid``.
    """
    noted = _noted(path)
    if noted is None or not noted.joined:
        return None
    whole = {number for number, _ in _stored_rows(path)}
    return next((number for number in range(read_header(path).shards) if number not in whole), None)


def note_whole(path: Path) -> None:
    """Note that all shards of a data directory came from the journal, before they are replaced by others.

    The others begin another journal; this one is a former one then.

    Raises ``JournalNeeded`` if one did not, ``StoreInvalid`` and ``DiskRefused``.
    """
    _refuse_awaited(path)
    noted = _noted(path)
    if noted is None:
        return
    others = tuple(one for one in noted.former if one.url != noted.url)
    own = FormerJournal(url=noted.url, shards=_standings(path))
    _write(path, noted.model_copy(update={"joined": False, "former": (*others, own)}))


def former_journals(path: Path) -> list[FormerJournal]:
    """Return the journals that a store had before the one that it has now. Raises ``StoreInvalid``."""
    noted = _noted(path)
    return [] if noted is None else [one for one in noted.former if one.url != noted.url]


def note_former(path: Path, former: FormerJournal, *, is_done: bool) -> None:
    """Note how far a former journal is emptied; it is forgotten once that ``is_done``.

    Raises ``StoreInvalid`` and ``DiskRefused``.
    """
    noted = _noted(path)
    if noted is not None:
        one_of = [former if one.url == former.url else one for one in noted.former]
        left = tuple(one for one in one_of if not (is_done and one.url == former.url))
        _write(path, noted.model_copy(update={"former": left}))


def copied_from(path: Path) -> str | None:
    """Return the data directory that this one is a copy of, None if it is known of none.

    Both would go on with the journal where they are, and end each other. A directory on another disk of the
    same path and machine is taken for the same one, and a copy of a whole disk too. Raises ``StoreInvalid``.
    """
    noted = _noted(path)
    if noted is None or noted.place is None:
        return None
    own = _place_of(path)
    is_same = noted.place.inode == own.inode or (noted.place.machine, noted.place.path) == (
        own.machine,
        own.path,
    )
    return None if is_same else str(noted.place)


def refuse_copy(path: Path) -> None:
    """Raise ``JournalCopied`` if this data directory is known for a copy. Raises ``StoreInvalid``."""
    former = copied_from(path)
    if former is not None:
        raise JournalCopied(str(path), former, read_header(path).store_id)


def _place_of(path: Path) -> _Place:
    return _Place(machine=platform.node(), path=str(path.resolve()), inode=path.stat().st_ino)


def noted_journal(path: Path) -> str | None:
    """Return the URL of the last journal of a data directory; None if it never had one.

    Raises ``StoreInvalid`` if that cannot be read.
    """
    noted = _noted(path)
    return None if noted is None else noted.url


def _noted(path: Path) -> _Noted | None:
    try:
        return _Noted.model_validate_json((path / JOURNAL_FILE).read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise StoreInvalid(str(path), f"{JOURNAL_FILE} cannot be read: {error}") from error


def refuse_former(path: Path) -> None:
    """Raise ``JournalTakenOver`` if another machine went on with the store of the data directory.

    Raises ``JournalNeeded`` if it is not whole without its journal, ``BucketUnreachable`` and
    ``BucketRefused`` if the journal cannot be asked, and ``StoreInvalid``.
    """
    url = noted_journal(path)
    if url is None:
        return
    # First, as a journal that cannot be asked is no reason to serve a store that is empty.
    _refuse_awaited(path)
    rows = _rows(path)
    _refuse_overtaken(path, rows, open_bucket(url))
    for number, row in rows:
        if row.state is not State.FOLLOWS:
            raise JournalNeeded(number)


def _refuse_awaited(path: Path) -> None:
    awaited = awaited_shard(path)
    if awaited is not None:
        raise JournalNeeded(awaited)


def refuse_overtaken(path: Path, bucket: Bucket) -> None:
    """Raise ``JournalTakenOver`` if another machine went on with the store from its journal in this bucket.

    Raises ``BucketUnreachable``, ``BucketRefused`` and ``StoreInvalid``.
    """
    _refuse_overtaken(path, _rows(path), bucket)


def claims_of(path: Path) -> int:
    """Add up the epochs by which the shards of a data directory were claimed; 0 if they have no journal.

    Of several directories of one store the current one has the most. Raises ``StoreInvalid``.
    """
    if noted_journal(path) is None:
        return 0
    return sum(row.position.epoch for _, row in _stored_rows(path))


def journaled_shards(path: Path) -> list[int]:
    """Return the shards of a data directory that are served with a journal. Raises ``StoreInvalid``."""
    return [number for number, _ in _rows(path)]


def _rows(path: Path) -> Sequence[tuple[int, JournalRow]]:
    """Return how the shards stand that have a journal, and are served with it."""
    return [(number, row) for number, row in _stored_rows(path) if row.state is not State.LEFT]


def _stored_rows(path: Path) -> Iterator[tuple[int, JournalRow]]:
    store_id = read_header(path).store_id
    for number, shard in enumerate(Store.shard_paths(path, store_id)):
        with read_snapshot(shard) as txn:
            row = stored_row(txn)
        if row is not None:
            yield number, row


def _refuse_overtaken(path: Path, rows: Sequence[tuple[int, JournalRow]], bucket: Bucket) -> None:
    store_id = read_header(path).store_id

    def is_overtaken(standing: tuple[int, JournalRow]) -> bool:
        number, row = standing
        return newest_epoch(bucket, shard_folder(store_id, number)) > row.position.epoch

    with ThreadPoolExecutor(SHARDS_AT_ONCE, thread_name_prefix="populace-former") as threads:
        if any(threads.map(is_overtaken, rows)):
            raise JournalTakenOver(str(path), bucket.url)
