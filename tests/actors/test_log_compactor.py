"""One person's log stays bounded while turns go on, and nobody who may still ask is forgotten."""

import asyncio
import logging
from collections.abc import AsyncGenerator

import pytest

from populace.actors.engine import Message
from populace.actors.host.model_host import ModelHost
from populace.actors.host_limits import HostLimits
from populace.actors.keepers.log_compactor import STEP_MAX, TURNS_BETWEEN_LOOKS
from populace.actors.turn import ModelId, TurnGrant
from populace.policies.history import HISTORY_TURNS_MAX
from populace.policies.log_retention import LogLimits
from populace.storage.store import Store
from tests.actors.conftest import MakeHost
from tests.actors.fakes import FakeClock
from tests.actors.test_succession import replace_owner
from tests.actors.turns import grant_of, reply, take_turn, turn_of, wait_until

ADA = ModelId("acme", "ada")
KEPT_MAX = 16
SMALL = LogLimits(interactions_min=4, interactions_max=KEPT_MAX)
BRIEF = LogLimits(interactions_min=4, seconds_kept=100)


@pytest.fixture(autouse=True)
async def no_look_failed(caplog: pytest.LogCaptureFixture) -> AsyncGenerator[None]:
    """A look's failure reaches nobody, so here each test does."""
    yield
    assert [one.getMessage() for one in caplog.get_records("call") if one.levelno >= logging.ERROR] == []


async def take_turns(host: ModelHost, clock: FakeClock, start: int, stop: int) -> None:
    """Take a turn each second, of the conversation ``main``."""
    for number in range(start, stop):
        grant = await grant_of(host, turn_of(ADA, f"op-{number}", history_of="main"))
        await host.finish_turn(grant, reply(f"answer {number}", asked=f"question {number}"))
        clock.advance(1)


async def wait_log_start(host: ModelHost, position: int) -> None:
    async def is_so() -> bool:
        return (await host.show_model(ADA)).log_start == position

    await wait_until(is_so)


async def test_a_log_stays_bounded_over_many_turns(make_host: MakeHost, clock: FakeClock) -> None:
    host = make_host(limits=HostLimits(operation_seconds_kept=10, log=SMALL))
    await host.create_model(ADA)

    for round_ in range(1, 6):
        await take_turns(host, clock, (round_ - 1) * TURNS_BETWEEN_LOOKS, round_ * TURNS_BETWEEN_LOOKS)
        await wait_log_start(host, round_ * TURNS_BETWEEN_LOOKS - KEPT_MAX)
        assert len(await host.read_log(ADA, limit=1000)) == KEPT_MAX

    assert (await host.show_model(ADA)).log_position == 5 * TURNS_BETWEEN_LOOKS
    check_shards(host)


async def test_a_log_whose_beginning_was_compacted_says_where_it_begins(
    make_host: MakeHost, clock: FakeClock
) -> None:
    host = make_host(limits=HostLimits(operation_seconds_kept=10, log=SMALL))
    await host.create_model(ADA)
    await take_turns(host, clock, 0, TURNS_BETWEEN_LOOKS)
    await wait_log_start(host, 48)

    first, second = await host.read_log(ADA, start=0, limit=2)

    assert (first.position, first.reply, second.position) == (48, "answer 48", 49)
    assert (await host.list_models("acme")).models[0].log_start == 48


async def test_a_duplicate_is_answered_with_its_first_reply_for_as_long_as_its_id_is_kept(
    make_host: MakeHost, clock: FakeClock
) -> None:
    host = make_host(limits=HostLimits(operation_seconds_kept=50, log=SMALL))
    await host.create_model(ADA)
    await take_turns(host, clock, 0, 2 * TURNS_BETWEEN_LOOKS)
    await wait_log_start(host, 78)

    again = await host.begin_turn(turn_of(ADA, "op-79"))
    anew = await host.begin_turn(turn_of(ADA, "op-77"))

    assert not isinstance(again, TurnGrant)
    assert (again.position, again.reply, again.replayed) == (79, "answer 79", True)
    assert isinstance(anew, TurnGrant)
    await host.abandon_turn(anew, "the test ends")


