"""Decides how much is taught to an adapter, by how much fits into one of its size.

What an adapter has to say word for word takes room in its parameters. A training that has more to teach
than fits unlearns one thing for another, and says neither. So it takes a larger rank, if it may, and leaves
the rest to retrieval, which answers for it as before.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from populace.policies.retrieval import words_of
from populace.policies.told_answers import OF_ANSWERS, value_words

Kind = Literal["attention", "mlp", "all"]
"""The kinds of layers that an adapter changes; ``all`` are both, and layers of any other name."""

ATTENTION = frozenset(["q_proj", "k_proj", "v_proj", "o_proj", "qkv_proj"])
MLP = frozenset(["gate_proj", "up_proj", "down_proj", "gate_up_proj", "fc1", "fc2"])

PUBLISHED_BAND = (1e-3, 1e-2)
"""Tokens a parameter between which recall falls from nearly all to nearly nothing ("On the Scaling of PEFT",
arXiv 2606.02437, 2026, section 5.1: the Qwen3 series and lists of dishes)."""

TOKENS_PER_PARAMETER: Mapping[Kind, float] = dict.fromkeys(("attention", "mlp", "all"), 10**-2.5)
"""How many tokens fit into a parameter, by what is adapted.

A placeholder and no measurement: the published band's middle, to be replaced by the table of
``examples/how_much_fits.py``.
"""

TOKENS_MIN = 256
"""No adapter is full with fewer tokens: none as small as that was measured."""


class AdapterRoom(NamedTuple):
    """The size of an adapter: its largest rank, the number of its trained parameters, and its targets.

    ``targets`` are the last parts of the names of the layers that it changes.
    """

    rank: int
    parameters: int
    targets: tuple[str, ...]

    @property
    def tokens(self) -> int:
        """How many tokens fit into it."""
        return max(TOKENS_MIN, int(self.parameters * TOKENS_PER_PARAMETER[kind_of(self.targets)]))

    def at(self, rank: int) -> "AdapterRoom":
        """Return the size of an adapter of the same layers at another rank."""
        return self._replace(rank=rank, parameters=self.parameters * rank // self.rank)


class Held(NamedTuple):
    """How full a training makes an adapter: the ``tokens`` that it is taught, of those that fit.

    ``needed`` are those of all lessons, with the ``left`` ones that are left to retrieval.
    """

    tokens: int
    fitting: int
    needed: int
    left: int = 0


def kind_of(targets: Sequence[str]) -> Kind:
    """Return which kind of layers these are, by the last parts of their names."""
    if targets and ATTENTION.issuperset(targets):
        return "attention"
    return "mlp" if targets and MLP.issuperset(targets) else "all"


def told_words(asked: str, wanted: str) -> list[str]:
    """Return the words of a wanted reply that an adapter has to hold, each once, as the reply writes them.

    Those are the words that the question has not and that say something. If there are none, such as in the
    reply "Yes.", it has to hold all.
    """
    values = value_words(wanted, asked) - OF_ANSWERS
    words = list(dict.fromkeys(wanted.split()))
    return [word for word in words if not values.isdisjoint(words_of(word))] or words


def larger_rank(needed: int, room: AdapterRoom, rank_max: int) -> int | None:
    """Return the rank of a new adapter into which ``needed`` tokens fit; None if ``room`` is to be kept.

    It is the first of twice the rank, four times and so on at which they fit, or ``rank_max``, the largest
    that is served, if they fit at none.
    """
    rank = room.rank
    while rank < rank_max and room.at(rank).tokens < needed:
        rank = min(2 * rank, rank_max)
    return rank if room.at(rank).tokens > room.tokens else None


def fitting(tokens: Sequence[int], most: int) -> int:
    """Return how many of the first lessons fit together, at least one; ``tokens`` are those of each."""
    total = 0
    for count, added in enumerate(tokens):
        total += added
        if total > most and count:
            return count
    return len(tokens)
