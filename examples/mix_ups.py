"""Does what a person told or corrected answer its own questions, and no others?

Nearly the same words ask for quite different things. This counts which turn of a log, and which correction,
is taken for a question (``policies/tellings.py``, ``policies/corrections.py``), on questions that were
written by hand without looking at these rules (``tests/held_out``), by words alone and with the sentence
encoder beside them. No base is asked, so it takes seconds:

    python examples/mix_ups.py

A turn that is taken is still read by the base, and only a reply that is nothing but the answer is said. A
correction that is taken is said.
"""

import argparse
import json
import random
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from populace.actors.keepers.sentence_vectors import SentenceEncoder, SentenceVectors
from populace.encoder.files import prepare_encoder
from populace.encoder.on_use import EncoderOnUse
from populace.policies import corrections, tellings
from populace.policies.corrections import Corrected, CorrectionFinder
from populace.policies.retrieval import Exchange
from populace.settings.settings import Settings
from scripts.bench.intervals import wilson

HELD_OUT = Path(__file__).parent.parent / "tests" / "held_out"
CORRECTED = (10, 50, 200)


class Counted(NamedTuple):
    """Of ``asked`` questions: for how many the right one was taken, and for how many a wrong one."""

    what: str
    by: str
    asked: int
    right: int
    wrong: int


class Likeness:
    """How alike in meaning a question is to texts, by their positions; nothing without an encoder."""

    def __init__(self, encoder: SentenceEncoder | None = None) -> None:
        self.by = "words" if encoder is None else "words and meaning"
        self._encoder = encoder
        self._vectors = SentenceVectors()

    def __call__(self, question: str, texts: Sequence[tuple[int, str]]) -> Mapping[int, float]:
        if self._encoder is None or not texts:
            return {}
        said = [text for _, text in texts]
        self._vectors = self._vectors.extended(self._encoder, self._vectors.missing(said))
        likeness = self._vectors.likeness(self._encoder, question, said)
        return {position: like for (position, _), like in zip(texts, likeness, strict=True)}


class Person:
    """What an invented person told and corrected."""

    def __init__(
        self, likeness: Likeness, said: Sequence[str] = (), corrected: Sequence[tuple[str, str]] = ()
    ) -> None:
        """``corrected`` are questions, each with the reply that was wanted."""
        self._likeness = likeness
        self._said = [Exchange(at, text, "", b"") for at, text in enumerate(said)]
        self._corrected = [Corrected(at, *one) for at, one in enumerate(corrected)]
        self._finder = CorrectionFinder(self._corrected)

    def told(self, ask: str, values: Sequence[str] = ()) -> bool | None:
        """Whether the turn that is taken for a question has one of the values; None if none is taken."""
        may_tell = [(one.position, one.said) for one in tellings.comparable(ask, self._said)]
        found = tellings.telling_for(ask, self._said, self._likeness(ask, may_tell))
        return None if found is None else any(value.casefold() in found.said.casefold() for value in values)

    def corrects(self, ask: str, position: int | None = None) -> bool | None:
        """Whether the correction that is taken for a question is this one; None if none is taken."""
        may_apply = [(one.position, one.asked) for one in corrections.comparable(self._corrected, ask)]
        found = self._finder.applying(ask, self._likeness(ask, may_apply))
        return None if found is None else found == position


