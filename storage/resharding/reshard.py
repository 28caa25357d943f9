"""Reshards a store: makes its shards anew in another number, and makes them the store in one step.

1. Every old shard is opened as its owner, which fences whoever had it before.
2. The new shards are written beside them, made durable, and read again: they hold the same rows.
3. Under the writer locks of all old shards, and if no one else took one over, the header gets the new number.
   That is one durable write. Whoever waits for one of the locks finds the new number after it has got it, see
   ``Store.open_shard``.
4. The old shards are removed.

A crash before the third step leaves the old store and after it the new one; the rest is removed by the next
``Store.create_or_open`` or resharding, see ``storage/shard_directories.py``.

Most rows belong to a model and move with it. The rows that do not are

* API keys and what is said of tenants, which are found by the shard of the id and of the name;
* erasures and orphans, which are looked for in all shards, and may be in several of them;
* a shard's own: who owns it, until when it was served, which compaction is due, which shard it is, and up to
  where its journal has it. The new shards begin journals of their own.
"""

import logging
import resource
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple, Protocol

from populace.storage import shard_directories
from populace.storage.directory_lock import DirectoryLock, alone_with_header
from populace.storage.header import SHARDS_MAX, Header, read_header, write_header
from populace.storage.records import erasures, journal_keys, keys, tenant_keys
from populace.storage.records.errors import Fenced, RecordInvalid, StoreDamaged, StoreInUse, StoreInvalid
from populace.storage.records.files import disk_named, forget_cached, sync_directory
from populace.storage.records.records import ApiKeyRecord, TenantRecord
from populace.storage.records.transaction import ReadTransaction
from populace.storage.resharding.errors import ReshardingFailed, ReshardingNeedsSpace
from populace.storage.shards import generations
from populace.storage.shards.ownership import check_header, epoch_row, served_row, stored_served_ms
from populace.storage.shards.pages import check_pages, read_snapshot
from populace.storage.shards.shard import Shard
from populace.storage.store import read_made_header

Row = tuple[bytes, bytes]

_MODEL_KINDS = frozenset(prefix[:1] for prefix in keys.model_prefixes("a", "a"))
_SPREAD_KINDS = frozenset({keys.erasures(), keys.orphans()})
_NEEDED_KINDS = (keys.data_key("a", "a")[:1], keys.head("a", "a")[:1])
_KINDS = sorted(_MODEL_KINDS | _SPREAD_KINDS | {keys.api_keys(), tenant_keys.all_tenants()})


class Placement(Protocol):
    """Where models, API keys and, as these, tenants are placed: ``policies/placement.py``."""

    def shard_of(self, tenant: str, model: str, shards: int) -> int: ...

    def shard_of_key(self, key_id: str, shards: int) -> int: ...


class Totals(NamedTuple):
    """What shards hold in all, which is equal for the same rows in whatever shards they are.

    ``rows`` counts them by kind, the first byte of their keys; ``digest`` is the sum of their hashes. A row
    that may be in several shards counts once.
    """

    rows: dict[bytes, int]
    digest: int

    @property
    def models(self) -> int:
        return self.rows.get(keys.all_identities(), 0)

    @property
    def api_keys(self) -> int:
        return self.rows.get(keys.api_keys(), 0)


