"""The rows of the bench: one number with its interval, and what it is of."""

from dataclasses import dataclass, field

from populace.bench.intervals import Interval, mean_of, share_of
from populace.bench.report import Aim, Row

COLUMNS = ("set", "of", "measure", "value", "low", "high", "unit", "n")


@dataclass(slots=True)
class Table:
    """What a set gave."""

    rows: list[Row] = field(default_factory=list[Row])
    aims: list[Aim] = field(default_factory=list[Aim])


def row(
    set_name: str, of: str, measure: str, interval: Interval, unit: str, count: int, *, digits: int = 1
) -> Row:
    value, low, high = (round(number, digits) for number in interval)
    return {
        "set": set_name,
        "of": of,
        "measure": measure,
        "value": value,
        "low": low,
        "high": high,
        "unit": unit,
        "n": count,
    }


def share_row(set_name: str, of: str, measure: str, hits: list[bool]) -> list[Row]:
    """A share in percent with Wilson's interval; no row for nothing."""
    if not hits:
        return []
    return [row(set_name, of, measure, share_of(hits).times(100), "%", len(hits))]


def spent_rows(state_bytes: int, question_tokens: list[int]) -> list[Row]:
    """What a person costs: a state's size, and the tokens of a prompt that asks something."""
    tokens = mean_of([float(one) for one in question_tokens])
    size = Interval(state_bytes, state_bytes, state_bytes)
    return [
        row("cost", "a person", "state", size, "bytes", 1, digits=0),
        row("cost", "a question", "prompt", tokens, "tokens", len(question_tokens)),
    ]


def share_aim(name: str, hits: list[bool], aim: float, *, at_most: bool = False) -> list[Aim]:
    """An aim for a share in percent; none for nothing."""
    if not hits:
        return []
    return [Aim(name, round(100 * sum(hits) / len(hits), 1), aim, "%", at_most)]
