"""What a host reports for its operators is what happened to its turns."""

import asyncio
from dataclasses import replace

from populace.actors.host.model_host import ModelHost
from populace.actors.host_limits import HostLimits
from populace.actors.memory import Memory, MemoryOutcome, MemoryTrace
from populace.actors.training_options import TrainingOptions
from populace.actors.turn import ModelId
from populace.storage.backup_note import note_finished
from populace.storage.store import Store
from tests.actors.conftest import MakeHost
from tests.actors.fakes import FakeClock
from tests.actors.trainings import DONE, trained
from tests.actors.turns import grant_of, queue_turn, reply, take_turn, turn_of

ADA = ModelId("acme", "ada")


async def test_a_turn_is_counted_with_the_time_that_it_waited_for_its_model(
    host: ModelHost, clock: FakeClock
) -> None:
    await host.create_model(ADA)
    first = await grant_of(host, turn_of(ADA, "op-1"))
    queued = await queue_turn(host, turn_of(ADA, "op-2"))
    clock.advance(3.0)

    await host.finish_turn(first, reply())
    await queued

    [statistics] = await host.statistics()
    assert (statistics.mailbox.total, statistics.mailbox.sum_s) == (2, 3.0)


async def test_a_turn_that_is_answered_from_the_log_is_a_replay(host: ModelHost) -> None:
    await host.create_model(ADA)
    await take_turn(host, turn_of(ADA, "op-1"))

    await host.begin_turn(turn_of(ADA, "op-1"))

    [statistics] = await host.statistics()
    assert (statistics.replays, statistics.turns) == (1, 1)


async def test_memories_of_active_models_are_counted_with_their_bytes(host: ModelHost) -> None:
    ben = ModelId("acme", "ben")
    for model in (ADA, ben):
        await host.create_model(model)
    await take_turn(host, turn_of(ben))
    grant = await grant_of(host, turn_of(ADA))
    written = MemoryOutcome(Memory(b"state").pack(), MemoryTrace(True, 0, (1,), "m" * 64))

    await host.finish_turn(grant, replace(reply(), memory=written))

    [statistics] = await host.statistics()
    assert (statistics.memory_states, statistics.memory_bytes) == (1, len(written.payload))


async def test_commits_and_their_fsyncs_are_timed(host: ModelHost) -> None:
    [before] = await host.statistics()
    await asyncio.gather(*(host.create_model(ModelId("acme", f"model-{number}")) for number in range(20)))
    [after] = await host.statistics()

    batches = after.commit_batches - before.commit_batches
    assert after.store.commit.total - before.store.commit.total == batches > 0
    assert after.store.fsync.total - before.store.fsync.total >= batches
    assert after.store.commit.sum_s - before.store.commit.sum_s >= 0


async def test_a_host_tells_when_its_store_was_backed_up_last(host: ModelHost, store: Store) -> None:
    [before] = await host.statistics()
    note_finished(store.path, 5_000)
    note_finished(store.path, 7_000)
    [after] = await host.statistics()

    assert (before.store.backup_finished_ms, after.store.backup_finished_ms) == (None, 7_000)


async def test_jobs_steps_and_verdicts_are_counted_once(make_host: MakeHost, clock: FakeClock) -> None:
    host = make_host(limits=HostLimits(has_trainer=True))
    ben = ModelId("acme", "ben")
    for model in (ADA, ben):
        await host.create_model(model)
        await take_turn(host, turn_of(model))
    await host.jobs.ask(ben, TrainingOptions())
    asked = await host.jobs.ask(ADA, TrainingOptions())
    job = await host.jobs.start(ADA, asked.number)

    for _ in range(2):
        await host.jobs.report(ADA, job.number, DONE._replace(step=2, tokens=10))
    [training] = [one.training for one in await host.statistics()]
    assert training.open == {"waiting": 1, "running": 1}
    assert (training.steps, training.tokens, training.stepped_ms) == (2, 10, clock.epoch_ms())

    for _ in range(2):
        clock.advance(60.0)
        await host.jobs.finish(ADA, job.number, trained(job, "new", "it is worse"), DONE)
    for _ in range(2):
        clock.advance(60.0)
        await host.jobs.cancel(ben, 0)
    [training] = [one.training for one in await host.statistics()]
    assert (training.open, training.ended) == ({}, {"rejected": 1, "cancelled": 1})
    assert (training.steps, training.tokens) == (DONE.step, DONE.tokens)
