"""``populace bench ask``: members that answer together, compared with as many single requests."""

import asyncio
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from populace.actors.aggregation.ballot import Ballot, Member
from populace.actors.aggregation.question import Question
from populace.actors.engine import Message
from populace.base.prepare import prepare_base
from populace.settings.clock import SystemClock
from populace.settings.settings import Settings
from scripts.bench.engine_process import PopulaceEngine, RunningEngine, running_engine
from scripts.bench.engine_sides import Side, Start
from scripts.bench.report import Aim, BenchReport

AIMED_MEMBERS = 16
RATIO_MAX = 1.1
"""Largest aimed-at time of ``AIMED_MEMBERS`` members together, relative to as many concurrent requests.

A vote then costs no more than a reply.
"""

SLOTS = 16
RANK = 8
SECONDS_MAX = 600.0

TOGETHER, AT_ONCE, ONE_BY_ONE = "asked together", "requests at once", "one after the other"
SIDES = (TOGETHER, AT_ONCE, ONE_BY_ONE)

Report = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class AskBench:
    """Numbers of members that are asked, each with its own adapter, and the length of their replies."""

    members: tuple[int, ...] = (1, 4, 16, 64)
    rounds: int = 3
    reply_tokens: int = 16


class Asked(NamedTuple):
    """The seconds until the first and the last vote arrive, and the number of tokens of all replies."""

    first: float
    last: float
    tokens: int


def bench_ask(bench: AskBench, settings: Settings, report: Report) -> BenchReport:
    """Ask each number of members in all three ways, in turn, for each round. Starts and stops an engine."""
    from populace.adapters.base_modules import read_base_modules
    from scripts.bench.random_adapters import write_random_adapters

    base = prepare_base(settings.base, settings.cache, allow_hub=False)
    taken: dict[tuple[int, str], list[Asked]] = defaultdict(list)
    with tempfile.TemporaryDirectory(prefix="populace-") as folder:
        report("Writing adapters", 0.0)
        modules = read_base_modules(base.directory, base.fingerprint)
        ranks = [RANK] * max(bench.members)
        written = write_random_adapters(Path(folder), base.directory, modules, ranks, "BF16")
        start = Start(
            base.directory, base.fingerprint, written.packed, settings.context_tokens, RANK, settings.threads
        )
        report("Starting the engine", 0.0)
        with running_engine(Side("ours", stock=False, slots=SLOTS), start) as engine:
            # The first round loads the adapters into memory, and is not counted.
            for number in range(bench.rounds + 1):
                for at, count in enumerate(bench.members):
                    done = (number * len(bench.members) + at) / ((bench.rounds + 1) * len(bench.members))
                    report(f"{count} members", done)
                    for side in SIDES:
                        asked = _asked(engine, side, count, bench.reply_tokens, number)
                        if number:
                            taken[count, side].append(asked)
    return reported(bench, taken)


def _asked(engine: RunningEngine, side: str, count: int, tokens: int, number: int) -> Asked:
    """Ask ``count`` members a question that no prefix cache has seen, in the way ``side``."""
    question = Question(
        (Message("user", f"What comes after {number} and {count} on the side {side}?"),),
        reply_tokens=tokens,
        seconds_max=SECONDS_MAX,
    )
    return engine.run(ask_members, question, count, side)


async def ask_members(engine: PopulaceEngine, question: Question, count: int, side: str) -> Asked:
    """Ask the first ``count`` adapters in the way ``side``; runs in the engine's process."""
    members = [Member(str(at), adapter, "votes") for at, adapter in enumerate(engine.adapters[:count])]
    began = time.perf_counter()
    if side == TOGETHER:
        return await _votes(engine, question, members, began)
    if side == AT_ONCE:
        votes = await asyncio.gather(*(_votes(engine, question, [member], began) for member in members))
    else:
        votes = [await _votes(engine, question, [member], began) for member in members]
    return Asked(
        min(vote.first for vote in votes),
        max(vote.last for vote in votes),
        sum(vote.tokens for vote in votes),
    )


async def _votes(
    engine: PopulaceEngine, question: Question, members: Sequence[Member], began: float
) -> Asked:
    times: list[float] = []
    tokens = 0
    async with aclosing(Ballot(engine.engine, SystemClock()).votes("", question, members)) as votes:
        async for vote in votes:
            assert vote.state in ("voted", "abstained"), vote
            times.append(time.perf_counter() - began)
            tokens += vote.reply_tokens
    return Asked(times[0], times[-1], tokens)


def reported(bench: AskBench, taken: dict[tuple[int, str], list[Asked]]) -> BenchReport:
    """Report the medians of each side, and the time together relative to concurrent requests."""
    result = BenchReport("ask")
    for count in bench.members:
        seconds = {side: statistics.median(asked.last for asked in taken[count, side]) for side in SIDES}
        for side in SIDES:
            repeats = taken[count, side]
            result.rows.append(
                {
                    "members": count,
                    "side": side,
                    "first_vote_ms": round(1000 * statistics.median(asked.first for asked in repeats)),
                    "answer_ms": round(1000 * seconds[side]),
                    "tokens_a_second": round(
                        statistics.median(asked.tokens / asked.last for asked in repeats), 1
                    ),
                    "speed_up": round(seconds[ONE_BY_ONE] / seconds[side], 2),
                }
            )
        if count == AIMED_MEMBERS:
            ratio = round(seconds[TOGETHER] / seconds[AT_ONCE], 3)
            name = f"{count} members together"
            result.aims.append(Aim(name, ratio, RATIO_MAX, "x as many requests at once", at_most=True))
    result.notes.append(
        f"the engine has {SLOTS} adapter slots and runs as many requests in a batch; further members wait"
    )
    return result
