"""Whoever checks its books notices when they are cooked: each law here can fail."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable

import pytest

from populace.actors.host.model_host import ModelHost
from populace.actors.host.personal_model import Mailbox, QueuedTurn
from populace.actors.turn import ModelId
from populace.policies.passivation import IdleQueue
from populace.storage.records.errors import Fenced
from populace.storage.shards.committer import Committer
from populace.storage.shards.reads import ReadsInProgress
from tests import balanced_books
from tests.actors.fakes import FakeClock
from tests.actors.turns import grant_of, queue_turn, take_turn, turn_of

ADA, BEN = ModelId("acme", "ada"), ModelId("acme", "ben")


@pytest.fixture
async def busy(host: ModelHost) -> AsyncGenerator[ModelHost]:
    """Ben is idle; Ada has a running turn, and one that waits."""
    for model in (ADA, BEN):
        await host.create_model(model)
    await take_turn(host, turn_of(BEN))
    await grant_of(host, turn_of(ADA, "op-1"))
    waiting = await queue_turn(host, turn_of(ADA, "op-2"))
    host.check_integrity()
    yield host
    waiting.cancel()


def list_the_busy(host: ModelHost) -> Callable[[], None]:
    host._active._idle.add(ADA, 2000.0)
    return lambda: host._active._idle.discard(ADA)


def forget_the_idle(host: ModelHost) -> Callable[[], None]:
    host._active._idle.discard(BEN)
    return lambda: host._active._idle.add(BEN, 1000.0)


def miscount_bytes(host: ModelHost) -> Callable[[], None]:
    host._active.resident_bytes += 1

    def undo() -> None:
        host._active.resident_bytes -= 1

    return undo


def swap_models(host: ModelHost) -> Callable[[], None]:
    def swap() -> None:
        host._active._active[ADA], host._active._active[BEN] = (
            host._active._active[BEN],
            host._active._active[ADA],
        )

    swap()
    return swap


def lose_a_shard(host: ModelHost) -> Callable[[], None]:
    number = host._catalogue.shard(ADA)
    owned = host._owned._open.pop(number)

    def undo() -> None:
        host._owned._open[number] = owned

    return undo


def keep_a_lost_shard_open(host: ModelHost) -> Callable[[], None]:
    host._owned._absent.fence(Fenced(0, 1, 2))

    def undo() -> None:
        del host._owned._absent._absent[0]

    return undo


def miscount_writes(host: ModelHost) -> Callable[[], None]:
    committer = host._owned._open[0].committer
    committer._answered -= 1

    def undo() -> None:
        committer._answered += 1

    return undo


def grant_what_waits(host: ModelHost) -> Callable[[], None]:
    queued = host._active._active[ADA]._mailbox._turns[0]
    running = host._active._active[ADA]._running
    assert running is not None
    queued.granted.set_result(running.grant)
    return lambda: host._active._active[ADA]._mailbox.discard(queued)


def stop_the_running(host: ModelHost) -> Callable[[], None]:
    ada = host._active._active[ADA]
    running, ada._running = ada._running, None

    def undo() -> None:
        ada._running = running

    return undo


def serve_less_than_recorded(host: ModelHost) -> Callable[[], None]:
    served = host._owned._open[host._catalogue.shard(BEN)].served
    served._start_ms -= 10**6

    def undo() -> None:
        served._start_ms += 10**6

    return undo


@pytest.mark.parametrize(
    "cook",
    [
        list_the_busy,
        forget_the_idle,
        miscount_bytes,
        swap_models,
        lose_a_shard,
        keep_a_lost_shard_open,
        miscount_writes,
        grant_what_waits,
        stop_the_running,
        serve_less_than_recorded,
    ],
)
async def test_a_host_notices_what_is_wrong_in_it_and_so_does_the_end_of_a_test(
    busy: ModelHost, cook: Callable[[ModelHost], Callable[[], None]]
) -> None:
    undo = cook(busy)

    with pytest.raises(AssertionError):
        busy.check_integrity()
    with pytest.raises(AssertionError):
        balanced_books.check()

    undo()
    busy.check_integrity()


async def test_a_mailbox_is_not_fuller_than_it_may_be() -> None:
    mailbox = Mailbox(1)
    turns = [QueuedTurn(turn_of(ADA), asyncio.get_running_loop().create_future()) for _ in range(2)]
    mailbox.put(turns[0])
    mailbox.check_integrity()

    mailbox._turns.append(turns[1])

    with pytest.raises(AssertionError):
        mailbox.check_integrity()


def test_an_idle_queue_is_in_the_order_of_time() -> None:
    queue = IdleQueue[str]()
    queue.add("a", FakeClock().monotonic())
    queue.add("b", FakeClock().monotonic())
    queue.check_integrity()

    queue.add("c", 0.0)

    with pytest.raises(AssertionError):
        queue.check_integrity()


def test_a_read_does_not_outlive_its_thread() -> None:
    reads = ReadsInProgress()
    mine = reads.begin()
    reads.check_integrity()
    reads.end(mine)
    thread = threading.Thread(target=reads.begin)
    thread.start()
    thread.join()

    with pytest.raises(AssertionError):
        reads.check_integrity()


async def test_a_committer_that_died_is_noticed(host: ModelHost) -> None:
    committer: Committer = host._owned._open[0].committer
    committer.close()
    committer.check_integrity()

    committer._closing = False

    with pytest.raises(AssertionError):
        committer.check_integrity()
    committer._closing = True
