"""The ledger against a dict, in every order that hypothesis can think of, with reopening."""

import tempfile
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from populace.storage.records import erasures
from populace.storage.records.errors import (
    ModelExists,
    ModelNotFound,
    OperationConflict,
    PositionConflict,
    StorageError,
)
from populace.storage.records.transaction import WriteTransaction
from populace.storage.rows import ledger, log, portable
from populace.storage.rows.portable import PortableModel
from tests.storage.samples import (
    SEALING,
    TENANT,
    commit,
    create_model,
    identity,
    open_shard,
    publish_revision,
    revision,
)
from tests.torture import amounts

T = TypeVar("T")

names = st.sampled_from(["a", "a-b", "b"])
operations = st.sampled_from(["op-1", "op-2", "key-3", "key-4"])
bodies = st.sampled_from([b"one", b"two"])


@dataclass
class Expected:
    """A model as the dict knows it; ``taken`` maps an operation to its body, position and expiry.

    Interactions are kept from ``start`` on, and operation ids from ``operations_start`` on. Those at the
    positions ``unanswered`` have no reply.
    """

    log: list[str] = field(default_factory=list[str])
    unanswered: set[int] = field(default_factory=set[int])
    taken: dict[str, tuple[bytes, int, int]] = field(default_factory=dict[str, tuple[bytes, int, int]])
    aliases: dict[str, str] = field(default_factory=dict[str, str])
    revisions: set[str] = field(default_factory=set[str])
    start: int = 0
    operations_start: int = 0

    def holds(self, position: int, now_ms: int) -> bool:
        """Whether the operation id of this position was not used again and has not expired."""
        _, at, expires_ms = self.taken.get(self.log[position], (b"", None, 0))
        return at == position and expires_ms > now_ms

    def waits_for(self, operation: str, body: bytes) -> bool:
        """Whether the newest turn waits for the reply that the operation makes."""
        newest = len(self.log) - 1
        if newest not in self.unanswered or newest < self.operations_start:
            return False
        own = self.log[newest]
        return self.taken[own][0] == body and (own == operation or not own.startswith("key-"))

    def without_newest(self) -> None:
        """Drop the newest turn, and its operation id."""
        del self.taken[self.log.pop()]
        self.unanswered.discard(len(self.log))


Exported = tuple[PortableModel, Expected]


