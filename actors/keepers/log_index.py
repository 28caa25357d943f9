# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# bm25s is untyped.
"""An index of the words of one log, which ranks its turns for a query: BM25 by ``bm25s``.

Lucene's form of it, whose idf is never negative, so that a log of one turn can be searched (Kamphuis et al.,
"Which BM25 Do You Mean?", ECIR 2020)::

    score = Σ_q idf(q) · tf / (tf + k1 · (1 - b + b · length / mean length))
    idf(q) = ln(1 + (N - df + ½) / (df + ½))

``bm25s`` precomputes the scores of a fixed set of turns, 30 µs for each, and can add none. So later turns
are scored here by the same formula, with the counts of that set, until they are an eighth of it.
"""

import zlib
from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.uint32]
"""Words as their CRC-32: a fraction of the memory; of 30,000 words two collide in a tenth of logs."""
Scores = npt.NDArray[np.float32]

K1, B = 1.5, 0.75
"""The defaults of ``bm25s``."""
SCORE_DIGITS = 4
ADDED_SHARE = 8
"""There are at least this many counted turns for each uncounted one."""
TURN_BYTES = 200
"""The bytes of a turn besides its words: the array object, and its entry."""


class IndexedTurn(NamedTuple):
    position: int
    words: Numbers


class LogIndex:
    """The turns of a log before ``end``. Immutable: a longer index shares the common turns with this one.

    Counting and searching keep a processor busy and take no lock: run them on any thread, not on an event
    loop.
    """

    __slots__ = ("_counted", "_turns", "bytes", "end")

    def __init__(
        self, turns: tuple[IndexedTurn, ...] = (), end: int = 0, counted: "_CountedTurns | None" = None
    ) -> None:
        self._turns = turns
        self._counted = counted
        self.end = end
        self.bytes = sum(TURN_BYTES + turn.words.nbytes for turn in turns)
        """An estimate of the memory: the arrays, and ``TURN_BYTES`` for each turn."""
        if counted is not None:
            self.bytes += counted.bytes

    def extended(self, turns: Sequence[tuple[int, Sequence[str]]], *, start: int, end: int) -> Self:
        """The index of the log at ``[start, end)``; ``turns`` are the words of the turns that are new in it.

        Turns before ``start`` leave the index. A turn without words does not enter it.
        """
        kept = tuple(turn for turn in self._turns if turn.position >= start)
        added = tuple(IndexedTurn(position, _numbers(words)) for position, words in turns if words)
        return type(self)(kept + added, end, self._counted if len(kept) == len(self._turns) else None)

    def counted(self) -> Self:
        """The same index with enough of its turns counted to be searched; it may be this one."""
        count = 0 if self._counted is None else self._counted.count
        if len(self._turns) <= count + count // ADDED_SHARE:
            return self
        return type(self)(self._turns, self.end, _CountedTurns([turn.words for turn in self._turns]))

    def ranked(self, words: Sequence[str]) -> list[int]:
        """The positions of the turns that have one of the words, best first, and among equals newest first.

        The index must be ``counted``.
        """
        if self._counted is None:
            assert not self._turns, "nothing of it is counted"
            return []
        wanted_Q = np.unique(_numbers(words))
        scores_N = self._counted.scores(wanted_Q, [turn.words for turn in self._turns[self._counted.count :]])
        positions_N = np.asarray([turn.position for turn in self._turns])
        # Rounded: if only one of two equal turns is counted, their sums differ in the last bits.
        order = np.lexsort((-positions_N, -scores_N.round(SCORE_DIGITS)))
        return [int(positions_N[place]) for place in order if scores_N[place] > 0]


class _CountedTurns:
    """Turns whose words are counted, with the score of each word in each turn."""

    def __init__(self, turns: Sequence[Numbers]) -> None:
        # Imported here: it takes 0.6 s and, with numba, 85 MiB. A host without retrievals spends neither.
        from bm25s import BM25

        self.count = len(turns)
        lengths = [len(words) for words in turns]
        self._length_mean = sum(lengths) / len(lengths)
        self._vocabulary_V, places = np.unique(np.concatenate(turns), return_inverse=True)
        places_by_turn = [part.tolist() for part in np.split(places, np.cumsum(lengths)[:-1])]
        self._scorer: Any = BM25(k1=K1, b=B, method="lucene", backend="numpy")
        self._scorer.scores = self._scorer.build_index_from_ids(
            range(len(self._vocabulary_V)), places_by_turn, show_progress=False
        )

    def scores(self, wanted_Q: Numbers, added: Sequence[Numbers]) -> Scores:
        """Return the scores of these turns for the words, followed by those of the ``added`` ones."""
        places_Q = np.searchsorted(self._vocabulary_V, wanted_Q)
        places_Q[places_Q == len(self._vocabulary_V)] = 0
        is_known_Q = self._vocabulary_V[places_Q] == wanted_Q
        counted_N: Scores = self._scorer.get_scores_from_ids(places_Q[is_known_Q])

        starts_V = self._scorer.scores["indptr"]
        counts_Q = np.where(is_known_Q, starts_V[places_Q + 1] - starts_V[places_Q], 0)
        idf_Q = np.log1p((self.count - counts_Q + 0.5) / (counts_Q + 0.5))
        added_scores = [self._score(words, wanted_Q, idf_Q) for words in added]
        return np.concatenate([counted_N, np.asarray(added_scores, np.float32)])

    def _score(self, words: Numbers, wanted_Q: Numbers, idf_Q: npt.NDArray[np.float64]) -> float:
        frequency_Q = (words[:, None] == wanted_Q).sum(0)
        saturation = K1 * (1 - B + B * len(words) / self._length_mean)
        return float((idf_Q * frequency_Q / (frequency_Q + saturation)).sum())

    @property
    def bytes(self) -> int:
        scores = self._scorer.scores
        return self._vocabulary_V.nbytes + sum(scores[part].nbytes for part in ("data", "indices", "indptr"))


def _numbers(words: Sequence[str]) -> Numbers:
    return np.asarray([zlib.crc32(word.encode("utf-8", "replace")) for word in words], np.uint32)
