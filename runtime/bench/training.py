"""``populace bench training``: people trained in shared steps against one after the other with PEFT."""

import statistics
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from populace.base.prepare import prepare_base
from populace.bench.report import Aim, BenchReport, Row
from populace.settings.settings import Settings

AIMED_PEOPLE = 8
SPEED_UP_MIN = 2.0
"""At ``AIMED_PEOPLE``. MinT reports 1.77 for three policies on GPUs (arXiv 2605.13779)."""

LOSS_DISTANCE_MAX = 0.05
"""Nats a token: bfloat16 rounds sums of another order otherwise, and training adds that up."""

Report = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class TrainingBench:
    """How many people at once, and what each is trained on, in sequences of a length in ``tokens``."""

    people: tuple[int, ...] = (1, 4, 8, 16)
    rounds: int = 3
    rank: int = 8
    steps: int = 8
    sequences: int = 4
    tokens: tuple[int, int] = (16, 48)


Curves = dict[str, list[float]]


def bench_training(bench: TrainingBench, settings: Settings, report: Report) -> tuple[BenchReport, Curves]:
    """Take turns: PEFT one person, then ours so many at once, and again.

    Answers the first person's losses too, by who trained them: PEFT first.
    """
    from populace.bench.training_times import TrainingTimes, Work

    base = prepare_base(settings.base, settings.cache, allow_hub=False)
    work = Work(bench.rank, bench.steps, bench.sequences, bench.tokens)
    times = TrainingTimes(base.directory, base.fingerprint, work)
    peft_seconds: list[float] = []
    peft_peaks: list[int] = []
    seconds: dict[int, list[float]] = defaultdict(list)
    peaks: dict[int, list[int]] = defaultdict(list)
    distance = 0.0
    curves: Curves = {}
    total = (bench.rounds + 1) * len(bench.people)
    for round_number in range(-1, bench.rounds):
        for at, count in enumerate(bench.people):
            report(f"{count} people at once", ((round_number + 1) * len(bench.people) + at) / total)
            alone, shared = times.alone([0]), times.shared(range(count))
            theirs, ours = alone.losses[0], shared.losses[0]
            distance = max(distance, *(abs(one - other) for one, other in zip(theirs, ours, strict=True)))
            curves["PEFT"] = list(theirs)
            curves[f"shared by {count}"] = list(ours)
            if round_number >= 0:
                peft_seconds.append(alone.seconds)
                peft_peaks.append(alone.peak_bytes)
                seconds[count].append(shared.seconds)
                peaks[count].append(shared.peak_bytes)
    result = BenchReport("training")
    one = _Side(work.tokens_of([0]), statistics.median(peft_seconds), statistics.median(peft_peaks))
    result.rows.append(one.row("PEFT, one by one", 1))
    sides = {
        count: _Side(
            work.tokens_of(range(count)), statistics.median(seconds[count]), statistics.median(peaks[count])
        )
        for count in bench.people
    }
    for count, side in sides.items():
        speed_up = round(side.tokens_a_second / one.tokens_a_second, 3)
        result.rows.append(side.row("shared steps", count) | {"speed_up": speed_up})
        if count == AIMED_PEOPLE:
            name = f"tokens a second, {count} people at once"
            result.aims.append(Aim(name, speed_up, SPEED_UP_MIN, "x PEFT", at_most=False))
    name = "greatest distance of the loss curves"
    result.aims.append(Aim(name, round(distance, 4), LOSS_DISTANCE_MAX, "nats a token", at_most=True))
    if len(sides) > 1:
        result.notes.append(_limit(sides[min(sides)], sides[max(sides)]))
    result.notes.append(
        "last loss of the first person, in nats a token: "
        + ", ".join(f"{name} {losses[-1]:.3f}" for name, losses in curves.items())
        + "; peak memory is on top of the loaded base"
    )
    return result, curves


class _Side(NamedTuple):
    """Medians of training some people, all steps together."""

    tokens: int
    seconds: float
    peak_bytes: float

    @property
    def tokens_a_second(self) -> float:
        return self.tokens / self.seconds

    def row(self, side: str, people: int) -> Row:
        return {
            "side": side,
            "people": people,
            "seconds": round(self.seconds, 2),
            "people_an_hour": round(3600 * people / self.seconds, 1),
            "tokens_a_second": round(self.tokens_a_second, 1),
            "peak_mib": round(self.peak_bytes / 2**20),
        }


def _limit(fewest: _Side, most: _Side) -> str:
    """Say what a token costs by itself, by the two ends: more people cannot make it cheaper."""
    a_token = (most.seconds - fewest.seconds) / (most.tokens - fewest.tokens)
    constant = fewest.seconds - fewest.tokens * a_token
    return (
        f"a token takes {a_token * 1000:.2f} ms however many share a step, and a training {constant:.2f} s "
        "whoever is in it: that is what sharing saves"
    )