class LedgerMachine(RuleBasedStateMachine):
    archives: Bundle[Exported] = Bundle("archives")

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.shard = open_shard(Path(self.directory.name), 0, 1, "the machine", map_bytes=1 << 24)
        self.models: dict[str, Expected] = {}
        self.now_ms = 0

    def teardown(self) -> None:
        self.shard.check_integrity()
        self.shard.close()
        self.directory.cleanup()

    def run(self, operation: Callable[[WriteTransaction], T]) -> T | Exception:
        [outcome] = self.shard.write([operation])
        return outcome

    @initialize()
    def begin(self) -> None:
        self.create("a")

    @rule(name=names)
    def create(self, name: str) -> None:
        outcome = self.run(lambda txn: create_model(txn, identity(name)))

        assert isinstance(outcome, ModelExists) == (name in self.models)
        self.models.setdefault(name, Expected())

    @rule(
        name=names,
        operation=operations,
        body=bodies,
        stale=st.booleans(),
        kept_ms=st.integers(1, 5),
        answered=st.booleans(),
    )
    def commit(
        self, name: str, operation: str, body: bytes, stale: bool, kept_ms: int, answered: bool = True
    ) -> None:
        """Commit a turn with its reply or without: the newest may get its reply later."""
        expected = self.models.get(name, Expected())
        position = max(len(expected.log) - stale, 0)
        before = expected.taken.get(operation)

        outcome = self.run(
            lambda txn: commit(
                txn,
                position,
                operation,
                name=name,
                body=body,
                now_ms=self.now_ms,
                expires_ms=self.now_ms + kept_ms,
                answered=answered,
            )
        )

        if name not in self.models:
            assert isinstance(outcome, ModelNotFound)
            return
        if before is not None and before[2] > self.now_ms:
            if before[0] != body:
                assert isinstance(outcome, OperationConflict)
                return
            if before[1] not in expected.unanswered:
                assert not isinstance(outcome, Exception)
                assert (outcome.position, outcome.answer) == (before[1], "Hello.")
                return
        if position == len(expected.log) - 1 and expected.waits_for(operation, body):
            expected.without_newest()
        if position != len(expected.log):
            assert isinstance(outcome, PositionConflict)
            return
        assert not isinstance(outcome, Exception)
        expected.log.append(operation)
        expected.taken[operation] = (body, position, self.now_ms + kept_ms)
        if not answered:
            expected.unanswered.add(position)

    @rule(name=names, operation=operations, body=bodies)
    def withdraw(self, name: str, operation: str, body: bytes) -> None:
        outcome = self.run(lambda txn: ledger.withdraw_turn(txn, TENANT, name, operation, body))

        assert isinstance(outcome, ModelNotFound) == (name not in self.models)
        expected = self.models.get(name, Expected())
        if expected.waits_for(operation, body):
            expected.without_newest()

    @rule(name=names, count=st.integers(2, 6), kept_ms=st.integers(1, 5))
    def take_turns(self, name: str, count: int, kept_ms: int) -> None:
        for _ in range(count):
            operation = f"turn-{len(self.models.get(name, Expected()).log)}"
            self.commit(name, operation, b"one", False, kept_ms)

    @rule(name=names, limit=st.none() | st.integers(0, 3))
    def prune(self, name: str, limit: int | None) -> None:
        outcome = self.run(
            lambda txn: log.prune_operations(txn, TENANT, name, now_ms=self.now_ms, limit=limit)
        )

        assert isinstance(outcome, ModelNotFound) == (name not in self.models)
        if name in self.models:
            expected = self.models[name]
            end = len(expected.log) if limit is None else expected.operations_start + limit
            while expected.operations_start < min(end, len(expected.log)) and not expected.holds(
                expected.operations_start, self.now_ms
            ):
                expected.operations_start += 1

    @rule(name=names, pruned=st.booleans(), beyond=st.integers(-3, 1))
    def compact(self, name: str, pruned: bool, beyond: int) -> None:
        if pruned:
            self.prune(name, None)
        expected = self.models.get(name, Expected())
        keep_from = expected.operations_start + beyond

        outcome = self.run(lambda txn: log.compact_log(txn, TENANT, name, keep_from, memory=None))

        if name not in self.models:
            assert isinstance(outcome, ModelNotFound)
        elif not expected.start <= keep_from <= expected.operations_start:
            assert isinstance(outcome, AssertionError)
        else:
            assert not isinstance(outcome, Exception)
            expected.start = keep_from

    @rule(name=names, seed=st.sampled_from(["one", "two"]), alias=st.sampled_from(["latest", "canary"]))
    def publish(self, name: str, seed: str, alias: str) -> None:
        outcome = self.run(lambda txn: publish_revision(txn, TENANT, name, revision(seed), alias))

        assert isinstance(outcome, ModelNotFound) == (name not in self.models)
        if name in self.models:
            self.models[name].aliases[alias] = revision(seed).digest
            self.models[name].revisions.add(revision(seed).digest)

    @rule(target=archives, name=names)
    def export(self, name: str) -> Exported | MultipleResults[Exported]:
        with self.shard.read() as txn:
            if name in self.models:
                return portable.read_portable(txn, TENANT, name), deepcopy(self.models[name])
            with pytest.raises(ModelNotFound):
                portable.read_portable(txn, TENANT, name)
        return multiple()

    @rule(exported=archives, name=names)
    def bring_in(self, exported: Exported, name: str) -> None:
        """A model comes in as it was when it left, whatever became of it since."""
        content, expected = exported
        rows = portable.portable_rows(content, TENANT, name)

        outcome = self.run(
            lambda txn: portable.write_portable(txn, TENANT, name, SEALING.new_data_key(), rows)
        )

        assert isinstance(outcome, ModelExists) == (name in self.models)
        if name not in self.models:
            assert outcome is None
            self.models[name] = deepcopy(expected)
            with self.shard.read() as txn:
                assert portable.read_portable(txn, TENANT, name) == content

    @rule(name=names)
    def delete(self, name: str) -> None:
        outcome = self.run(lambda txn: erasures.erase_model(txn, TENANT, name, now_ms=0))

        assert isinstance(outcome, StorageError) == (name not in self.models)
        self.models.pop(name, None)

    @rule()
    def reopen(self) -> None:
        epoch = self.shard.epoch
        self.shard.reopen()

        assert self.shard.epoch == epoch + 1

    @rule(milliseconds=st.integers(1, 5))
    def wait(self, milliseconds: int) -> None:
        self.now_ms += milliseconds

    @invariant()
    def the_store_says_what_the_dict_says(self) -> None:
        with self.shard.read() as txn:
            listed = ledger.list_models(txn, TENANT)
            assert [model.identity.name for model in listed] == sorted(self.models)
            for model in listed:
                name = model.identity.name
                expected = self.models[name]
                kept = ledger.read_log(txn, TENANT, name)
                assert [interaction.operation for interaction in kept] == expected.log[expected.start :]
                assert [interaction.position for interaction in kept] == list(
                    range(expected.start, len(expected.log))
                )
                without = {interaction.position for interaction in kept if interaction.answer is None}
                assert without == {at for at in expected.unanswered if at >= expected.start}
                settled = len(expected.log) - (len(expected.log) - 1 in expected.unanswered)
                assert ledger.settled_position(txn, TENANT, name) == settled
                assert model.head.log_position == len(expected.log)
                assert model.head.operations_start == expected.operations_start
                for operation, (_, position, expires_ms) in expected.taken.items():
                    answer = ledger.find_operation(txn, TENANT, name, operation, now_ms=self.now_ms)
                    assert (answer is not None) == (expires_ms > self.now_ms)
                    assert answer is None or answer[1].position == position
                assert model.aliases == expected.aliases
                found = ledger.list_revisions(txn, TENANT, name)
                assert {stored.digest for stored in found} == expected.revisions


@pytest.mark.parametrize("examples", amounts(40, sample=10))
def test_whatever_is_done_to_a_ledger_it_holds_what_a_dictionary_would(examples: int) -> None:
    run_state_machine_as_test(  # pyright: ignore[reportUnknownMemberType] - partly untyped
        LedgerMachine, settings=settings(max_examples=examples, stateful_step_count=30, deadline=None)
    )
