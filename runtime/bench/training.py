"""``populace bench training``: training people in shared steps, compared with one by one with PEFT."""

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
"""Least aimed-at speed with ``AIMED_PEOPLE``, relative to PEFT.

MinT reports 1.77 for three policies on GPUs (arXiv 2605.13779).
"""

LOSS_DISTANCE_MAX = 0.05
"""Largest aimed-at difference of losses, in nats per token.

In bfloat16 sums depend on their order, and training accumulates the differences.
"""

Report = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class TrainingBench:
    """Numbers of people in shared steps, and the work of each; ``tokens`` bounds a sequence's length."""

    people: tuple[int, ...] = (1, 4, 8, 16)
    rounds: int = 3
    rank: int = 8
    steps: int = 8
    sequences: int = 4
    tokens: tuple[int, int] = (16, 48)


Curves = dict[str, list[float]]
"""Losses of each step in nats per token, by the way of training."""


def bench_training(bench: TrainingBench, settings: Settings, report: Report) -> tuple[BenchReport, Curves]:
    """Train one person with PEFT and each number of people in shared steps, in turn, in each round.

    Returns the report, and the first person's losses: those of PEFT first, then of each number of people.
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
            with_peft, with_others = alone.losses[0], shared.losses[0]
            steps = zip(with_peft, with_others, strict=True)
            distance = max(distance, *(abs(peft_loss - shared_loss) for peft_loss, shared_loss in steps))
            curves["PEFT"] = list(with_peft)
            curves[f"shared by {count}"] = list(with_others)
            if round_number >= 0:
                peft_seconds.append(alone.seconds)
                peft_peaks.append(alone.peak_bytes)
                seconds[count].append(shared.seconds)
                peaks[count].append(shared.peak_bytes)
    result = BenchReport("training")
    peft = _Side(work.tokens_of([0]), statistics.median(peft_seconds), statistics.median(peft_peaks))
    result.rows.append(peft.row("PEFT, one by one", 1))
    sides = {
        count: _Side(
            work.tokens_of(range(count)), statistics.median(seconds[count]), statistics.median(peaks[count])
        )
        for count in bench.people
    }
    for count, side in sides.items():
        speed_up = round(side.tokens_a_second / peft.tokens_a_second, 3)
        result.rows.append(side.row("shared steps", count) | {"speed_up": speed_up})
        if count == AIMED_PEOPLE:
            name = f"tokens per second, {count} people at once"
            result.aims.append(Aim(name, speed_up, SPEED_UP_MIN, "x PEFT", at_most=False))
    name = "largest difference of the loss curves"
    result.aims.append(Aim(name, round(distance, 4), LOSS_DISTANCE_MAX, "nats per token", at_most=True))
    if len(sides) > 1:
        result.notes.append(_limit(sides[min(sides)], sides[max(sides)]))
    result.notes.append(
        "last loss of the first person, in nats per token: "
        + ", ".join(f"{name} {losses[-1]:.3f}" for name, losses in curves.items())
        + "; peak memory is that beyond the loaded base"
    )
    return result, curves


class _Side(NamedTuple):
    """The tokens of all steps of some people, and medians of the time and memory of training them."""

    tokens: int
    seconds: float
    peak_bytes: float

    @property
    def tokens_a_second(self) -> float:
        """The number of tokens of all people, per second of training."""
        return self.tokens / self.seconds

    def row(self, side: str, people: int) -> Row:
        """Return the row of training ``people`` together or one after the other."""
        return {
            "side": side,
            "people": people,
            "seconds": round(self.seconds, 2),
            "people_an_hour": round(3600 * people / self.seconds, 1),
            "tokens_a_second": round(self.tokens_a_second, 1),
            "peak_mib": round(self.peak_bytes / 2**20),
        }


def _limit(fewest: _Side, most: _Side) -> str:
    """Describe the line through the two ends: the time per token, and the constant that sharing saves."""
    a_token = (most.seconds - fewest.seconds) / (most.tokens - fewest.tokens)
    constant = fewest.seconds - fewest.tokens * a_token
    return (
        f"a token takes {a_token * 1000:.2f} ms however many people share a step; {constant:.2f} s of a "
        "training do not depend on its people, and sharing saves them"
    )
