"""``populace bench handoff``: the time from an optimiser's step to the first token of the new weights.

Either the adapter alone is packed, stored and made ready in the engine that serves, or it is merged into its
base and an engine is started with the whole model, as serving without adapters requires.
"""

import random
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from populace.actors.engine import AdapterRef
from populace.base.prepare import prepare_base
from populace.settings.settings import Settings
from populace.storage.revisions import RevisionFiles
from scripts.bench.engine_process import PopulaceEngine, RunningEngine, running_engine
from scripts.bench.engine_sides import EngineRequest, Side, Start, draw_prompt
from scripts.bench.report import Aim, BenchReport, Row

RATIO_MIN = 18.3
"""Least aimed-at ratio of the time with merging and reloading to that of the adapter alone.

It is the ratio of MinT's figure 7, with Qwen3-4B on GPUs (arXiv 2605.13779).
"""

if TYPE_CHECKING:
    from scripts.bench.merged_handoff import Learner

SLOTS = 4

Report = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class HandoffBench:
    """The numbers of repetitions, and the adapter's rank. A merged model's engine starts in half a minute."""

    rounds: int = 8
    merged_rounds: int = 2
    rank: int = 8


class Handoff(NamedTuple):
    """The seconds of writing, of getting ready and of the first token, in this order, and the bytes."""

    write: float
    ready: float
    token: float
    bytes: int

    @property
    def total(self) -> float:
        """The seconds from the optimiser's step to the first token."""
        return self.write + self.ready + self.token


def bench_handoff(bench: HandoffBench, settings: Settings, report: Report) -> BenchReport:
    """Hand over the revisions in both ways, with one engine running at a time; none runs afterwards."""
    from scripts.bench.merged_handoff import Learner

    base = prepare_base(settings.base, settings.cache, allow_hub=False)
    learner = Learner(base.directory, base.fingerprint, rank=bench.rank)
    start = Start(base.directory, base.fingerprint, (), settings.context_tokens, bench.rank, settings.threads)
    with tempfile.TemporaryDirectory(prefix="populace-") as folder:
        files = RevisionFiles(Path(folder) / "revisions")
        report("Starting the engine that serves", 0.0)
        alone: list[Handoff] = []
        with running_engine(Side("adapter", stock=False, slots=SLOTS), start) as engine:
            replaced = None
            # The first one compiles and allocates for the shapes of a step, and is not counted.
            for number in range(bench.rounds + 1):
                report(f"Adapter {number} of {bench.rounds}", number / (bench.rounds + 1))
                handed, replaced = _adapter(learner, files, engine, replaced, number)
                alone.append(handed)
        merged: list[Handoff] = []
        for number in range(bench.merged_rounds):
            report(f"Merged model {number + 1} of {bench.merged_rounds}", number / bench.merged_rounds)
            merged.append(_merged(learner, Path(folder) / f"merged-{number}", start, number))
    return compared(bench, alone[1:], merged)


def _adapter(
    learner: "Learner", files: RevisionFiles, engine: RunningEngine, replaced: AdapterRef | None, number: int
) -> tuple[Handoff, AdapterRef]:
    learner.step()
    began = time.perf_counter()
    packed = learner.packed()
    digest, size = files.add(packed)
    written = time.perf_counter()
    adapter = AdapterRef(digest, str(files.path(digest)))
    ready, token = engine.run(hand_over, adapter, replaced, _prompt(number))
    return Handoff(written - began, ready, token, size), adapter


def _merged(learner: "Learner", directory: Path, start: Start, number: int) -> Handoff:
    learner.step()
    began = time.perf_counter()
    size = learner.write_merged(directory)
    written = time.perf_counter()
    with running_engine(Side("merged", stock=True, slots=1), start._replace(base=directory)) as engine:
        ready = time.perf_counter()
        [reply] = engine.play([[EngineRequest(None, _prompt(number), 1)]]).served
        return Handoff(written - began, ready - written, reply.token_times[0], size)


async def hand_over(
    engine: PopulaceEngine, adapter: AdapterRef, replaced: AdapterRef | None, prompt: tuple[int, ...]
) -> tuple[float, float]:
    """Prewarm the adapter, then ask it for a token; return both times. Runs in the engine's process."""
    began = time.perf_counter()
    await engine.publish(adapter, replaced)
    ready = time.perf_counter()
    async with aclosing(engine.tokens_of(adapter, prompt, 1)) as counts:
        async for _ in counts:
            return ready - began, time.perf_counter() - ready
    raise AssertionError("a reply has a token")


def _prompt(number: int) -> tuple[int, ...]:
    return draw_prompt(random.Random(number))  # noqa: S311 - traffic, not a secret


def compared(bench: HandoffBench, alone: list[Handoff], merged: list[Handoff]) -> BenchReport:
    """Report the medians of both ways, and how many times longer a merged model takes."""
    ratio = _median(merged, "total") / _median(alone, "total")
    return BenchReport(
        "handoff",
        rows=[_row("adapter alone", alone), _row("merged, engine started", merged)],
        aims=[
            Aim(
                "seconds from step to first token, merged",
                round(ratio, 1),
                RATIO_MIN,
                "x the adapter alone",
                at_most=False,
            )
        ],
        notes=[
            f"{bench.rounds} adapters of rank {bench.rank}, {bench.merged_rounds} merged models; medians.",
            "write: packed and stored durably, or merged and saved.",
            "ready: in the engine's memory, or an engine started with the model.",
            "token: from then to the first token of a reply to 32 tokens.",
        ],
    )


def _row(side: str, handoffs: list[Handoff]) -> Row:
    parts = ("write", "ready", "token", "total")
    times: Row = {f"{part} ms": round(_median(handoffs, part) * 1000) for part in parts}
    return {"side": side, "MB": round(handoffs[0].bytes / 1e6, 1), **times}


def _median(handoffs: list[Handoff], part: str) -> float:
    return statistics.median(getattr(handoff, part) for handoff in handoffs)
