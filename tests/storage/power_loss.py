"""Disks as a power loss may leave them, rebuilt from a recording, and what must still be on them.

The model is harsher than file systems are: what was synced is there; of the rest any 4 KiB block of
any write, any growth of a file and any change of a directory may be missing on its own, and a block may
be torn after any sector. Syncing a file does not make its name durable: its directory has to be synced.

``python -m tests.storage.power_loss TRACE ROOT FIRST LAST WORK`` rebuilds the images of the seeds
``[FIRST, LAST)`` in the folder WORK, checks them, and prints a line for each; what is wrong stays there.
"""

import random
import shutil
import subprocess
import sys
from collections import Counter, defaultdict
from contextlib import ExitStack, closing
from pathlib import Path
from typing import NamedTuple

from populace.policies.placement import shard_of
from populace.storage.records.errors import ModelNotFound
from populace.storage.records.transaction import ReadTransaction
from populace.storage.revisions import SUFFIX
from populace.storage.rows import ledger
from populace.storage.store import Store
from tests.limits import HANG_SECONDS
from tests.storage.disk_recording import (
    REPOSITORY,
    DiskRecording,
    Entry,
    Inode,
    Resize,
    Write,
    read_recording,
)
from tests.storage.power_loss_writer import LATEST, operation_of, reply_of
from tests.storage.samples import TENANT

BLOCK_BYTES = 4096
SECTOR_BYTES = 512
CHUNK = 60
"""So many images are checked by one process, which a damaged one may kill."""


class Verdict(NamedTuple):
    """What is wrong with the image of a seed; None if nothing is."""

    seed: int
    problem: str | None


def judge(trace: Path, root: Path, work: Path, images: int) -> list[Verdict]:
    """Check the images of the seeds ``[0, images)``, each in a child process."""
    verdicts: list[Verdict] = []
    while len(verdicts) < images:
        first = len(verdicts)
        last = min(images, first + CHUNK)
        command = [sys.executable, "-m", "tests.storage.power_loss", str(trace), str(root)]
        command += [str(first), str(last), str(work)]
        with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as child:
            try:
                output, _ = child.communicate(timeout=HANG_SECONDS)
            except subprocess.TimeoutExpired:
                child.kill()
                output, _ = child.communicate()
        for line in output.splitlines():
            seed, _, problem = line.partition(" ")
            verdicts.append(Verdict(int(seed), problem or None))
        # Damaged pages end a reader by a signal, or never; any other end says nothing about the image.
        assert child.returncode <= 0, "the reader failed, and its stderr says why"
        if len(verdicts) < last:
            verdicts.append(Verdict(len(verdicts), f"the reader ended with {child.returncode}"))
    return verdicts


def lose_power(recording: DiskRecording, seed: int, target: Path) -> list[str]:
    """Make ``target`` what the disk may be after a power loss; answers the lines written before it."""
    rng = random.Random(seed)
    end = _moment(recording, rng)
    kept = rng.choice((0.0, 0.25, 0.5, 0.75, 0.95, 1.0))
    synced_until: dict[Inode, int] = {}
    for sync in recording.syncs:
        if sync.done < end and not sync.failed:
            synced_until[sync.inode] = max(synced_until.get(sync.inode, 0), sync.begun)

    files: defaultdict[Inode, _File] = defaultdict(_File)
    names: defaultdict[Inode, dict[str, Inode]] = defaultdict(dict)
    for change in recording.changes:
        if change.begun >= end:
            continue
        durable = change.done < synced_until.get(change.inode, 0)
        match change:
            case Write():
                durable = durable or (change.durable and change.done < end)
                files[change.inode].write(change, rng, durable, kept)
            case Resize():
                files[change.inode].resize(change.size, rng, durable, kept)
            case Entry():
                if durable or rng.random() < kept:
                    _enter(names[change.inode], change)
    _lay_out(recording.root, target, files, names, rng)
    return [line.text for line in recording.lines if line.begun < end]


class _File:
    def __init__(self) -> None:
        self.content = bytearray()
        self._size = 0
        self._durable_size = 0
        self._sizes: list[int] = []

    def write(self, write: Write, rng: random.Random, durable: bool, kept: float) -> None:
        end = write.offset + len(write.data)
        self._size = max(self._size, end)
        if durable:
            self._durable_size = max(self._durable_size, end)
            self._put(write.offset, write.data)
            return
        self._sizes.append(self._size)
        start = 0
        while start < len(write.data):
            at = write.offset + start
            piece = write.data[start : start + BLOCK_BYTES - at % BLOCK_BYTES]
            start += len(piece)
            if rng.random() < kept:
                self._put(at, piece)
            elif rng.random() < 0.25:
                whole = range(SECTOR_BYTES - at % SECTOR_BYTES, len(piece), SECTOR_BYTES)
                self._put(at, piece[: rng.choice(whole)] if whole else b"")

    def resize(self, size: int, rng: random.Random, durable: bool, kept: float) -> None:
        self._size = size
        if durable:
            self._durable_size = size
        elif rng.random() >= kept:
            return
        self._sizes = [size]
        self.content = self.content[:size].ljust(size, b"\0")

    def read(self, rng: random.Random) -> bytes:
        """The content, whose growth since the last sync may be missing in part."""
        size = max(self._durable_size, rng.choice([*self._sizes, self._durable_size, self._size]))
        return bytes(self.content[:size].ljust(size, b"\0"))

    def _put(self, offset: int, data: bytes) -> None:
        if len(self.content) < offset:
            self.content.extend(bytes(offset - len(self.content)))
        self.content[offset : offset + len(data)] = data


