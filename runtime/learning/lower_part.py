"""The lower revision on which a personal part is trained, and how much of that part is kept.

Everybody's first, then one's own: the lower revision was trained on the texts of many people, or of anybody
else, and stays as it is. What is trained on it is served with it as one adapter, see
``adapters/lora/concatenation.py``.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from populace.adapters.lora.trainable import Factors, TrainableAdapter
from populace.learning.evaluation import HeldOut
from populace.policies.personal_share import SHARES, best_share


@dataclass(frozen=True, slots=True)
class LowerPart:
    """A lower revision: its digest, and its adapter as it is served, also packed.

    ``begun`` are the factors of a personal part that was trained before and is trained on, None if it is new.
    """

    digest: str
    adapter: TrainableAdapter
    packed: bytes | bytearray
    begun: Factors | None = None


class SharedPart(NamedTuple):
    """How much of a personal part is the best, the held-out scores of the lower revision, and the best part.

    ``adapter`` has the best share above 0, also if ``share`` is 0: then none is surely better than the lower
    revision alone.
    """

    share: float
    lower: Sequence[float]
    adapter: TrainableAdapter


def shared_part(
    lower: LowerPart,
    adapter: TrainableAdapter,
    held_out: HeldOut,
    *,
    served: Callable[[TrainableAdapter], TrainableAdapter],
    says: Callable[[TrainableAdapter], bool],
) -> SharedPart:
    """Find the share of a trained personal part that is surely better than the lower revision by most.

    ``served`` returns an adapter as it is served. Only shares at which ``says`` is true are tried; if that is
    none, or nothing is held out, all of the part is kept. Reads the held-out data six times. Raises what
    ``held_out.compare`` raises.
    """
    if not held_out.size:
        return SharedPart(1.0, (), adapter)
    shared = {share: adapter.with_share(share) for share in SHARES if share}
    read = {share: served(part) for share, part in shared.items()}
    compared = {share: held_out.compare(lower.adapter, part) for share, part in read.items()}
    whole = compared[1.0]
    scores = {share: one.candidate for share, one in compared.items() if says(read[share])}
    scores = scores or {1.0: whole.candidate}
    part = shared[best_share(scores, whole.parent, whole.measure)]
    if says(lower.adapter):
        scores[0.0] = whole.parent
    return SharedPart(best_share(scores, whole.parent, whole.measure), whole.parent, part)