async def test_history_goes_on_over_a_compaction(make_host: MakeHost, clock: FakeClock) -> None:
    limits = LogLimits(interactions_min=HISTORY_TURNS_MAX, interactions_max=HISTORY_TURNS_MAX)
    host = make_host(limits=HostLimits(operation_seconds_kept=10, log=limits))
    await host.create_model(ADA)
    await take_turns(host, clock, 0, 3 * TURNS_BETWEEN_LOOKS)
    await wait_log_start(host, 3 * TURNS_BETWEEN_LOOKS - HISTORY_TURNS_MAX)

    grant = await grant_of(host, turn_of(ADA, "next", history_of="main"))

    assert [turn[0] for turn in grant.history] == [
        Message("user", f"question {number}") for number in range(128, 192)
    ]
    await host.abandon_turn(grant, "the test ends")


async def test_a_model_is_looked_at_when_it_is_passivated(make_host: MakeHost, clock: FakeClock) -> None:
    host = make_host(limits=HostLimits(operation_seconds_kept=10, log=BRIEF))
    await host.create_model(ADA)
    await take_turns(host, clock, 0, 70)
    clock.advance(1000)

    assert host.passivate(ADA)
    await wait_log_start(host, 66)

    assert (await take_turn(host, turn_of(ADA, "next"))).position == 70


async def test_a_long_backlog_is_dropped_in_steps(make_host: MakeHost, clock: FakeClock) -> None:
    turns = 2 * STEP_MAX + 10
    former = make_host()
    await former.create_model(ADA)
    await take_turns(former, clock, 0, turns)
    clock.advance(30 * 24 * 3600)
    await former.record_time()
    former.close()
    host = make_host(limits=HostLimits(log=SMALL))

    await take_turn(host, turn_of(ADA, "next"))
    assert host.passivate(ADA)

    await wait_log_start(host, turns + 1 - SMALL.interactions_min)
    check_shards(host)


async def test_a_look_that_fails_is_said_and_the_next_one_does_its_work(
    make_host: MakeHost, clock: FakeClock, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    host = make_host(limits=HostLimits(operation_seconds_kept=10, log=BRIEF))
    await host.create_model(ADA)
    await take_turns(host, clock, 0, 70)
    clock.advance(1000)

    replace_owner(store)
    caplog.clear()
    assert host.passivate(ADA)
    await wait_logged(caplog, "was not compacted: Shard")
    host.close()

    caplog.clear()
    heir = make_host(limits=HostLimits(operation_seconds_kept=10, log=BRIEF))
    assert (await heir.show_model(ADA)).log_start == 0
    await take_turn(heir, turn_of(ADA, "next"))
    clock.advance(1000)
    assert heir.passivate(ADA)
    await wait_log_start(heir, 67)


async def test_a_model_that_is_erased_before_its_look_is_no_failure(
    make_host: MakeHost, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    host = make_host(limits=HostLimits(operation_seconds_kept=10, log=SMALL))
    await host.create_model(ADA)
    await take_turns(host, clock, 0, TURNS_BETWEEN_LOOKS - 1)
    grant = await grant_of(host, turn_of(ADA, "last"))
    caplog.set_level(logging.DEBUG, "populace.actors.keepers.log_compactor")

    erasure = asyncio.ensure_future(host.erase_model(ADA))
    await asyncio.sleep(0)
    await host.finish_turn(grant, reply())
    await erasure

    await wait_logged(caplog, "was erased before its log was compacted")
    assert [one for one in caplog.records if one.levelno >= logging.WARNING] == []


def check_shards(host: ModelHost) -> None:
    """Check every row of the host's shards: what is kept is gapless, chained and counted."""
    host._owned.check_rows()


async def wait_logged(caplog: pytest.LogCaptureFixture, text: str) -> None:
    async def is_so() -> bool:
        return text in caplog.text

    await wait_until(is_so)
