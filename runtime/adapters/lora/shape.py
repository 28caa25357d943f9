"""The shape of a LoRA adapter: rank, scaling, and the layers that it adapts."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from populace.actors.errors import InvalidRequest
from populace.adapters.base_modules import BaseModules

ALPHA = 8.0
"""At rank 16 the scaling 8 / √16 = 2 equals that of the common plain LoRA setting, alpha 32 / rank 16."""


USUAL_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""The layers of a dense base. One with experts has those of attention alone: its experts take no adapters."""


@dataclass(frozen=True, slots=True)
class LoraShape:
    """Rank, alpha and target layers of an adapter, with the scaling s = alpha / √rank of rsLoRA.

    With it one learning rate η works for every rank r: the first gradient step moves B·A by η s² r, which is
    η alpha² at any rank (Kalajdzievski, "A Rank Stabilization Scaling Factor", 2023). PEFT calls it
    ``use_rslora``. ``targets`` are the last parts of the names of the adapted layers; of the usual ones those
    count that the base has.
    """

    rank: int = 8
    alpha: float = ALPHA
    targets: tuple[str, ...] = USUAL_TARGETS

    @property
    def scaling(self) -> float:
        """The factor s of B·A."""
        return self.alpha / math.sqrt(self.rank)

    def modules_of(self, base: BaseModules) -> list[str]:
        """Return the dotted names of the base's layers that are adapted, in the base's order.

        Raises ``InvalidRequest`` if rank or alpha is not positive, the rank is larger than a layer, or the
        base lacks a target.
        """
        if self.rank < 1 or not 0 < self.alpha < math.inf:
            raise InvalidRequest(f"Rank {self.rank} and alpha {self.alpha} must be above 0.", "rank")
        missing = sorted(set(self.targets) - set(base.targets))
        has_some = self.targets == USUAL_TARGETS and len(missing) < len(self.targets)
        if (missing and not has_some) or not self.targets:
            raise InvalidRequest(
                f"This base has no layers named {', '.join(missing) or 'nothing'}; "
                f"it has {', '.join(base.targets)}.",
                "targets",
            )
        chosen = [name for name in base.linears if name.rsplit(".", 1)[-1] in self.targets]
        small = [name for name in chosen if min(base.linears[name]) < self.rank]
        if small:
            raise InvalidRequest(f"Rank {self.rank} is more than {small[0]} can have.", "rank")
        return chosen


def targets_of(modules: Sequence[str]) -> tuple[str, ...]:
    """Return the distinct last parts of the layers' names, sorted."""
    return tuple(sorted({name.rsplit(".", 1)[-1] for name in modules}))
