"""The rows of the bench: each a number with its interval, its set and its condition."""

from dataclasses import dataclass, field

from scripts.bench.intervals import Interval, mean_of, share_of
from scripts.bench.report import Aim, Row

COLUMNS = ("set", "of", "measure", "value", "low", "high", "unit", "n")


@dataclass(slots=True)
class Table:
    """The rows and aims of a set."""

    rows: list[Row] = field(default_factory=list[Row])
    aims: list[Aim] = field(default_factory=list[Aim])


def row(
    set_name: str, of: str, measure: str, interval: Interval, unit: str, count: int, *, digits: int = 1
) -> Row:
    """Return a row; ``count`` is the number of observations, and the interval is rounded to ``digits``."""
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
    """Return a row with a share in percent and Wilson's interval; none for no observations."""
    if not hits:
        return []
    return [row(set_name, of, measure, share_of(hits).times(100), "%", len(hits))]


def spent_rows(state_bytes: int, question_tokens: list[int]) -> list[Row]:
    """Return the cost of a person: the size of a memory state, and the tokens of a question's prompt."""
    tokens = mean_of([float(tokens) for tokens in question_tokens])
    size = Interval(state_bytes, state_bytes, state_bytes)
    return [
        row("cost", "a person", "state", size, "bytes", 1, digits=0),
        row("cost", "a question", "prompt", tokens, "tokens", len(question_tokens)),
    ]


def share_aim(name: str, hits: list[bool], aim: float, *, at_most: bool = False) -> list[Aim]:
    """Return an aim for a share in percent; none for no observations."""
    if not hits:
        return []
    return [Aim(name, round(100 * sum(hits) / len(hits), 1), aim, "%", at_most)]
