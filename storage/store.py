"""The data directory: a header, one LMDB environment for each shard, and the adapters.

On disk::

    store.json          {"format": "populace-store", "schema": 5, "shards": S, "store_id": hex,
                         "master_key": hex, "whole": true, "sealed": true}
    master.key          the key of the data keys, see ``storage/records/master_key.py``; may lie elsewhere
    journal.json        where its journal is, if it has one, see ``storage/journal/former.py``
    LOCK                held with flock by the serving process; its text names it
    shards/0000/        shard 0, see ``storage/shards/generations.py``, and so on up to S - 1
    shards-S/           the shards of a resharding that was interrupted, see ``storage/shard_directories.py``
    revisions/          adapters, see ``storage/revisions.py``
    training/           trainings that were interrupted or kept, see ``storage/training/sessions.py``
    uploads/            files that callers uploaded, see ``storage/uploads/upload_files.py``
    logs/               what its processes logged, see ``runtime/telemetry/log_setup.py``
    traces/             their traces, if they are on, see ``runtime/telemetry/trace_files.py``

S decides which shard holds a model, so only a resharding, which moves all rows, changes it. The header is
written first, then the shards, then ``whole``: from then on a shard that is absent was lost. It
names the master key, so that another one is refused before anything is read with it.

Schema 3 had no packed adapters: a release that knows only directories would not remove those of erased
models. Its adapters stay as they are, and only the number is raised.
Schema 2 had no keys; ``sealed`` says that its rows were migrated, see ``storage/shards/migration.py``.
Schema 1 had no ``whole``, made a shard when it was first opened, and had its environment in
``shards/0000`` itself. The schema's number is raised before the shards are changed, so that the
release that wrote them cannot make a fresh shard where one was moved away.
"""

import contextlib
import logging
import secrets
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

from populace.storage import shard_directories
from populace.storage.directory_lock import LOCK_FILE, DirectoryLock, alone_with_header
from populace.storage.header import HEADER_FILE, SHARDS_MAX, Header, read_header, write_header
from populace.storage.records import keys
from populace.storage.records.errors import (
    MasterKeyRefused,
    RecordInvalid,
    ShardStopped,
    StorageError,
    StoreDamaged,
    StoreInvalid,
)
from populace.storage.records.files import disk_named, forget_cached, is_temporary, sync_directory
from populace.storage.records.master_key import MASTER_KEY_FILE, MasterKey
from populace.storage.records.sealing import Sealing
from populace.storage.records.transaction import ReadTransaction
from populace.storage.revisions import RevisionFiles
from populace.storage.shards import generations
from populace.storage.shards.environments import MAP_BYTES
from populace.storage.shards.generations import DATA_FILE
from populace.storage.shards.migration import migrate_shard
from populace.storage.shards.ownership import check_header
from populace.storage.shards.pages import check_pages, read_snapshot
from populace.storage.shards.shard import Shard

logger = logging.getLogger(__name__)

JOURNAL_FILE = "journal.json"
REVISIONS_DIRECTORY = "revisions"
SHARDS_DEFAULT = 64
"""Each costs 90 kB of disk, 0.1 MiB of memory and three open files of its host."""

ADDRESS_BYTES_MAX = 16 * 2**40
"""The maps of all shards together take at most this of a process's addresses, which are 128 TiB.

A map that becomes too small grows.
"""

CREATIONS_MAX = 8
"""How many shards are made at a time. Each waits for its syncs, which a disk does together."""

_OUR_NAMES_BEFORE_THE_HEADER = frozenset({LOCK_FILE, MASTER_KEY_FILE, JOURNAL_FILE, "logs", "traces"})
"""``logs`` and ``traces``: a host on another machine tells of itself before it has made the store there."""


