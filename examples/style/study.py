# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
# bm25s is partly untyped.
"""The entries of the chosen people as tokens, alone and after the entries that retrieval finds."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import bm25s
from style.changelogs import Budget, Entry, Writer, chosen_writers, read_entries, shortened, worded_once
from style.upstream import read_upstream

from populace.actors.engine import Message
from populace.engines.prompts import BaseTokenizer
from populace.learning.encoding import ExampleEncoder
from populace.learning.methods.objective import TrainSequence


class Kind(NamedTuple):
    """A kind of text: how it is read, and the prompt that precedes every entry.

    The prompt states the form, so that adapters gain nothing by learning it. With ``same_packages`` held-out
    entries may be of packages of the training: nearly all that somebody wrote upstream is about one.
    """

    read: Callable[[Path], list[Entry]]
    system: str
    same_packages: bool = False


KINDS: Mapping[str, Kind] = {
    "packaging": Kind(read_entries, "Write the Debian changelog entry, in bullets that begin with *."),
    "upstream": Kind(read_upstream, "Write the paragraph of the GNU ChangeLog.", same_packages=True),
}

RECALLED = 2
"""Number of the person's own entries that retrieval puts into the prompt."""


@dataclass(frozen=True, slots=True)
class Study:
    """The people and their entries as tokens, in the same order.

    ``recalled`` has the entries of ``held_out`` after the person's own training entries that retrieval found.
    ``digest`` identifies all tokens.
    """

    labels: Sequence[str]
    writers: Sequence[Writer]
    learned: Sequence[Sequence[TrainSequence]]
    held_out: Sequence[Sequence[TrainSequence]]
    recalled: Sequence[Sequence[TrainSequence]]
    digest: str

    @property
    def base_tokens(self) -> int:
        """The number of tokens that the base reads."""
        return tokens_of(self.held_out) + tokens_of(self.recalled)

    @property
    def seed_tokens(self) -> int:
        """The number of tokens that the adapters of one seed read.

        Each person's adapter and the pooled one read all people; each further one reads two people, each part
        on the pooled one, each of strangers and each part on these its own person; and of the first two kinds
        each reads its own with retrieved entries.
        """
        return (len(self.writers) + 6) * tokens_of(self.held_out) + 2 * tokens_of(self.recalled)


def make_studies(
    kind: Kind,
    folder: Path,
    people: int,
    sizes: Sequence[int],
    held_out: int,
    tokenizer: BaseTokenizer,
    encoder: ExampleEncoder,
    *,
    same_packages: bool,
) -> list[Study]:
    """Choose the people and encode their entries, for each amount of training tokens in ascending order.

    The people and their held-out entries are those of the largest amount in all studies. Raises
    ``LookupError`` if too few people wrote enough.
    """

    def cost(entry: Entry) -> int:
        return len(tokenizer.tokens_of(entry.text).ids) + 1

    writers = chosen_writers(
        worded_once(kind.read(folder)),
        people,
        Budget(max(sizes), held_out),
        cost,
        same_packages=same_packages or kind.same_packages,
    )
    return [
        _study(kind, [shortened(writer, size, cost) for writer in writers], encoder) for size in sorted(sizes)
    ]


def _study(kind: Kind, writers: Sequence[Writer], encoder: ExampleEncoder) -> Study:
    recalled = [
        [
            _sequence(kind, encoder, entry, before)
            for entry, before in zip(own.held_out, retrieved(own.held_out, own.learned), strict=True)
        ]
        for own in writers
    ]
    learned = [[_sequence(kind, encoder, entry) for entry in own.learned] for own in writers]
    held_out = [[_sequence(kind, encoder, entry) for entry in own.held_out] for own in writers]
    digest = hashlib.sha256(json.dumps([learned, held_out, recalled]).encode()).hexdigest()
    return Study(labels_of([own.name for own in writers]), writers, learned, held_out, recalled, digest)


def retrieved(asked: Sequence[Entry], among: Sequence[Entry]) -> list[list[Entry]]:
    """Return the best matches of each request by BM25, the best one last, next to the request."""
    index = bm25s.BM25()
    index.index(_words([f"{_request(entry)} {entry.text}" for entry in among]), show_progress=False)
    places, _ = index.retrieve(
        _words([_request(entry) for entry in asked]), k=min(RECALLED, len(among)), show_progress=False
    )
    return [[among[int(place)] for place in reversed(row)] for row in places]


def labels_of(names: Sequence[str]) -> list[str]:
    """Return initials, with numbers where several people have the same."""
    labels: list[str] = []
    for name in names:
        initials = "".join(word[0] for word in name.split() if word[0].isalpha())
        same = sum(label.rstrip("0123456789") == initials for label in labels)
        labels.append(f"{initials}{same + 1}" if same else initials)
    return labels


def tokens_of(entries: Sequence[Sequence[TrainSequence]]) -> int:
    """Return the number of tokens of all entries of all people."""
    return sum(len(entry.ids) for own in entries for entry in own)


def _request(entry: Entry) -> str:
    return f"{entry.package} {entry.version}"


def _sequence(
    kind: Kind, encoder: ExampleEncoder, entry: Entry, before: Sequence[Entry] = ()
) -> TrainSequence:
    messages = [Message("system", kind.system)]
    for earlier in before:
        messages += [Message("user", _request(earlier)), Message("assistant", earlier.text)]
    sequence = encoder.sequence([*messages, Message("user", _request(entry))], entry.text)
    assert sequence is not None, "an entry is far shorter than the context"
    return sequence


def _words(texts: Sequence[str]) -> Any:
    return bm25s.tokenize(list(texts), stopwords="en", show_progress=False)
