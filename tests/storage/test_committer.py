"""Group commit: many writers, few transactions, and nobody hangs."""

import asyncio
import threading
from collections.abc import Callable, Generator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor

import pytest

from populace.storage.records.errors import ModelExists, PositionConflict, ShardStopped, WriteQueueFull
from populace.storage.records.records import InteractionRecord
from populace.storage.records.transaction import WriteTransaction
from populace.storage.rows import ledger
from populace.storage.shards.committer import Committer
from populace.storage.shards.shard import Shard
from tests.limits import HANG_SECONDS
from tests.storage.samples import TENANT, commit, create_model, identity


@pytest.fixture
def committer(shard: Shard) -> Generator[Committer]:
    opened = Committer(shard)
    yield opened
    opened.close()


class Gate:
    """An operation that says when it runs and holds its batch open until it is let go."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.released = threading.Event()

    def __call__(self, txn: WriteTransaction) -> None:
        self.entered.set()
        assert self.released.wait(HANG_SECONDS)


def create(name: str) -> Callable[[WriteTransaction], ledger.StoredModel]:
    return lambda txn: create_model(txn, identity(name))


def test_many_threads_share_few_transactions(committer: Committer, shard: Shard) -> None:
    def write(worker: int) -> None:
        futures = [committer.submit(create(f"m-{worker}-{number}")) for number in range(50)]
        for future in futures:
            future.result(HANG_SECONDS)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(write, range(16)))

    statistics = committer.statistics()
    assert statistics.commits == 800
    assert statistics.batches < 200
    assert statistics.waiting == 0
    with shard.read() as txn:
        assert len(ledger.list_models(txn, TENANT, limit=1000)) == 800


def test_a_bad_write_does_not_hurt_its_neighbours_in_the_batch(committer: Committer) -> None:
    gate = Gate()
    held = committer.submit(gate)
    assert gate.entered.wait(HANG_SECONDS)

    futures = [committer.submit(create(name)) for name in ("a", "a", "b")]
    gate.released.set()

    held.result(HANG_SECONDS)
    assert futures[0].result(HANG_SECONDS).identity.name == "a"
    assert isinstance(futures[1].exception(60), ModelExists)
    assert futures[2].result(HANG_SECONDS).identity.name == "b"
    assert committer.statistics().batches == 2


def test_racing_turns_at_one_position_have_one_winner(committer: Committer) -> None:
    committer.submit(create("ada")).result(HANG_SECONDS)

    futures = [committer.submit(lambda txn, n=n: commit(txn, 0, f"op-{n}")) for n in range(20)]

    errors = [future.exception(60) for future in futures]
    assert [type(error) for error in errors].count(type(None)) == 1
    assert [type(error) for error in errors].count(PositionConflict) == 19


def test_the_same_operation_sent_many_times_at_once_takes_effect_once(committer: Committer) -> None:
    committer.submit(create("ada")).result(HANG_SECONDS)
    futures: list[Future[InteractionRecord]] = [
        committer.submit(lambda txn: commit(txn, 0, "op")) for _ in range(20)
    ]

    assert len({future.result(HANG_SECONDS).pack() for future in futures}) == 1


def test_writes_take_effect_in_the_order_of_their_submission(committer: Committer) -> None:
    committer.submit(create("ada")).result(HANG_SECONDS)

    futures = [committer.submit(lambda txn, n=n: commit(txn, n, f"op-{n}")) for n in range(100)]

    assert [future.result(HANG_SECONDS).position for future in futures] == list(range(100))


async def test_tasks_commit_without_threads_of_their_own(committer: Committer) -> None:
    models = await asyncio.gather(*(committer.commit(create(f"m-{n}")) for n in range(100)))

    assert len({model.identity.name for model in models}) == 100
    assert committer.statistics().batches < 50
    with pytest.raises(ModelExists):
        await committer.commit(create("m-0"))


async def test_wrapped_futures_work_for_tasks_too(committer: Committer) -> None:
    model = await asyncio.wrap_future(committer.submit(create("ada")))

    assert model.identity.name == "ada"


async def test_a_cancelled_task_does_not_hurt_its_neighbours(committer: Committer) -> None:
    gate = Gate()
    held = committer.submit(gate)
    await asyncio.to_thread(gate.entered.wait, 60)
    cancelled = asyncio.ensure_future(committer.commit(create("cancelled")))
    kept = asyncio.ensure_future(committer.commit(create("kept")))
    await asyncio.sleep(0)

    cancelled.cancel()
    await asyncio.sleep(0)
    gate.released.set()

    assert (await kept).identity.name == "kept"
    await asyncio.wrap_future(held)
    assert cancelled.cancelled()


def test_a_write_cancelled_before_it_began_takes_no_effect(committer: Committer, shard: Shard) -> None:
    gate = Gate()
    committer.submit(gate)
    assert gate.entered.wait(HANG_SECONDS)

    future = committer.submit(create("never"))
    assert future.cancel()
    gate.released.set()
    committer.close()

    with pytest.raises(CancelledError):
        future.result(0)
    with shard.read() as txn:
        assert ledger.read_model(txn, TENANT, "never") is None


def test_a_full_queue_refuses_instead_of_growing(shard: Shard) -> None:
    committer = Committer(shard, queue_max=3)
    gate = Gate()
    committer.submit(gate)
    assert gate.entered.wait(HANG_SECONDS)
    queued = [committer.submit(create(f"m-{number}")) for number in range(3)]

    with pytest.raises(WriteQueueFull) as caught:
        committer.submit(create("refused"))

    assert (caught.value.waiting, caught.value.code) == (3, "overloaded")
    gate.released.set()
    assert [future.exception(60) for future in queued] == [None] * 3
    committer.close()


def test_a_stopped_shard_answers_everything_queued_and_reopens_under_the_committer(
    committer: Committer, shard: Shard
) -> None:
    shard.close()
    futures = [committer.submit(create(f"m-{number}")) for number in range(10)]
    errors = [future.exception(60) for future in futures]

    assert [type(error) for error in errors] == [ShardStopped] * 10
    assert len({id(error) for error in errors}) == 10
    shard.reopen()
    assert committer.submit(create("later")).result(HANG_SECONDS).identity.name == "later"


def test_closing_finishes_what_is_queued_and_refuses_the_rest(shard: Shard) -> None:
    committer = Committer(shard)
    futures = [committer.submit(create(f"m-{number}")) for number in range(100)]

    committer.close()
    committer.close()

    assert all(future.done() and future.exception() is None for future in futures)
    with pytest.raises(ShardStopped):
        committer.submit(create("late"))


def test_a_bug_in_a_write_is_its_own_callers_problem(committer: Committer) -> None:
    def stop(txn: WriteTransaction) -> None:
        raise StopIteration

    async def wait() -> None:
        with pytest.raises(RuntimeError, match="StopIteration"):
            await committer.commit(stop)

    asyncio.run(wait())
    assert committer.submit(create("ada")).result(HANG_SECONDS).identity.name == "ada"
