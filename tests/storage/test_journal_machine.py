"""What a journal restores, against what was acknowledged, over all orders of commits, losses and takeovers.

Two machines own one shard in turns, each with a directory of its own, and may both believe that they do. The
bucket is one in memory, whose writes may be lost, take effect without an answer, or take effect late, and
whose objects may be damaged: then what was acknowledged is there, or it is refused by name.
"""

import contextlib
import itertools
import shutil
import tempfile
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from populace.storage.journal.attaching import attach, take_snapshot
from populace.storage.journal.damage import find_damage
from populace.storage.journal.errors import (
    BucketUnreachable,
    JournalDamaged,
    JournalElsewhere,
    JournalOvertaken,
    JournalUnsettled,
    NothingThen,
    SegmentsGone,
)
from populace.storage.journal.journals import collect
from populace.storage.journal.restoring import restore_shard
from populace.storage.journal.sealing import JournalSeal
from populace.storage.journal.shard_journal import ShardJournal
from populace.storage.journal.shipping import Shipping
from populace.storage.records import erasures, keys
from populace.storage.records.errors import Fenced, ShardStopped, UnknownOutcome
from populace.storage.records.records import MemoryRecord
from populace.storage.records.transaction import WriteTransaction
from populace.storage.shards.shard import Shard
from tests.storage.faulty_bucket import Fault, FaultyBucket
from tests.storage.samples import SEALING, TENANT, create_model, identity, open_shard

MACHINES = ("one", "other")
FAULTS = st.sampled_from([(), *((fault,) for fault in Fault), *((None, fault) for fault in Fault)])
"""Those of the next writes: of a commit that changes data keys, the first one is of these."""


def memory_of(person: str) -> bytes:
    return MemoryRecord(version=0, payload=person.encode()).pack()


class NoAdapters:
    """The models of this test have none."""

    def keep(self, digest: str) -> None:
        raise AssertionError(digest)


@dataclass
class Machine:
    """A machine with a directory; ``shard`` is open while it believes that it owns it."""

    path: Path
    shard: Shard | None = None
    journal: ShardJournal | None = None
    shipping: Shipping | None = None
    refused_erasures: set[str] = field(default_factory=set[str])


