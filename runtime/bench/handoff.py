"""``populace bench handoff``: from a step of the optimiser to the first token of what it made.

An adapter is packed, stored and made ready in the engine that serves; or it is merged into its base, and an
engine is started with the whole model, as who has no adapters in serving must.
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
from populace.bench.engine_process import Ours, RunningEngine, running_engine
from populace.bench.engine_sides import Ask, Side, Start, draw_prompt
from populace.bench.report import Aim, BenchReport, Row
from populace.settings.settings import Settings
from populace.storage.revisions import RevisionFiles

RATIO_MIN = 18.3
"""Of merging and reloading to the adapter alone. MinT's figure 7: Qwen3-4B on GPUs (arXiv 2605.13779)."""

if TYPE_CHECKING:
    from populace.bench.merged_handoff import Learner

SLOTS = 4

Report = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class HandoffBench:
    """How often each is done. A merged model's engine takes half a minute to start."""

    rounds: int = 8
    merged_rounds: int = 2
    rank: int = 8


class Handoff(NamedTuple):
    """Seconds until it is written, then until it is ready, then until its first token; and what is moved."""

    write: float
    ready: float
    token: float
    bytes: int

    @property
    def total(self) -> float:
        return self.write + self.ready + self.token


def bench_handoff(bench: HandoffBench, settings: Settings, report: Report) -> BenchReport:
    """Hand over so many revisions each way, one engine after the other. Stops them."""
    from populace.bench.merged_handoff import Learner

    base = prepare_base(settings.base, settings.cache, allow_hub=False)
    learner = Learner(base.directory, base.fingerprint, rank=bench.rank)
    start = Start(base.directory, base.fingerprint, (), settings.context_tokens, bench.rank, settings.threads)
    with tempfile.TemporaryDirectory(prefix="populace-") as folder:
        files = RevisionFiles(Path(folder) / "revisions")
        report("Starting the engine that serves", 0.0)
        alone: list[Handoff] = []
        with running_engine(Side("adapter", stock=False, slots=SLOTS), start) as engine:
            replaced = None
            # The first one warms the steps' shapes, and is not counted.
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
        [one] = engine.play([[Ask(None, _prompt(number), 1)]]).served
        return Handoff(written - began, ready - written, one.token_times[0], size)


async def hand_over(
    engine: Ours, adapter: AdapterRef, replaced: AdapterRef | None, prompt: tuple[int, ...]
) -> tuple[float, float]:
    """In the engine's process: make the adapter ready, then ask it; seconds of both."""
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
    """Report medians of both, and how much longer a merged model takes."""
    ratio = statistics.median(one.total for one in merged) / statistics.median(one.total for one in alone)
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
            "token: the first of a reply to 32 tokens after that.",
        ],
    )


def _row(side: str, handed: list[Handoff]) -> Row:
    return {
        "side": side,
        "MB": round(handed[0].bytes / 1e6, 1),
        "write ms": round(statistics.median(one.write for one in handed) * 1000),
        "ready ms": round(statistics.median(one.ready for one in handed) * 1000),
        "token ms": round(statistics.median(one.token for one in handed) * 1000),
        "total ms": round(statistics.median(one.total for one in handed) * 1000),
    }