def _moment(recording: DiskRecording, rng: random.Random) -> int:
    """Half of the time any moment, else just after something was acknowledged: there a loss would show."""
    if rng.random() < 0.5:
        return rng.randrange(recording.changes[0].begun, recording.length + 1)
    return rng.choice(recording.lines).begun + rng.randrange(1, 4)


def _enter(names: dict[str, Inode], entry: Entry) -> None:
    if entry.removed is not None:
        names.pop(entry.removed, None)
    if entry.added is not None:
        names[entry.added[0]] = entry.added[1]


def _lay_out(
    directory: Inode,
    target: Path,
    files: defaultdict[Inode, _File],
    names: defaultdict[Inode, dict[str, Inode]],
    rng: random.Random,
) -> None:
    target.mkdir()
    for name, inode in names[directory].items():
        if inode.is_directory:
            _lay_out(inode, target / name, files, names, rng)
        elif name == "lock.mdb":
            # It is written as mapped memory, so it may hold anything.
            (target / name).write_bytes(rng.randbytes(len(files[inode].content)))
        else:
            (target / name).write_bytes(files[inode].read(rng))


def check(path: Path, lines: list[str]) -> None:
    """Raise unless the store at ``path`` has everything that the lines acknowledge, and only whole things."""
    told: defaultdict[str, list[list[str]]] = defaultdict(list)
    for line in lines:
        verb, *words = line.split()
        told[verb].append(words)

    store = Store.create_or_open(path, None if told["resharding"] else 1)
    numbers = [1, *(int(number) for [number] in told["resharding"])]
    assert store.shards in numbers[len(told["resharded"]) :]
    assert [entry.name for entry in path.glob("*shards*")] == ["shards"]
    if told["store"]:
        assert [store.store_id] == told["store"][0]
    for [digest] in told["stored"]:
        store.revisions.verify(digest)
    for entry in store.revisions.root.glob("[!.]*"):
        store.revisions.verify(entry.name.removesuffix(SUFFIX))
    with ExitStack() as stack:
        txns: list[ReadTransaction] = []
        for number in range(store.shards):
            shard = stack.enter_context(closing(store.open_shard(number, "the heir")))
            shard.check_integrity()
            txns.append(stack.enter_context(shard.read()))
        _check_models(txns, told)


def _check_models(txns: list[ReadTransaction], told: dict[str, list[list[str]]]) -> None:
    turns = Counter(name for name, _ in told["turn"])
    for [name] in told["created"]:
        txn = txns[shard_of(TENANT, name, len(txns))]
        try:
            log = ledger.read_log(txn, TENANT, name, limit=1000)
        except ModelNotFound:
            assert [name] in told["deleting"], f"{name} is lost"
            continue
        assert [name] not in told["deleted"], f"{name} is back"
        assert len(log) - turns[name] in (0, 1), f"{name} has {len(log)} turns of {turns[name]}"
        for position, interaction in enumerate(log):
            assert interaction.reply == reply_of(name, position), f"turn {position} of {name} is another"
            found = ledger.find_operation(txn, TENANT, name, operation_of(name, position), now_ms=0)
            assert found is not None, f"the operation of turn {position} of {name} is lost"
            assert found[1] == interaction, f"turn {position} of {name} is there twice"
    for name, digest in dict(told["published"]).items():
        txn = txns[shard_of(TENANT, name, len(txns))]
        latest = ledger.read_revision(txn, TENANT, name, LATEST).digest
        # The one after it may have been committed and not been acknowledged yet.
        assert latest == digest or [name, latest] not in told["published"], f"{name} is back at {latest}"


def main() -> None:
    trace, root, first, last, work = sys.argv[1:]
    recording = read_recording(Path(trace), Path(root))
    for seed in range(int(first), int(last)):
        image = Path(work) / f"image-{seed}"
        try:
            check(image, lose_power(recording, seed, image))
        except Exception as error:
            print(seed, type(error).__name__, str(error).replace("\n", " ")[:300], flush=True)
        else:
            shutil.rmtree(image)
            print(seed, flush=True)


if __name__ == "__main__":
    main()
