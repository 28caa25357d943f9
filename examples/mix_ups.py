"""Does what a person told or corrected answer its own questions, and no others?

Nearly the same words ask for quite different things. This counts which turn of a log, and which correction,
is taken for a question (``policies/tellings.py``, ``policies/corrections.py``), on questions that were
written by hand without looking at these rules (``tests/held_out``). No base is asked, so it takes seconds:

    python examples/mix_ups.py

A turn that is taken is still read by the base, and only a reply that is nothing but the answer is said. A
correction that is taken is said.
"""

import argparse
import json
import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from populace.bench.intervals import wilson
from populace.policies.corrections import Corrected, CorrectionFinder
from populace.policies.retrieval import Exchange
from populace.policies.tellings import telling_for

HELD_OUT = Path(__file__).parent.parent / "tests" / "held_out"
CORRECTED = (10, 50, 200)


class Counted(NamedTuple):
    """Of ``asked`` questions: for how many the right one was taken, and for how many a wrong one."""

    what: str
    asked: int
    right: int
    wrong: int


def main() -> None:
    options = _options()
    counted = [*mixed_up(), *_corrected(_lines("corrections.jsonl"))]
    table = Table("asked", "questions", "right taken", "wrong taken", title="What is taken for a question")
    for one in counted:
        table.add_row(one.what, str(one.asked), _share(one.right, one.asked), _share(one.wrong, one.asked))
    Console().print(table)
    if options.json is not None:
        rows = [one._asdict() for one in counted]
        options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def mixed_up() -> list[Counted]:
    """Count over three people with a log and corrections of their own, and questions for other things."""
    counts: dict[str, list[bool | None]] = {}

    def note(what: str, hits: Iterable[bool | None]) -> None:
        counts.setdefault(what, []).extend(hits)

    for person in _lines("mix_ups.jsonl"):
        said = person["tell"]
        note(
            "told, and asked for",
            [_is_right(_told(said, one["ask"]), one["value"]) for one in person["asked"]],
        )
        others = [*person["other"], *person["corrected_other"]]
        note("told, and something else asked", [_is_right(_told(said, ask), ()) for ask in others])
        about = [one["ask"] for one in person["conversations"]]
        note("told, and asked of a conversation", [_is_right(_told(said, ask), ()) for ask in about])
        note(
            "told, and said again by others or in a story",
            [_is_right(_told([*said, one["say"]], one["ask"]), one["value"]) for one in person["unsaid"]],
        )
        corrected = [
            Corrected(at, one["ask"], one["correction"]) for at, one in enumerate(person["corrected"])
        ]
        finder = CorrectionFinder(corrected)
        note("corrected, in the same words", [_is(finder, one.asked, one.position) for one in corrected])
        reworded = enumerate(person["corrected_asked"])
        note("corrected, in other words", [_is(finder, one["ask"], at // 2) for at, one in reworded])
        note("corrected, and something else asked", [_is(finder, ask, None) for ask in others])
    return [_count(what, hits) for what, hits in counts.items()]


def _corrected(facts: Sequence[dict[str, Any]]) -> list[Counted]:
    """Count over one person of whose facts 10, 50 or all are corrected."""
    general = [line["ask"] for name in ("general", "instructions") for line in _lines(f"{name}.jsonl")]
    counted: list[Counted] = []
    for number in CORRECTED:
        chosen = random.Random("mix-ups").sample(range(len(facts)), number)
        finder = CorrectionFinder([Corrected(at, facts[at]["ask"], facts[at]["correction"]) for at in chosen])
        for kind in ("near", "far"):
            hits = [_is(finder, ask, at) for at in chosen for ask in facts[at][kind]]
            counted.append(_count(f"{number} corrected, {kind} wordings", hits))
        others = [fact["ask"] for at, fact in enumerate(facts) if at not in chosen]
        if others:
            counted.append(
                _count(f"{number} corrected, others' facts", [_is(finder, ask, None) for ask in others])
            )
        counted.append(_count(f"{number} corrected, general", [_is(finder, ask, None) for ask in general]))
    return counted


def _told(said: Sequence[str], ask: str) -> str | None:
    found = telling_for(ask, [Exchange(at, text, "", b"") for at, text in enumerate(said)])
    return None if found is None else found.said


def _is_right(told: str | None, values: Sequence[str]) -> bool | None:
    """Whether the turn that was taken has one of the values; None if none was taken."""
    return None if told is None else any(value.casefold() in told.casefold() for value in values)


def _is(finder: CorrectionFinder, ask: str, position: int | None) -> bool | None:
    found = finder.applying(ask)
    return None if found is None else found == position


def _count(what: str, hits: Sequence[bool | None]) -> Counted:
    return Counted(what, len(hits), sum(hit is True for hit in hits), sum(hit is False for hit in hits))


def _share(hits: int, of: int) -> str:
    share = wilson(hits, of)
    return f"{hits} ({hits / of:.0%}, {share[0]:.0%} to {share[1]:.0%})"


def _lines(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (HELD_OUT / name).read_text(encoding="utf-8").splitlines()]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Does what a person told or corrected answer its own questions?"
    )
    parser.add_argument("--json", type=Path, help="write the counts to this file")
    return parser.parse_args()


if __name__ == "__main__":
    main()
