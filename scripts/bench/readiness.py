"""``populace bench readiness``: latency of other models, and of first requests, while revisions change.

Warm models get requests in an open loop (Poisson). Half of them get new revisions meanwhile, which replace
the old ones at once or when they are ready; the other half never changes and should not become slower.
"""

import random
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from populace.adapters.base_modules import read_base_modules
from populace.base.prepare import prepare_base
from populace.settings.settings import Settings
from scripts.bench.engine_process import RunningEngine, longest_gap, running_engine
from scripts.bench.engine_sides import IDS, PROMPT_TOKENS, EngineRequest, Side, Start, draw_prompt
from scripts.bench.open_loop import Answered, Arrival, OpenRound, Publication, Schedule, play_open
from scripts.bench.random_adapters import write_random_adapters
from scripts.bench.report import Aim, BenchReport, Row, percentile

RANK = 8

NEITHER = "neither"
ADMISSION = "admission only"
TWO_PHASE = "two-phase"

ASKED_SECONDS = (0.1, 1.0)
"""Bounds of the time from a publication to the first request to the new revision."""

OLD_MAX = 0.40
"""Largest aimed-at TTFT p95 of unchanged models, relative to neither: 9.63 of 24.03 s in MinT's table 11."""

FIRST_MAX = 0.43
"""Largest aimed-at first TTFT p50 of new revisions, relative to admission only.

It is 4.60 of 10.68 s in MinT's table 11.
"""

Report = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class ReadinessBench:
    """The traffic: as many ``models`` as slots, half of which get the ``revisions`` of a round in turn."""

    models: int = 8
    revisions: int = 32
    seconds: float = 64.0
    requests_per_second: float = 1.5
    reply_tokens: int = 12
    rounds: int = 2


class _Played(NamedTuple):
    side: str
    rounds: list[OpenRound]


def bench_readiness(bench: ReadinessBench, settings: Settings, report: Report) -> BenchReport:
    """Run the same rounds on each side, with one engine at a time; none runs afterwards."""
    base = prepare_base(settings.base, settings.cache, allow_hub=False)
    modules = read_base_modules(base.directory)
    count = bench.models + bench.revisions * bench.rounds
    with tempfile.TemporaryDirectory(prefix="populace-") as folder:
        report("Writing adapters", 0.0)
        adapters = write_random_adapters(Path(folder), base.directory, modules, [RANK] * count)
        common = Start(
            base.directory, base.fingerprint, adapters.packed, settings.context_tokens, RANK, settings.threads
        )
        played: list[_Played] = []
        # Each side has its own engine, because a shared one would already have the adapters in memory.
        for name in (NEITHER, ADMISSION, TWO_PHASE):
            report(f"Starting {name}", 0.0)
            start = common._replace(adapters=adapters.directories) if name == NEITHER else common
            with running_engine(Side(name, name == NEITHER, bench.models), start) as engine:
                played.append(_play(bench, engine, name, report))
    return _compare(bench, played)


def _play(bench: ReadinessBench, engine: RunningEngine, side: str, report: Report) -> _Played:
    for adapter in range(bench.models):  # loads each adapter, and compiles the shapes of a step
        prompt = tuple(range(IDS[0], IDS[0] + PROMPT_TOKENS))
        engine.play([[EngineRequest(adapter, prompt, bench.reply_tokens)]])
    rounds: list[OpenRound] = []
    for number in range(bench.rounds):
        report(f"{side}: round {number + 1} of {bench.rounds}", number / bench.rounds)
        schedule = draw_schedule(bench, number, is_two_phase=side == TWO_PHASE)
        rounds.append(engine.run(play_open, schedule))
    return _Played(side, rounds)