class Survey:
    """The rows of a store's ``shards``: counted and, with a ``target``, assigned to that many new shards.

    It keeps about 100 bytes of each model, and the rows that belong to no model.
    """

    def __init__(self, placement: Placement, shards: int, target: int | None = None) -> None:
        self._placement = placement
        self._shards = shards
        self._target = target
        self._rows: Counter[bytes] = Counter()
        self._digest = 0
        self._spread = set[bytes]()
        self._models: list[list[bytes]] = [[] for _ in range(target or 0)]
        self._lone: list[list[Row]] = [[] for _ in range(target or 0)]

    def add(self, txn: ReadTransaction, path: Path, number: int) -> None:
        """Add the rows of one shard. Raises ``StoreDamaged`` for a row that does not belong there."""
        try:
            models = self._add_models(txn, number)
            for key, value in txn.scan(b""):
                self._add_row(models, number, key, value)
        except (_Misplaced, RecordInvalid, ValueError) as error:
            raise StoreDamaged(str(path), str(error)) from error

    def totals(self) -> Totals:
        return Totals(dict(self._rows), self._digest)

    def old_shards_of(self, new: int) -> set[int]:
        """Return the shards from which models come into the new one."""
        return {self._shard_of(model, self._shards) for model in self._models[new]}

    def rows_of(self, new: int, old: Sequence[ReadTransaction]) -> Iterator[Row]:
        """Walk over the rows of a new shard, ascending; ``old`` are transactions of all surveyed shards."""
        models = [(model, old[self._shard_of(model, self._shards)]) for model in sorted(self._models[new])]
        lone = sorted(self._lone[new])
        for kind in _KINDS:
            if kind in _MODEL_KINDS:
                for model, txn in models:
                    yield from txn.scan(kind + model)
            else:
                yield from (row for row in lone if row[0].startswith(kind))

    def _add_models(self, txn: ReadTransaction, number: int) -> set[bytes]:
        models = {key[1:] for key, _ in txn.scan(keys.all_identities())}
        for model in models:
            if self._shard_of(model, self._shards) != number:
                raise _Misplaced("it has a model that belongs in another shard")
            if any(txn.get(kind + model) is None for kind in _NEEDED_KINDS):
                raise _Misplaced("a model lacks its data key or its head")
            if self._target is not None:
                self._models[self._shard_of(model, self._target)].append(model)
        return models

    def _add_row(self, models: set[bytes], number: int, key: bytes, value: bytes) -> None:
        kind, target = key[:1], self._target
        if kind in _MODEL_KINDS:
            # The key of the data key is that of the model, after its kind.
            if keys.data_key_of(key)[1:] not in models:
                raise _Misplaced(f"a row of the kind {kind.decode()!r} belongs to no model")
        elif kind in _SPREAD_KINDS:
            if key in self._spread:
                return
            self._spread.add(key)
            if target is not None:
                self._lone[erasures.any_shard_of(key, target)].append((key, value))
        elif kind == keys.api_keys():
            self._add_lone(ApiKeyRecord.unpack(value).key_id, number, key, value)
        elif kind == tenant_keys.all_tenants():
            self._add_lone(TenantRecord.unpack(value).tenant, number, key, value)
        elif journal_keys.is_of_shard(key):
            return
        else:
            raise _Misplaced(f"it has a row of the unknown kind {kind!r}")
        self._rows[kind] += 1
        self._digest = (self._digest + _hash(key, value)) % 2**128

    def _add_lone(self, key_id: str, number: int, key: bytes, value: bytes) -> None:
        if self._placement.shard_of_key(key_id, self._shards) != number:
            raise _Misplaced("it has an API key or a tenant that belongs in another shard")
        if self._target is not None:
            self._lone[self._placement.shard_of_key(key_id, self._target)].append((key, value))

    def _shard_of(self, model: bytes, shards: int) -> int:
        tenant, name, _ = model.split(b"\0")
        return self._placement.shard_of(tenant.decode(), name.decode(), shards)


class _Misplaced(Exception):
    """A row is not where it belongs."""


def _hash(key: bytes, value: bytes) -> int:
    digest = blake2b(len(key).to_bytes(4, "big"), digest_size=16)
    digest.update(key)
    digest.update(value)
    return int.from_bytes(digest.digest(), "big")


logger = logging.getLogger(__name__)

Report = Callable[[str, float], None]
"""Called with what is being done now, and the share of that which is done, from 0 to 1."""

OWNER = "populace reshard"

SHARD_BYTES = 160 * 2**10
"""The disk that a shard takes beside its rows: LMDB's table of readers, and pages that are not full."""

_MAP_BYTES_SPARE = 2**20
_FILES_A_SHARD = 3
_FILES_SPARE = 128


class Resharded(NamedTuple):
    """The numbers of shards before and after, and what was moved."""

    former: int
    shards: int
    models: int
    api_keys: int
    rows: int


def reshard(path: Path, shards: int, *, placement: Placement, report: Report) -> Resharded | None:
    """Give the store at ``path`` that number of shards; return None if it has it already.

    Rows are moved as they are, which takes no key. Retention goes on from the least served time of the shards
    that a new one has models of, so that nothing expires early. Waits for processes that make or open
    the store just now. Raises ``StoreInUse``, ``StoreInvalid``, ``StoreVersionMismatch``, ``StoreDamaged``,
    ``ReshardingNeedsSpace``, ``ReshardingFailed``, ``DiskRefused`` and ``ShardStopped``; the store is as it
    was then.
    """
    assert 1 <= shards <= SHARDS_MAX, shards
    # Before the lock, which would make its file in a directory of another program.
    read_made_header(path)
    with disk_named(path), DirectoryLock(path, OWNER), alone_with_header(path):
        header = read_made_header(path)
        shard_directories.settle(path, header.shards)
        if header.shards == shards:
            return None
        if shard_directories.locate_shards(path, header.shards).is_symlink():
            raise StoreInvalid(str(path), "its shards are a symbolic link, and new ones would lie elsewhere")
        totals = _Resharding(path, header, shards, placement, report).run()
        try:
            shard_directories.settle(path, shards)
        except OSError as error:
            logger.warning("the former shards stay until the store is served or resharded next: %s", error)
    return Resharded(header.shards, shards, totals.models, totals.api_keys, sum(totals.rows.values()))


