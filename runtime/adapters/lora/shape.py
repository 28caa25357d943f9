"""What a person's LoRA adapter is made of: rank, scaling, and the layers that it adapts."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from populace.actors.errors import InvalidRequest
from populace.adapters.base_modules import BaseModules

ALPHA = 8.0
"""With rank 16 the scaling of the common α = 32 over rank: 32 / 16 = 8 / √16."""


@dataclass(frozen=True, slots=True)
class LoraShape:
    """A product B·A counts ``alpha`` / √``rank``, so that one learning rate serves every rank.

    The first step of gradient descent moves B·A by η s² r for the scaling s, which is then η alpha²
    whatever the rank (Kalajdzievski, "A Rank Stabilization Scaling Factor", 2023). It is what PEFT does with
    ``use_rslora`` and the same ``lora_alpha`` for all ranks. ``targets`` are last parts of layers' names.
    """

    rank: int = 8
    alpha: float = ALPHA
    targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")

    @property
    def scaling(self) -> float:
        return self.alpha / math.sqrt(self.rank)

    def modules_of(self, base: BaseModules) -> list[str]:
        """The layers of the base that it adapts, in the base's order.

        Raises ``InvalidRequest`` for a rank or alpha that is none, and a target that the base does not have.
        """
        if self.rank < 1 or not 0 < self.alpha < math.inf:
            raise InvalidRequest(f"Rank {self.rank} and alpha {self.alpha} must be above 0.", "rank")
        missing = sorted(set(self.targets) - set(base.targets))
        if missing or not self.targets:
            raise InvalidRequest(
                f"This base has no layers named {', '.join(missing) or 'nothing'}; "
                f"it has {', '.join(base.targets)}.",
                "targets",
            )
        chosen = [name for name in base.linears if name.rsplit(".", 1)[-1] in self.targets]
        small = [name for name in chosen if min(base.linears[name]) < self.rank]
        if small:
            raise InvalidRequest(f"Rank {self.rank} is more than {small[0]} has.", "rank")
        return chosen


def targets_of(modules: Sequence[str]) -> tuple[str, ...]:
    """The last parts of layers' names, sorted."""
    return tuple(sorted({name.rsplit(".", 1)[-1] for name in modules}))
