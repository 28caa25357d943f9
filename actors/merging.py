"""The options and results of merging adapters, and of comparing two revisions."""

from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

from populace.actors.errors import InvalidRequest
from populace.actors.hosts import Revision

MergeMethod = Literal["sum", "svd", "ties", "dare"]
METHODS: tuple[MergeMethod, ...] = get_args(MergeMethod)
LINEAR = "linear"
LINEAR_WARNING = (
    "`linear` averages factors, which mixes one adapter's B with another's A: the sum of the products was "
    "made instead, which is what it stands for."
)


@dataclass(frozen=True, slots=True)
class MergeOptions:
    """How adapters become one.

    ``sum`` is exact and its rank is the sum of all ranks. The others are cut to ``rank``, None the largest of
    the members': ``svd`` is the nearest adapter of that rank to the sum. ``ties`` keeps of each ΔW the share
    ``density`` of its largest entries, elects each entry's sign by their sum, and averages those that agree
    (Yadav et al., 2023). ``dare`` drops entries by chance, makes up for it, and sums (Yu et al., 2024).
    """

    method: MergeMethod = "sum"
    rank: int | None = None
    density: float = 0.5
    seed: int = 0

    def check(self) -> None:
        """Raise ``InvalidRequest`` for values that are out of range or contradict each other."""
        if self.method not in METHODS:
            raise InvalidRequest(
                f"There is no way {self.method!r} to merge but {', '.join(METHODS)}.", "method"
            )
        if self.rank is not None and self.rank < 1:
            raise InvalidRequest(f"rank is from 1, not {self.rank}.", "rank")
        if not 0 < self.density <= 1:
            raise InvalidRequest(f"density is above 0 and at most 1, not {self.density}.", "density")


class MergedRevision(NamedTuple):
    """A revision from a merge. ``kept`` is the share of ‖ΔW‖² that the cut to a rank left; 1 for a sum."""

    revision: Revision
    kept: float


class LayerDifference(NamedTuple):
    """One layer of two revisions: the norm of each ΔW, that of their difference, and the angles in degrees.

    A revision that does not adapt the layer has the norm 0 there. ``angles`` are ascending, as many as the
    smaller rank; there are none if one ΔW is zero.
    """

    module: str
    norm: float
    other_norm: float
    distance: float
    angles: tuple[float, ...]