def draw_schedule(bench: ReadinessBench, number: int, *, is_two_phase: bool) -> Schedule:
    """Draw a round, the same for every side and with no prompt twice. Odd models get revisions."""
    draw = random.Random(number)  # noqa: S311 - traffic, not a secret
    changing = range(1, bench.models, 2)
    arrivals: list[Arrival] = []
    at_s = draw.expovariate(bench.requests_per_second)
    while at_s < bench.seconds:
        prompt = draw_prompt(draw)
        arrivals.append(Arrival(at_s, draw.randrange(bench.models), prompt))
        at_s += draw.expovariate(bench.requests_per_second)
    first = bench.models + bench.revisions * number
    publications = [
        Publication(bench.seconds * (index + 0.5) / bench.revisions, model, first + index)
        for index, model in zip(range(bench.revisions), _around(changing, bench.revisions), strict=True)
    ]
    # Each revision gets a request soon after it is published, before the next one is prewarmed.
    arrivals += [
        Arrival(
            publication.at_s + draw.uniform(*ASKED_SECONDS),
            publication.model,
            draw_prompt(draw),
        )
        for publication in publications
    ]
    return Schedule(
        tuple(range(bench.models)),
        tuple(sorted(arrivals)),
        tuple(publications),
        bench.reply_tokens,
        is_two_phase,
    )


def _around(models: Sequence[int], count: int) -> list[int]:
    return [models[index % len(models)] for index in range(count)]


def _compare(bench: ReadinessBench, played: list[_Played]) -> BenchReport:
    result = BenchReport(
        "readiness",
        notes=[
            f"{bench.models} warm models, {bench.requests_per_second:g} requests/s (Poisson).",
            f"{bench.revisions} revisions in {bench.seconds:g} s, for half of the models.",
            f"{bench.rounds} rounds together; times in ms.",
            "unchanged: models without new revisions. first: the first request to a revision.",
            "gap: the longest pause in a reply of an unchanged model.",
            "ready: from publishing until the revision serves.",
            f"{NEITHER}: unchanged vLLM with PEFT directories; a new revision serves at once.",
            f"{ADMISSION}: Populace with packed files, at once. {TWO_PHASE}: Populace, when it is ready.",
        ],
    )
    for side in played:
        result.rows += _rows(side)
    old = {side.side: percentile(_firsts(side, is_new=False), 95) for side in played}
    new = {side.side: percentile(_firsts(side, is_new=True), 50) for side in played}
    result.aims = [
        Aim(
            "unchanged models: TTFT p95, two-phase",
            round(old[TWO_PHASE] / old[NEITHER], 3),
            OLD_MAX,
            f"x {NEITHER}",
            at_most=True,
        ),
        Aim(
            "new revisions: first TTFT p50, two-phase",
            round(new[TWO_PHASE] / new[ADMISSION], 3),
            FIRST_MAX,
            f"x {ADMISSION}",
            at_most=True,
        ),
    ]
    return result


def _rows(side: _Played) -> list[Row]:
    ready = [seconds for played in side.rounds for seconds in played.until_ready]
    rows: list[Row] = []
    own_figure = {
        "unchanged": ("gap", longest_gap(answered.served for answered in _chosen(side, is_new=False))),
        "first": ("ready p50", percentile(ready, 50)),
    }
    for what, (figure, seconds) in own_figure.items():
        firsts = _firsts(side, is_new=what == "first")
        row: Row = {
            "side": side.side,
            "asked": what,
            "requests": len(firsts),
            "TTFT p50": round(percentile(firsts, 50) * 1000),
            "p95": round(percentile(firsts, 95) * 1000),
            "max": round(max(firsts) * 1000),
        }
        row[figure] = round(seconds * 1000)
        rows.append(row)
    return rows


def _chosen(side: _Played, *, is_new: bool) -> list[Answered]:
    """Return the first replies of new revisions, or else all replies of models that never change."""
    return [
        answered
        for played in side.rounds
        for answered in played.answered
        if (answered.is_first if is_new else answered.model % 2 == 0)
    ]


def _firsts(side: _Played, *, is_new: bool) -> list[float]:
    return [answered.served.token_times[0] for answered in _chosen(side, is_new=is_new)]