class _Resharding:
    """One resharding, from open old shards to new ones that are the store."""

    def __init__(self, path: Path, header: Header, shards: int, placement: Placement, report: Report) -> None:
        self._path = path
        self._header = header
        self._shards = shards
        self._placement = placement
        self._report = report
        self._former = shard_directories.locate_shards(path, header.shards)
        self._made = shard_directories.resharded(path, shards)

    def run(self) -> Totals:
        _allow_open_files(self._header.shards * _FILES_A_SHARD + _FILES_SPARE)
        with ExitStack() as stack:
            old = [stack.enter_context(closing(shard)) for shard in self._open_old()]
            self._check_space(old)
            try:
                totals = self._make(old)
                self._commit(old)
            except BaseException:
                # An error of the write itself leaves both: the header on disk decides which is the store.
                if read_header(self._path).shards == self._header.shards:
                    shutil.rmtree(self._made, ignore_errors=True)
                raise
        return totals

    def _open_old(self) -> list[Shard]:
        """Take ownership of every old shard, after a check of its pages: LMDB dies of a damaged one."""
        count = self._header.shards
        with ExitStack() as stack:
            opened: list[Shard] = []
            for number in range(count):
                path = shard_directories.shard_path(self._former, number)
                check_pages(path)
                place = generations.locate(path)
                if place is None:
                    raise StoreInvalid(str(path), "there is no shard")
                # The usual map of each of thousands of shards is more than the addresses that there are.
                map_bytes = (place / generations.DATA_FILE).stat().st_size + _MAP_BYTES_SPARE
                shard = Shard.open(
                    path, number, count, OWNER, sealing=None, map_bytes=map_bytes, create=False
                )
                opened.append(stack.enter_context(closing(shard)))
                self._report("Checking the shards", (number + 1) / count)
            stack.pop_all()
        return opened

    def _check_space(self, old: Sequence[Shard]) -> None:
        sizes = [shard.statistics() for shard in old]
        rows_bytes = sum(size.bytes_used - size.bytes_free for size in sizes)
        bytes_needed = rows_bytes + self._shards * SHARD_BYTES
        bytes_free = shutil.disk_usage(self._path).free
        if bytes_needed > bytes_free:
            raise ReshardingNeedsSpace(str(self._path), bytes_needed, bytes_free)

    def _make(self, old: Sequence[Shard]) -> Totals:
        """Make the new shards, durably, and check them; return what they hold."""
        survey = Survey(self._placement, self._header.shards, self._shards)
        with ExitStack() as stack:
            transactions = [stack.enter_context(shard.read()) for shard in old]
            for number, txn in enumerate(transactions):
                survey.add(txn, old[number].path, number)
                self._report("Reading the rows", (number + 1) / len(old))
            served = [stored_served_ms(txn) for txn in transactions]
            epoch = max(shard.epoch for shard in old)
            self._made.mkdir()
            for number in range(self._shards):
                contributing = [served[shard] for shard in survey.old_shards_of(number)]
                served_ms = min((ms for ms in contributing if ms is not None), default=None)
                own = [epoch_row(epoch, OWNER), *([] if served_ms is None else [served_row(served_ms)])]
                path = shard_directories.shard_path(self._made, number)
                Shard.create(path, number, self._shards, (*own, *survey.rows_of(number, transactions)))
                self._report("Moving the rows", (number + 1) / self._shards)
        sync_directory(self._made)
        sync_directory(self._path)
        totals = survey.totals()
        self._check_new(totals)
        return totals

    def _check_new(self, expected: Totals) -> None:
        """Read the new shards from the disk. Raises ``ReshardingFailed`` if they do not hold the old rows."""
        survey = Survey(self._placement, self._shards)
        for number in range(self._shards):
            path = shard_directories.shard_path(self._made, number)
            try:
                for data in path.rglob(generations.DATA_FILE):
                    forget_cached(data)
                check_pages(path)
                with read_snapshot(path) as txn:
                    check_header(txn, str(path), number, self._shards)
                    survey.add(txn, path, number)
            except StoreDamaged as error:
                raise ReshardingFailed(str(self._path), f"shard {number}: {error.found}") from error
            except StoreInvalid as error:
                raise ReshardingFailed(str(self._path), f"shard {number}: {error.reason}") from error
            self._report("Checking the new shards", (number + 1) / self._shards)
        found = survey.totals()
        if found.rows != expected.rows:
            moved, lost = sum(found.rows.values()), sum(expected.rows.values())
            raise ReshardingFailed(str(self._path), f"they have {moved} rows instead of {lost}")
        if found.digest != expected.digest:
            raise ReshardingFailed(str(self._path), "a row was changed")

    def _commit(self, old: Sequence[Shard]) -> None:
        try:
            with ExitStack() as stack:
                for shard in old:
                    stack.enter_context(shard.held())
                write_header(self._path, self._header.model_copy(update={"shards": self._shards}))
        except Fenced as error:
            raise StoreInUse(str(self._path), "another process, which opened its shards meanwhile") from error
        logger.info("the store at %s has %d shards now", self._path, self._shards)


def _allow_open_files(files: int) -> None:
    """Raise this process's limit of open files if it is below ``files``, as far as that is allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = files if hard == resource.RLIM_INFINITY else min(files, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
