"""Each side gets the same arrivals, and a new adapter answers at once, or when it is ready."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace

from scripts.bench.engine_sides import EngineRequest
from scripts.bench.open_loop import Arrival, Publication, Schedule, play_open
from scripts.bench.readiness import (
    ADMISSION,
    NEITHER,
    TWO_PHASE,
    ReadinessBench,
    _compare,
    _Played,
    draw_schedule,
)

BENCH = ReadinessBench(models=4, revisions=6, seconds=30.0, rounds=2)


class Desk:
    """A player that answers at once; ``prepare`` ends when the test says so."""

    def __init__(self) -> None:
        self.asked: list[int | None] = []
        self.replaced: list[int] = []
        self.may_be_ready = asyncio.Event()

    async def tokens(self, ask: EngineRequest) -> AsyncGenerator[int, None]:
        self.asked.append(ask.adapter)
        if len(self.asked) == 2:
            self.may_be_ready.set()
        for _ in range(ask.reply_tokens):
            yield 1

    async def load(self, adapter: int) -> None:
        raise AssertionError("nobody loads here")

    async def prepare(self, adapter: int, replaces: int) -> None:
        self.replaced.append(replaces)
        await self.may_be_ready.wait()

    async def close(self) -> None:
        pass


def schedule(*, is_two_phase: bool) -> Schedule:
    arrivals = tuple(Arrival(0.01 * number, 0, (1, 2)) for number in range(1, 6))
    return Schedule((7,), arrivals, (Publication(0.0, 0, 8),), 2, is_two_phase)


async def test_a_new_adapter_answers_at_once_without_a_second_phase() -> None:
    desk = Desk()

    played = await play_open(desk, schedule(is_two_phase=False))

    assert desk.asked == [8] * 5
    assert [one.is_first for one in played.answered] == [True, False, False, False, False]
    assert all(len(one.served.token_times) == 2 for one in played.answered)


async def test_the_old_adapter_answers_until_the_new_one_is_ready() -> None:
    desk = Desk()

    played = await play_open(desk, schedule(is_two_phase=True))

    assert desk.asked == [7, 7, 8, 8, 8]
    assert desk.replaced == [7]
    assert [one.is_first for one in played.answered] == [False, False, True, False, False]
    assert len(played.until_ready) == 1


def test_every_side_has_the_same_arrivals_and_rounds_share_no_prompt_and_no_revision() -> None:
    first, again = (draw_schedule(BENCH, 0, is_two_phase=is_two_phase) for is_two_phase in (False, True))
    second = draw_schedule(BENCH, 1, is_two_phase=False)

    assert first == again._replace(is_two_phase=False)
    prompts = [arrival.prompt for one in (first, second) for arrival in one.arrivals]
    assert len(set(prompts)) == len(prompts)
    assert [one.adapter for one in first.publications] == list(range(4, 10))
    assert [one.adapter for one in second.publications] == list(range(10, 16))
    assert {one.model for one in first.publications} == {1, 3}
    assert all(0 < arrival.at_s < BENCH.seconds + 1 for arrival in first.arrivals)


async def test_the_figures_tell_the_unchanged_from_the_first_askers() -> None:
    bench = replace(BENCH, seconds=0.2, requests_per_second=100.0, rounds=1)
    played: list[_Played] = []
    for side in (NEITHER, ADMISSION, TWO_PHASE):
        desk = Desk()
        desk.may_be_ready.set()
        drawn = draw_schedule(bench, 0, is_two_phase=side == TWO_PHASE)
        played.append(_Played(side, [await play_open(desk, drawn)]))

    result = _compare(bench, played)

    unchanged = sum(
        arrival.model % 2 == 0 for arrival in draw_schedule(bench, 0, is_two_phase=False).arrivals
    )
    rows = {(row["side"], row["asked"]): row["requests"] for row in result.rows}
    assert all(rows[side, "unchanged"] == unchanged for side in (NEITHER, ADMISSION, TWO_PHASE))
    assert all(0 < int(rows[side, "first"]) <= bench.revisions for side in (NEITHER, ADMISSION, TWO_PHASE))
    assert len(result.aims) == 2
