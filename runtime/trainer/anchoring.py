"""Adds to a curriculum what keeps general replies as those of the base or of a lower revision are."""

from collections.abc import Sequence
from dataclasses import dataclass

from populace.engines.prompts import BaseTokenizer
from populace.learning.anchors import AnchoredCurriculum, AnchorGroup
from populace.learning.curricula import Curriculum
from populace.learning.frozen_base import FrozenBase
from populace.learning.general_replies import Answerer
from populace.learning.kept_readings import KeptReadings
from populace.learning.lower_part import LowerPart
from populace.learning.methods.objective import TrainSequence
from populace.learning.own_replies import WEIGHT as OWN_WEIGHT
from populace.learning.own_replies import OwnReplies, own_replies


@dataclass(slots=True)
class _Reference:
    """What replies are kept to, and its own replies once a job needed them; ``digest`` None is the base."""

    digest: str | None
    readings: KeptReadings
    own_replies: OwnReplies | None = None


class Anchoring:
    """Makes anchored curricula; what the base and the newest lower revision say is computed once."""

    def __init__(
        self,
        base: FrozenBase,
        anchors: list[TrainSequence],
        tokenizer: BaseTokenizer,
        answerer: Answerer | None,
        readings: KeptReadings | None,
    ) -> None:
        """``readings`` are those of the base, if there are some already."""
        self._base = base
        self._anchors = anchors
        self._tokenizer = tokenizer
        self._answerer = answerer
        self._of_base = _Reference(None, readings or KeptReadings(base))
        self._of_lower = self._of_base

    def anchored(
        self, curriculum: Curriculum, weight: float, lower: LowerPart | None, *, taught: Sequence[str]
    ) -> Curriculum:
        """Keep replies as they are, but those to the questions ``taught``.

        Corrections change how replies begin more than anything else does.
        """
        if not (weight and self._anchors):
            return curriculum
        reference, groups = self._reference(lower), [AnchorGroup(self._anchors)]
        if taught and self._answerer is not None:
            if reference.own_replies is None:
                packed = None if lower is None else lower.packed
                reference.own_replies = own_replies(self._answerer, self._tokenizer, packed=packed)
            groups, weight = reference.own_replies.groups(taught), OWN_WEIGHT * weight
        return AnchoredCurriculum(curriculum, groups, reference.readings, weight)

    def _reference(self, lower: LowerPart | None) -> _Reference:
        if lower is None:
            return self._of_base
        if self._of_lower.digest != lower.digest:
            self._of_lower = _Reference(lower.digest, KeptReadings(self._base, lower.adapter))
        return self._of_lower