def main() -> None:
    options = _options()
    encoder = prepare_encoder(options.encoder, Settings.from_environment().cache)
    ways = [Likeness(), *([] if encoder is None else [Likeness(EncoderOnUse(encoder))])]
    counted = [one for way in ways for part in (mixed_up, reworded, corrected) for one in part(way)]
    table = Table(
        "asked", "found by", "questions", "right taken", "wrong taken", title="What is taken for a question"
    )
    for one in sorted(counted, key=lambda one: [line.what for line in counted].index(one.what)):
        table.add_row(
            one.what, one.by, str(one.asked), _share(one.right, one.asked), _share(one.wrong, one.asked)
        )
    Console().print(table)
    if options.json is not None:
        rows = [one._asdict() for one in counted]
        options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def mixed_up(likeness: Likeness) -> list[Counted]:
    """Count over three people with a log and corrections of their own, and questions for other things."""
    counts = Counts(likeness.by)
    for line in _lines("mix_ups.jsonl"):
        said = line["tell"]
        corrected = [(one["ask"], one["correction"]) for one in line["corrected"]]
        one = Person(likeness, said, corrected)
        others = [*line["other"], *line["corrected_other"]]
        counts.add("told, and asked for", [one.told(asked["ask"], asked["value"]) for asked in line["asked"]])
        counts.add("told, and something else asked", map(one.told, others))
        about = [asked["ask"] for asked in line["conversations"]]
        counts.add("told, and asked of a conversation", map(one.told, about))
        unsaid = [
            Person(likeness, [*said, other["say"]]).told(other["ask"], other["value"])
            for other in line["unsaid"]
        ]
        counts.add("told, and said again by others or in a story", unsaid)
        same = [one.corrects(ask, at) for at, (ask, _) in enumerate(corrected)]
        counts.add("corrected, in the same words", same)
        in_other_words = [
            one.corrects(asked["ask"], at // 2) for at, asked in enumerate(line["corrected_asked"])
        ]
        counts.add("corrected, in other words", in_other_words)
        counts.add("corrected, and something else asked", map(one.corrects, others))
    return counts.counted()


def reworded(likeness: Likeness) -> list[Counted]:
    """Count over six people, with three other wordings of each thing, and two questions for another."""
    counts = Counts(likeness.by)
    for line in _lines("reworded.jsonl"):
        told, corrected = line["told"], line["corrected"]
        one = Person(
            likeness,
            [thing["say"] for thing in told],
            [(thing["ask"], thing["correction"]) for thing in corrected],
        )
        for number, wording in enumerate(("near", "other", "far")):
            hits = [one.told(thing["asked"][number], thing["value"]) for thing in told]
            counts.add(f"six people's told things, {wording} wordings", hits)
            hits = [one.corrects(thing["reworded"][number], at) for at, thing in enumerate(corrected)]
            counts.add(f"six people's corrections, {wording} wordings", hits)
        others = [ask for thing in (*told, *corrected) for ask in thing["other"]]
        counts.add("six people's told things, something else", map(one.told, others))
        counts.add("six people's corrections, something else", map(one.corrects, others))
    return counts.counted()


def corrected(likeness: Likeness, numbers: Sequence[int] = CORRECTED) -> list[Counted]:
    """Count over one person of whose facts each of some numbers is corrected."""
    facts = _lines("corrections.jsonl")
    general = [line["ask"] for name in ("general", "instructions") for line in _lines(f"{name}.jsonl")]
    counts = Counts(likeness.by)
    for number in numbers:
        chosen = random.Random("mix-ups").sample(range(len(facts)), number)
        one = Person(likeness, corrected=[(facts[at]["ask"], facts[at]["correction"]) for at in chosen])
        for kind in ("near", "far"):
            hits = [one.corrects(ask, place) for place, at in enumerate(chosen) for ask in facts[at][kind]]
            counts.add(f"{number} corrected, {kind} wordings", hits)
        others = [fact["ask"] for at, fact in enumerate(facts) if at not in chosen]
        if others:
            counts.add(f"{number} corrected, others' facts", map(one.corrects, others))
        counts.add(f"{number} corrected, general", map(one.corrects, general))
    return counts.counted()


class Counts:
    """Collects what was taken for questions of some kinds."""

    def __init__(self, by: str) -> None:
        self._by = by
        self._hits: dict[str, list[bool | None]] = {}

    def add(self, what: str, hits: Iterable[bool | None]) -> None:
        self._hits.setdefault(what, []).extend(hits)

    def counted(self) -> list[Counted]:
        return [
            Counted(what, self._by, len(hits), hits.count(True), hits.count(False))
            for what, hits in self._hits.items()
        ]


def _share(hits: int, of: int) -> str:
    share = wilson(hits, of)
    return f"{hits} ({hits / of:.0%}, {share[0]:.0%} to {share[1]:.0%})"


def _lines(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (HELD_OUT / name).read_text(encoding="utf-8").splitlines()]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Does what a person told or corrected answer its own questions?"
    )
    parser.add_argument("--encoder", help="a directory, or `none` (default: the default sentence encoder)")
    parser.add_argument("--json", type=Path, help="write the counts to this file")
    return parser.parse_args()


if __name__ == "__main__":
    main()
