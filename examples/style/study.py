# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
# bm25s is partly untyped.
"""The entries of the chosen people as tokens, by themselves and behind what retrieval finds."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bm25s
from style.changelogs import Budget, Entry, Writer, chosen_writers, read_entries, worded_once

from populace.actors.engine import Message
from populace.engines.prompts import BaseTokenizer
from populace.learning.encoding import ExampleEncoder
from populace.learning.methods.objective import TrainSequence

SYSTEM = "Write the Debian changelog entry, in bullets that begin with *."
"""It says the form, so that no adapter is praised for that, and is short: it is read before every entry."""

RECALLED = 2
"""Own entries that retrieval puts before what is asked for."""


@dataclass(frozen=True, slots=True)
class Study:
    """The people, and their entries as tokens, in the same order.

    ``held_out`` has what is asked for by itself, ``recalled`` the same behind the person's own learned
    entries that retrieval found. ``digest`` is of all this.
    """

    labels: Sequence[str]
    writers: Sequence[Writer]
    learned: Sequence[Sequence[TrainSequence]]
    held_out: Sequence[Sequence[TrainSequence]]
    recalled: Sequence[Sequence[TrainSequence]]
    digest: str

    @property
    def base_tokens(self) -> int:
        """What the base reads."""
        return tokens_of(self.held_out) + tokens_of(self.recalled)

    @property
    def seed_tokens(self) -> int:
        """What the adapters of one seed read.

        Each, and everybody's, reads all people; those that went on read two people; and either kind reads its
        own person with what was retrieved.
        """
        return (len(self.writers) + 3) * tokens_of(self.held_out) + 2 * tokens_of(self.recalled)


def make_study(
    changelogs: Path,
    people: int,
    budget: Budget,
    tokenizer: BaseTokenizer,
    encoder: ExampleEncoder,
    *,
    same_packages: bool,
) -> Study:
    """Choose people and make tokens of what they wrote. Raises ``LookupError`` if too few wrote enough."""
    writers = chosen_writers(
        worded_once(read_entries(changelogs)),
        people,
        budget,
        lambda entry: len(tokenizer.tokens_of(entry.text).ids) + 1,
        same_packages=same_packages,
    )
    recalled = [
        [
            _sequence(encoder, one, found)
            for one, found in zip(own.held_out, retrieved(own.held_out, own.learned), strict=True)
        ]
        for own in writers
    ]
    learned = [[_sequence(encoder, one) for one in own.learned] for own in writers]
    held_out = [[_sequence(encoder, one) for one in own.held_out] for own in writers]
    digest = hashlib.sha256(json.dumps([learned, held_out, recalled]).encode()).hexdigest()
    return Study(labels_of([own.name for own in writers]), writers, learned, held_out, recalled, digest)


def retrieved(asked: Sequence[Entry], among: Sequence[Entry]) -> list[list[Entry]]:
    """For each the most alike, by BM25 of what is asked for; the best is the last, next to the question."""
    index = bm25s.BM25()
    index.index(_words([f"{_request(one)} {one.text}" for one in among]), show_progress=False)
    found, _ = index.retrieve(
        _words([_request(one) for one in asked]), k=min(RECALLED, len(among)), show_progress=False
    )
    return [[among[int(place)] for place in reversed(row)] for row in found]


def labels_of(names: Sequence[str]) -> list[str]:
    """Initials, numbered where two people have the same."""
    labels: list[str] = []
    for name in names:
        initials = "".join(word[0] for word in name.split() if word[0].isalpha())
        same = sum(label.rstrip("0123456789") == initials for label in labels)
        labels.append(f"{initials}{same + 1}" if same else initials)
    return labels


def tokens_of(entries: Sequence[Sequence[TrainSequence]]) -> int:
    return sum(len(one.ids) for own in entries for one in own)


def _request(entry: Entry) -> str:
    return f"{entry.package} {entry.version}"


def _sequence(encoder: ExampleEncoder, entry: Entry, before: Sequence[Entry] = ()) -> TrainSequence:
    messages = [Message("system", SYSTEM)]
    for one in before:
        messages += [Message("user", _request(one)), Message("assistant", one.text)]
    found = encoder.sequence([*messages, Message("user", _request(entry))], entry.text)
    assert found is not None, "an entry is far shorter than the context"
    return found


def _words(texts: Sequence[str]) -> Any:
    return bm25s.tokenize(list(texts), stopwords="en", show_progress=False)