class Store:
    """An existing data directory. It keeps no file open."""

    def __init__(self, path: Path, shards: int, store_id: str, sealing: Sealing) -> None:
        """Use ``Store.create_or_open``."""
        self.path = path
        self.shards = shards
        self.store_id = store_id
        self.sealing = sealing
        self.revisions = RevisionFiles(path / REVISIONS_DIRECTORY)
        self._shards_directory = shard_directories.locate_shards(path, shards)

    @classmethod
    def create_or_open(cls, path: Path, shards: int | None = None, *, master_key: Path | None = None) -> Self:
        """Open the store, or make one with ``shards`` shards (64 if None) in an empty or new directory.

        ``master_key`` is the file of the master key, in the directory itself if None; it is made
        together with the store. A store of an older schema is migrated first, which fences the process
        that serves it and takes some seconds for each GB. What an interrupted resharding left is removed.
        Processes that do this at once agree on one store. Raises ``StoreInvalid`` (another shard count than
        ``shards``, a damaged header, a lost shard, a directory of another program), ``MasterKeyRefused``,
        ``StoreVersionMismatch``, ``DiskRefused`` and ``DiskFull``.
        """
        assert shards is None or 1 <= shards <= SHARDS_MAX, shards
        with disk_named(path):
            _make_directory(path)
        with disk_named(path), alone_with_header(path):
            if not (path / HEADER_FILE).exists():
                _refuse_foreign(path)
                key = MasterKey.load_or_create(cls.master_key_path(path, master_key))
                header = Header(
                    shards=shards or SHARDS_DEFAULT, store_id=secrets.token_hex(16), master_key=key.key_id
                )
                write_header(path, header)
            header = read_header(path)
            if shards is not None and shards != header.shards:
                raise StoreInvalid(
                    str(path),
                    f"it has {header.shards} shards and not {shards}; `populace reshard` changes that",
                )
            _make_current(path, header, cls.master_key_path(path, master_key))
        return cls.open(path, master_key=master_key)

    @classmethod
    def join(
        cls, path: Path, *, store_id: str, shards: int, key_id: str, master_key: Path | None = None
    ) -> Self:
        """Open the directory of a store that exists elsewhere too, or begin one with empty shards.

        For another machine that goes on with the store ``store_id``: what its shards hold comes from a
        journal. One of an older schema is migrated first. ``key_id`` names its master key, which must be
        there already, in the file ``master_key``.
        Processes that do this at once agree. Raises ``StoreInvalid``, also for the directory of another
        store or program, ``MasterKeyRefused``, ``StoreVersionMismatch``, ``DiskRefused`` and ``DiskFull``.
        """
        with disk_named(path):
            _make_directory(path)
        with disk_named(path), alone_with_header(path):
            cls.check_join(path, store_id=store_id, shards=shards, key_id=key_id, master_key=master_key)
            if not (path / HEADER_FILE).exists():
                write_header(path, Header(shards=shards, store_id=store_id, master_key=key_id))
            _make_current(path, read_header(path), cls.master_key_path(path, master_key))
        return cls.open(path, master_key=master_key)

    @classmethod
    def check_join(
        cls, path: Path, *, store_id: str, shards: int, key_id: str, master_key: Path | None = None
    ) -> None:
        """Raise what would keep ``join`` from a directory; make and change nothing."""
        # A host that joins beside this one makes the header at any moment: it is looked for last.
        if not (path / HEADER_FILE).exists() and path.exists():
            with disk_named(path):
                _refuse_foreign(path)
        if (path / HEADER_FILE).exists():
            header = read_header(path)
            if header.store_id != store_id:
                reason = (
                    f"it is that of the store {header.store_id}, and {store_id} is to be served; "
                    "name an empty directory with POPULACE_DATA"
                )
                raise StoreInvalid(str(path), reason)
            if header.shards != shards:
                reason = (
                    f"it has {header.shards} shards, and the store has {shards} by now; "
                    "name an empty directory with POPULACE_DATA"
                )
                raise StoreInvalid(str(path), reason)
        # Also for one that had no keys yet: it gets those of the store.
        _load_key(
            cls.master_key_path(path, master_key),
            Header(shards=shards, store_id=store_id, master_key=key_id),
        )

    @classmethod
    def open(cls, path: Path, *, master_key: Path | None = None) -> Self:
        """Open an existing store. For hosts, which must not start over in an empty directory.

        Raises ``StoreInvalid``, also for a store whose creation or migration was not finished,
        ``MasterKeyRefused`` and ``StoreVersionMismatch``.
        """
        header = read_made_header(path)
        key = _load_key(cls.master_key_path(path, master_key), header)
        return cls(path, header.shards, header.store_id, Sealing(key))

    @classmethod
    def lay_out(cls, path: Path, shards: int, store_id: str, master_key: MasterKey) -> Self:
        """Begin a store in a directory that is not visible yet: its shards and key file are made next.

        Raises ``DiskRefused``.
        """
        with disk_named(path):
            (path / shard_directories.SHARDS_DIRECTORY).mkdir()
            header = Header(
                shards=shards, store_id=store_id, master_key=master_key.key_id, whole=True, sealed=True
            )
            write_header(path, header)
        return cls(path, shards, store_id, Sealing(master_key))

    @staticmethod
    def shard_paths(path: Path, store_id: str) -> list[Path]:
        """Return the paths of the shards of the store ``store_id``, without needing its master key.

        Raises ``StoreInvalid``, also for another store, and ``StoreVersionMismatch``.
        """
        header = read_header(path)
        if header.store_id != store_id:
            raise StoreInvalid(str(path), "it is another store")
        directory = shard_directories.locate_shards(path, header.shards)
        return [shard_directories.shard_path(directory, number) for number in range(header.shards)]

    @staticmethod
    def master_key_path(path: Path, master_key: Path | None) -> Path:
        """Return the path of a store's master key: ``master_key``, or the one in the directory if None."""
        return master_key or path / MASTER_KEY_FILE

    @staticmethod
    def adapters(path: Path) -> RevisionFiles:
        """Return the adapters of a store, without needing its master key.

        Raises ``StoreInvalid``, also if a migration was not finished, and ``StoreVersionMismatch``.
        """
        read_made_header(path)
        return RevisionFiles(path / REVISIONS_DIRECTORY)

    def shard_path(self, number: int) -> Path:
        assert 0 <= number < self.shards, number
        return shard_directories.shard_path(self._shards_directory, number)

    def open_shard(self, number: int, owner: str, *, map_bytes: int = MAP_BYTES) -> Shard:
        """Open the shard and fence every earlier owner. See ``Shard.open``."""
        shard = Shard.open(
            self.shard_path(number),
            number,
            self.shards,
            owner,
            sealing=self.sealing,
            map_bytes=min(map_bytes, ADDRESS_BYTES_MAX // self.shards),
            create=False,
        )
        try:
            # Also for an existing one: the process that made it may have been killed before it synced the
            # names, and a commit makes a file's content durable but not its name.
            for directory in (shard.path, shard.path.parent, self.path):
                sync_directory(directory)
            self._check_shard_count()
        except OSError as error:
            shard.close()
            raise ShardStopped(number, str(error)) from error
        except StorageError:
            shard.close()
            raise
        return shard

    @contextlib.contextmanager
    def read_shard(self, number: int) -> Generator[ReadTransaction]:
        """Read one consistent snapshot of a shard without owning it, values as they are on disk.

        Raises ``StoreInvalid``, also if the store has another number of shards by now, ``DiskRefused``, and
        ``StoreInUse`` if this process has the shard open.
        """
        path = self.shard_path(number)
        with read_snapshot(path) as transaction:
            check_header(transaction, str(path), number, self.shards)
            yield transaction

    def recover_shard(self, number: int, owner: str) -> Shard:
        """Open the shard after its disk failed: read it from disk and not from memory, and check all of it.

        It must not be open in this process. Takes about 7 s for each GB, and 45 us for each
        interaction. Raises ``StoreDamaged``, and ``ShardStopped`` if the disk still fails; see also
        ``Shard.open``.
        """
        path = self.shard_path(number)
        try:
            for data in path.rglob(DATA_FILE):
                forget_cached(data)
            check_pages(path)
        except OSError as error:
            raise ShardStopped(number, str(error)) from error
        shard = self.open_shard(number, owner)
        try:
            shard.check_integrity()
        except (AssertionError, RecordInvalid, ValueError) as error:
            shard.close()
            raise StoreDamaged(str(path), f"{type(error).__name__}: {error}") from error
        except BaseException:
            shard.close()
            raise
        logger.info("shard %d is whole and serves again", number)
        return shard

    def lock(self, owner: str) -> DirectoryLock:
        """Take the directory for one serving process. Raises ``StoreInUse``."""
        return DirectoryLock(self.path, owner)

    def _check_shard_count(self) -> None:
        """Raise ``StoreInvalid`` if a resharding replaced the shards.

        It does so under the writer locks of all former shards, so that every later owner of one sees it.
        """
        shards = read_header(self.path).shards
        if shards != self.shards:
            raise StoreInvalid(str(self.path), f"it has {shards} shards by now and not {self.shards}")


def read_made_header(path: Path) -> Header:
    """Read the header of a store that can be opened.

    Raises ``StoreInvalid``, also for a store whose creation or migration was not finished, and
    ``StoreVersionMismatch``.
    """
    header = read_header(path)
    if not header.is_made:
        raise StoreInvalid(
            str(path), f"it was not made or migrated to schema {keys.SCHEMA} to its end; serve it to do that"
        )
    return header


def _refuse_foreign(path: Path) -> None:
    """Raise ``StoreInvalid`` for a directory without a header that something else is in."""
    # Of a process that was killed, or of one that replaces its file right now.
    left = (path / HEADER_FILE, path / MASTER_KEY_FILE, path / JOURNAL_FILE)
    foreign = sorted(
        entry.name
        for entry in path.iterdir()
        if entry.name not in _OUR_NAMES_BEFORE_THE_HEADER
        and not any(is_temporary(entry.name, one) for one in left)
    )
    if foreign and not (path / HEADER_FILE).exists():
        raise StoreInvalid(str(path), f"it holds other files, such as {foreign[0]!r}")


def _load_key(path: Path, header: Header) -> MasterKey:
    key = MasterKey.load(path)
    if key.key_id != header.master_key:
        raise MasterKeyRefused(str(path), "it is that of another store")
    return key


def _make_current(path: Path, header: Header, master_key: Path) -> None:
    """Finish what was interrupted, and migrate a store of an older schema."""
    shard_directories.settle(path, header.shards)
    if not (header.whole and header.sealed):
        _make_whole(path, header, master_key)
    elif header.schema_version < keys.SCHEMA:
        # Each shard gets the number when it is opened.
        write_header(path, header.model_copy(update={"schema_version": keys.SCHEMA}))


def _make_whole(path: Path, header: Header, master_key: Path) -> None:
    """Make the shards that are absent and migrate those of an older schema; resumes after a crash."""
    if header.master_key is None:
        # Before the header says that the store has one.
        key_id = MasterKey.load_or_create(master_key).key_id
        header = header.model_copy(update={"master_key": key_id})
    header = header.model_copy(update={"schema_version": keys.SCHEMA})
    write_header(path, header)
    sealing = Sealing(_load_key(master_key, header), opens_plain=True)
    shards = path / shard_directories.SHARDS_DIRECTORY
    shards.mkdir(exist_ok=True)
    sync_directory(path)
    generations.sweep_unmade(shards)
    paths = [shard_directories.shard_path(shards, number) for number in range(header.shards)]
    found = [header.whole or generations.locate(shard_path) is not None for shard_path in paths]

    def create(number: int) -> None:
        Shard.create(paths[number], number, header.shards)

    with ThreadPoolExecutor(CREATIONS_MAX, thread_name_prefix="populace-create") as pool:
        list(pool.map(create, (number for number in range(header.shards) if not found[number])))
    for number, shard_path in enumerate(paths):
        if found[number]:
            migrate_shard(shard_path, number, header.shards, sealing)
    write_header(path, header.model_copy(update={"whole": True, "sealed": True}))


def _make_directory(path: Path) -> None:
    """Make the directory of a store, in which nobody but its user reads anything."""
    if path.is_dir():
        return
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise StoreInvalid(str(path), str(error)) from error
    sync_directory(path.parent)