class JournalMachine(RuleBasedStateMachine):
    """Each write puts a row of its own, so that a restored shard shows which writes it has."""

    is_sync: bool

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(dir="/dev/shm"))
        self.bucket = FaultyBucket()
        self.machines = {name: Machine(self.root / name) for name in MACHINES}
        self.numbers = itertools.count(1)
        self._clock = itertools.count(1)
        self.acknowledged: set[int] = set()
        self.unknown: set[int] = set()
        self.refused: set[int] = set()
        self.people: set[str] = set()
        self.erased: set[str] = set()
        self.restores = 0
        self.is_damaged = False

    @initialize()
    def begin(self) -> None:
        self.open("one")

    @rule(name=st.sampled_from(MACHINES))
    def open(self, name: str) -> None:
        """Open the shard on a machine and take the journal; the other one goes on until it notices."""
        machine = self.machines[name]
        self._close(machine)
        shard = open_shard(machine.path)
        journal = self._journal(name)
        try:
            machine.shipping = attach(shard, journal, NoAdapters(), is_sync=self.is_sync)
        except (BucketUnreachable, JournalUnsettled, SegmentsGone):
            shard.close()
            return
        except (JournalDamaged, JournalElsewhere):
            shard.close()
            assert self.is_damaged
            return
        machine.shard, machine.journal = shard, journal
        shard.check_integrity()
        with shard.read() as txn:
            self.check_found({int(value) for _, value in txn.scan(keys.api_keys())})

    @rule(name=st.sampled_from(MACHINES), faults=FAULTS, person=st.booleans())
    def write(self, name: str, faults: Sequence[Fault | None], person: bool) -> None:
        machine, number = self.machines[name], next(self.numbers)
        if machine.shard is None:
            return
        created = f"p{number}" if person else None

        def operation(txn: WriteTransaction) -> None:
            txn.put(keys.api_key(str(number)), str(number).encode())
            if created is not None:
                create_model(txn, identity(created))
                txn.put(keys.memory(TENANT, created), memory_of(created))

        if self._run(machine, operation, number, faults) and created is not None:
            self.people.add(created)

    @precondition(lambda self: self.people)
    @rule(name=st.sampled_from(MACHINES), faults=FAULTS, data=st.data())
    def erase(self, name: str, faults: Sequence[Fault | None], data: st.DataObject) -> None:
        machine, number = self.machines[name], next(self.numbers)
        person = data.draw(st.sampled_from(sorted(self.people)))
        if machine.shard is None:
            return

        def operation(txn: WriteTransaction) -> None:
            erasures.erase_model(txn, TENANT, person, now_ms=1)
            txn.put(keys.api_key(str(number)), str(number).encode())

        try:
            with machine.shard.read() as txn:
                if txn.get(keys.identity(TENANT, person)) is None:
                    return  # the other machine has created them
        except Fenced:
            self._close(machine)  # it shipped to a journal that the other machine has
            return
        self.people.discard(person)
        if self._run(machine, operation, number, faults):
            self.erased.add(person)
        elif self._is_open(machine):
            # Refused: the journal may lack its key until the next commit of this machine.
            machine.refused_erasures.add(person)

    @rule(name=st.sampled_from(MACHINES), faults=FAULTS)
    def ship(self, name: str, faults: Sequence[Fault | None]) -> None:
        machine = self.machines[name]
        if machine.shipping is not None and machine.shard is not None:
            self.bucket.faults[:] = faults
            with contextlib.suppress(BucketUnreachable, ShardStopped, Fenced), self._expected_damage():
                machine.shipping.ship()
            self.bucket.faults.clear()

    @rule(name=st.sampled_from(MACHINES), faults=FAULTS, collects=st.booleans())
    def snapshot(self, name: str, faults: Sequence[Fault | None], collects: bool) -> None:
        machine = self.machines[name]
        if machine.shard is None or machine.journal is None or machine.shipping is None:
            return
        self.bucket.faults[:] = faults
        away = contextlib.suppress(BucketUnreachable, ShardStopped, Fenced, JournalOvertaken)
        with away, self._expected_damage():
            take_snapshot(machine.journal, machine.shipping)
            if collects:
                collect(machine.journal, kept_from_ms=self.now_ms())
        self.bucket.faults.clear()

    @rule(name=st.sampled_from(MACHINES))
    def kill(self, name: str) -> None:
        self._close(self.machines[name])

    @rule(name=st.sampled_from(MACHINES))
    def lose_disk(self, name: str) -> None:
        machine = self.machines[name]
        self._close(machine)
        shutil.rmtree(machine.path, ignore_errors=True)

    @precondition(lambda self: not self.bucket.is_down)
    @rule(kind=st.sampled_from(["j", "s"]), from_end=st.integers(0, 5), removes=st.booleans())
    def damage(self, kind: str, from_end: int, removes: bool) -> None:
        """Cut an object; a snapshot may also be removed. Whether a segment is the last no one else knows."""
        found = self._journal("a fault").listed(kind)
        if from_end < len(found):
            self.is_damaged = True
            name = found[-1 - from_end].name
            if removes and kind == "s":
                self.bucket.bucket.remove([name])
            else:
                self.bucket.bucket.replace(name, (self.bucket.read(name) or b"")[:-2])

    @rule()
    def late_writes_arrive(self) -> None:
        self.bucket.arrive()

    @rule()
    def restore(self) -> None:
        """What is restored has all that was acknowledged, and nothing that was refused or erased."""
        self.restores += 1
        shard = open_shard(self.root / f"restored-{self.restores}")
        if self.is_damaged and find_damage(self._journal("a reader")) is not None:
            with pytest.raises((JournalDamaged, NothingThen)):
                restore_shard(shard, self._journal("a restore"), at_ms=None)
            shard.close()
            return
        restore_shard(shard, self._journal("a restore"), at_ms=None)
        shard.check_integrity()
        with shard.read() as txn:
            found = {int(value) for _, value in txn.scan(keys.api_keys())}
            for person in self.people:
                # With its key, or, of what may be lost, not at all.
                if self.is_sync or txn.get(keys.identity(TENANT, person)) is not None:
                    assert txn.get(keys.memory(TENANT, person)) == memory_of(person)
            for person in self.erased if self.is_sync else ():
                assert txn.get(keys.identity(TENANT, person)) is None
        shard.close()
        assert not found & self.refused
        self.check_found(found)

    def check_found(self, found: set[int]) -> None:
        raise NotImplementedError

    @invariant()
    def the_chain_is_one(self) -> None:
        """No number has two segments, and each one continues the one before: else reading raises."""
        if not self.bucket.is_down:
            journal = self._journal("a reader")
            snapshots = journal.listed("s")
            if snapshots:
                assert journal.listed("j")

    def teardown(self) -> None:
        for machine in self.machines.values():
            self._close(machine)
        self.bucket.arrive()
        if self.machines:
            self.restore()
        shutil.rmtree(self.root)

    def _run(
        self,
        machine: Machine,
        operation: Callable[[WriteTransaction], None],
        number: int,
        faults: Sequence[Fault | None],
    ) -> bool:
        """Write; return whether it was acknowledged."""
        assert machine.shard is not None
        self.bucket.faults[:] = faults
        try:
            [outcome] = machine.shard.write([operation])
            assert not isinstance(outcome, Exception), outcome
        except BucketUnreachable:
            self.refused.add(number)
        except JournalDamaged:
            assert self.is_damaged
            self.refused.add(number)
        except (Fenced, ShardStopped):
            self.refused.add(number)
            self._close(machine)
        except UnknownOutcome:
            self.unknown.add(number)
            self._close(machine)
        else:
            self.acknowledged.add(number)
            self.people |= machine.refused_erasures
            machine.refused_erasures.clear()
            return True
        finally:
            self.bucket.faults.clear()
        return False

    @contextlib.contextmanager
    def _expected_damage(self) -> Generator[None]:
        """What stands in the place of the next segment, and is none, is named."""
        try:
            yield
        except JournalDamaged:
            assert self.is_damaged

    def _is_open(self, machine: Machine) -> bool:
        return machine.shard is not None

    def _close(self, machine: Machine) -> None:
        if machine.shard is not None:
            machine.shard.close()
        machine.refused_erasures.clear()
        machine.shard = machine.journal = machine.shipping = None

    def _journal(self, owner: str) -> ShardJournal:
        seal = JournalSeal(SEALING.master_key, "store")
        return ShardJournal(self.bucket, seal, "store/shard-0000", 0, owner=owner, now_ms=self.now_ms)

    def now_ms(self) -> int:
        return next(self._clock)


class SyncMachine(JournalMachine):
    """Nothing that was acknowledged is lost, whatever is killed and whichever disk."""

    is_sync = True

    def check_found(self, found: set[int]) -> None:
        assert self.acknowledged <= found <= self.acknowledged | self.unknown


class AsyncMachine(JournalMachine):
    """What is lost is the end of what one machine acknowledged, and nothing before it."""

    is_sync = False

    def check_found(self, found: set[int]) -> None:
        assert found <= self.acknowledged | self.unknown


settings.register_profile("journal", max_examples=150, stateful_step_count=30, deadline=None)
TestSync = SyncMachine.TestCase
TestSync.settings = settings.get_profile("journal")
TestAsync = AsyncMachine.TestCase
TestAsync.settings = settings.get_profile("journal")
