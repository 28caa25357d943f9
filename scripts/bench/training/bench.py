"""``populace bench training``: training people in shared steps, compared with one by one with PEFT."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Self

from populace.base.prepare import prepare_base
from populace.settings.settings import Settings
from scripts.bench.report import Aim, BenchReport, Row

if TYPE_CHECKING:
    from scripts.bench.training.parts import Part, Peak
    from scripts.bench.training_work import Trained

AIMED_PEOPLE = 8
SPEED_UP_MIN = 2.0
"""Least aimed-at speed with ``AIMED_PEOPLE``, relative to PEFT.

MinT reports 1.77 for three policies on GPUs (arXiv 2605.13779).
"""

LOSS_DISTANCE_MAX = 0.05
"""Largest aimed-at difference of losses, in nats per token.

In bfloat16 sums depend on their order, and training accumulates the differences.
"""

HELD_OUT_MAX = 0.02
"""How much higher the loss of text that was held out may be than PEFT's, in nats per token."""

PEAK_SHARE_MIN = 0.5
"""Least aimed-at share of the fastest products that the base's own reach in whole training steps."""

COLUMNS = (
    "side",
    "people",
    "seconds",
    "processor_seconds",
    "peak_mib",
    "speed_up",
    "processor_speed_up",
    "share",
)
"""The columns of the table; the JSON has all."""

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
    from scripts.bench.training.times import TrainingTimes
    from scripts.bench.training_work import Work

    base = prepare_base(settings.base, settings.cache, allow_hub=False)
    work = Work(bench.rank, bench.steps, bench.sequences, bench.tokens)
    turns: dict[int, list[_Turn]] = {count: [] for count in bench.people}
    curves: Curves = {}
    total = (bench.rounds + 1) * len(bench.people)
    with TrainingTimes(base.directory, base.fingerprint, work) as times:
        for round_number in range(-1, bench.rounds):
            for at, count in enumerate(bench.people):
                report(f"{count} people at once", ((round_number + 1) * len(bench.people) + at) / total)
                person = max(round_number, 0) % count
                alone, shared = times.alone([person]), times.shared(range(count))
                kept = times.alone([person], keeps_memory=True)
                if round_number >= 0:
                    turns[count].append(_Turn(person, alone, kept, shared))
                else:
                    curves["PEFT"] = list(alone.losses[0])
                    curves[f"shared by {count}"] = list(shared.losses[0])
        most = AIMED_PEOPLE if AIMED_PEOPLE in bench.people else max(bench.people)
        parts = times.parts(range(most))
        peaks = times.peaks(work.tokens_of(range(most)) // work.steps)
        products = times.base_products(range(most)) * work.steps
    every = [turn for of_count in turns.values() for turn in of_count]
    result = BenchReport("training", columns=COLUMNS)
    for side, trained in (
        ("PEFT, one by one", [turn.peft for turn in every]),
        ("PEFT that keeps freed memory", [turn.peft_keeping for turn in every]),
    ):
        tokens = [work.tokens_of([turn.person]) for turn in every]
        result.rows.append(_Side.of(tokens, trained).row(side, 1))
    sides = {
        count: _Side.of([work.tokens_of(range(count))] * len(of_count), [turn.shared for turn in of_count])
        for count, of_count in turns.items()
    }
    for count, side in sides.items():
        faster = _speed_ups(turns[count], work.tokens_of, side.tokens)
        result.rows.append(side.row("shared steps", count) | faster)
        if count == AIMED_PEOPLE:
            name = f"tokens per second, {count} people at once"
            result.aims.append(Aim(name, faster["speed_up"], SPEED_UP_MIN, "x PEFT", at_most=False))
    result.rows += _part_rows(parts)
    result.aims.append(_held_out_aim(every))
    distance = max(turn.distance for turn in every)
    name = "largest difference of the loss curves"
    result.aims.append(Aim(name, round(distance, 4), LOSS_DISTANCE_MAX, "nats per token", at_most=True))
    share = products / sides[most].seconds / peaks[0].flops
    name = f"base's products of {most} people's steps, of the fastest in {peaks[0].dtype}"
    result.aims.append(Aim(name, round(share, 3), PEAK_SHARE_MIN, "of the peak", at_most=False))
    result.notes += _notes(sides, peaks, every)
    return result, curves


class _Turn(NamedTuple):
    """One person's training with PEFT, with and without kept memory, and a shared one that includes them."""

    person: int
    peft: "Trained"
    peft_keeping: "Trained"
    shared: "Trained"

    @property
    def distance(self) -> float:
        """The largest difference of the two losses of any step."""
        steps = zip(self.peft.losses[0], self.shared.losses[self.person], strict=True)
        return max(abs(of_peft - of_shared) for of_peft, of_shared in steps)


def _speed_ups(
    turns: Sequence[_Turn], tokens_of: Callable[[Sequence[int]], int], shared_tokens: float
) -> dict[str, float]:
    """Return the median speed of shared steps relative to PEFT and to PEFT that keeps freed memory.

    By the clock, and by processor time, in which what else runs on the machine counts little.
    """

    def median(of_turn: Callable[[_Turn], float]) -> float:
        scaled = (of_turn(turn) * shared_tokens / tokens_of([turn.person]) for turn in turns)
        return round(statistics.median(scaled), 3)

    return {
        "speed_up": median(lambda turn: turn.peft.seconds / turn.shared.seconds),
        "over_keeping": median(lambda turn: turn.peft_keeping.seconds / turn.shared.seconds),
        "processor_speed_up": median(
            lambda turn: turn.peft.processor_seconds / turn.shared.processor_seconds
        ),
        "processor_over_keeping": median(
            lambda turn: turn.peft_keeping.processor_seconds / turn.shared.processor_seconds
        ),
    }


def _held_out_aim(turns: Sequence[_Turn]) -> Aim:
    """Return by how much the held-out loss of shared steps exceeds that of PEFT, in the mean of all turns."""
    excess = statistics.fmean(turn.shared.held_out[turn.person] - turn.peft.held_out[0] for turn in turns)
    name = "held-out loss of shared steps beyond PEFT's"
    return Aim(name, round(excess, 4), HELD_OUT_MAX, "nats per token", at_most=True)


def _part_rows(parts: Sequence["Part"]) -> list[Row]:
    whole = sum(part.seconds for part in parts)
    return [
        {
            "side": f"of a step: {part.name}",
            "seconds": round(part.seconds, 3),
            "share": round(part.seconds / whole, 3),
        }
        for part in parts
    ]


def _notes(sides: Mapping[int, "_Side"], peaks: Sequence["Peak"], turns: Sequence[_Turn]) -> list[str]:
    notes = [_limit(sides[min(sides)], sides[max(sides)])] if len(sides) > 1 else []
    measured = ", ".join(f"{peak.dtype} {peak.flops / 1e9:,.0f} GFLOPS" for peak in peaks)
    notes.append(f"fastest products with the base's matrices: {measured}")
    shared = statistics.fmean(turn.shared.held_out[turn.person] for turn in turns)
    peft = statistics.fmean(turn.peft.held_out[0] for turn in turns)
    notes.append(
        f"held-out loss in nats per token: PEFT {peft:.3f}, shared steps {shared:.3f}; "
        "peak memory is that beyond the loaded base"
    )
    return notes


class _Side(NamedTuple):
    """The tokens of all steps of some people, and medians of the time and memory of training them."""

    tokens: float
    seconds: float
    processor_seconds: float
    peak_bytes: float

    @classmethod
    def of(cls, tokens: Sequence[int], trained: Sequence["Trained"]) -> Self:
        """Return the medians of some trainings and of their tokens."""
        return cls(
            statistics.median(tokens),
            statistics.median(one.seconds for one in trained),
            statistics.median(one.processor_seconds for one in trained),
            statistics.median(one.peak_bytes for one in trained),
        )

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
            "processor_seconds": round(self.processor_seconds, 2),
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
