# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false
# torch's split is untyped.
"""A person's corrections, which a model learns until it says them.

A correction is learned for its message alone, as a new conversation has it, and all of them are learned: what
is held out of facts would never be known. A candidate is judged by whether it says them, see ``Taught``.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from populace.actors.errors import NothingToTrain
from populace.actors.feedback import Feedback, corrected
from populace.actors.turn import Interaction
from populace.adapters.lora.trainable import TrainableAdapter
from populace.learning.curricula import Curriculum, epoch_places
from populace.learning.evaluation import passes_of, score_alone
from populace.learning.frozen_base import FrozenBase
from populace.learning.methods.objective import Loss, Objective, Scored, TrainSequence
from populace.learning.methods.sft import CorrectionObjective, Reads
from populace.learning.session import TrainingSession
from populace.policies.corrections import Corrected
from populace.policies.evaluation_gate import AskedReplies, Corrections
from populace.policies.follow_ups import is_follow_up
from populace.policies.retrieval import spoken_in, text_key

CHOSEN_OF = 4
"""A step learns the least likely one in this many of the corrections that are its turn."""

MARGIN_NATS = 0.5
"""Training ends once each token of each correction is likelier than any other one by this much."""

PASSES_MAX = 60
"""A correction that is not said after this many passes over all of them is one that cannot be learned."""

SHARES = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.55, 0.5)
"""The shares of a trained change that are tried, and how much is left for rounding: one place of these."""


def corrections_of(turns: Sequence[Interaction], feedback: Sequence[Feedback]) -> list[Corrected]:
    """Return what was corrected in the turns, in the order in which it was: of equal messages the last.

    A message that only goes on with what was said before teaches nothing: "Yes." asks for nothing.
    """
    said = {
        turn.position: "\n".join(spoken_in(turn.messages))
        for turn in turns
        if not is_follow_up(turn.messages, turn.history_turns)
    }
    last: dict[str, Corrected] = {}
    for position, judgement in corrected(feedback).items():
        asked, correction = said.get(position, ""), (judgement.correction or "").strip()
        if asked and correction:
            key = text_key(asked)
            last.pop(key, None)
            last[key] = Corrected(position, asked, correction)
    return list(last.values())


def margins(
    base: FrozenBase,
    adapter: TrainableAdapter | None,
    sequences: Sequence[TrainSequence],
    reading: Reads | None = None,
) -> list[float]:
    """Return how surely the model says each sequence's scored tokens: the least margin of them, in nats.

    A token's margin is its log-probability less that of the likeliest other one. If all are above 0, a greedy
    reply is this one. ``adapter`` None is the base. With ``reading`` it is the lesser one of that of the
    weights alone and that of replies that read their memory.
    """
    least: list[float] = []
    for part in passes_of(sequences):
        scored = score_alone(base, adapter, part)
        margins_N = _margins(scored)
        if reading is not None:
            with torch.no_grad():
                margins_N = torch.minimum(margins_N, _margins(reading(scored)))
        least += [float(of_sequence.min()) for of_sequence in margins_N.split(scored.counts)]
    return least


def _margins(scored: Scored) -> torch.Tensor:
    """Return the margin [N] of each scored token."""
    best_N2 = scored.log_probs.topk(2, dim=1)
    is_best_N = best_N2.indices[:, 0] == scored.targets
    others_N = torch.where(is_best_N, best_N2.values[:, 1], best_N2.values[:, 0])
    return scored.target_log_probs - others_N


@dataclass(frozen=True, slots=True)
class JointObjective:
    """The sum of the losses of several objectives on their sequences, one after the other."""

    parts: Sequence[Objective]

    @property
    def sequences(self) -> Sequence[TrainSequence]:
        return [sequence for part in self.parts for sequence in part.sequences]

    def loss(self, scored: Scored) -> Loss:
        """Return the sum; the metrics are those of the first part."""
        begins = itertools.accumulate((len(part.sequences) for part in self.parts), initial=0)
        losses = [
            part.loss(scored.part(begin, end))
            for part, (begin, end) in zip(self.parts, itertools.pairwise(begins), strict=True)
        ]
        return Loss(torch.stack([loss.value for loss in losses]).sum(), losses[0].metrics)


@dataclass(frozen=True, slots=True)
class CorrectionsCurriculum:
    """Draws the corrections that are said least, until all are said, beside the first steps of ``liked``.

    ``liked`` are replies to imitate, for ``liked_steps`` steps. With ``reading`` the corrections are learned
    as the weights say them, and as replies do that read their person's memory; both have to be said.
    """

    base: FrozenBase
    corrections: Sequence[TrainSequence]
    liked: Curriculum | None = None
    liked_steps: int = 0
    reading: Reads | None = None

    @property
    def size(self) -> int:
        return len(self.corrections)

    def objective(self, session: TrainingSession, batch: int) -> Objective:
        """Draw the next step. Raises ``NothingToTrain`` once all corrections are said, and the rest done."""
        turn = min(self.size, CHOSEN_OF * batch)
        places = epoch_places(f"corrections {session.options.seed}", session.step, self.size, turn)
        said = self._margins(session, places)
        # What the parent says already needs no margin: it is served as it is.
        needed = MARGIN_NATS if session.step else 0.0
        is_over = session.step >= self.liked_steps and min(said) > needed
        if is_over and min(self._margins(session, range(self.size))) > needed:
            raise NothingToTrain(session.name, f"it says all {self.size} corrections")
        places = [place for _, place in sorted(zip(said, places, strict=True))[:batch]]
        learned = CorrectionObjective([self.corrections[place] for place in places], self.reading)
        if self.liked is None or session.step >= self.liked_steps:
            return learned
        return JointObjective([learned, self.liked.objective(session, batch)])

    def _margins(self, session: TrainingSession, places: Sequence[int]) -> list[float]:
        chosen = [self.corrections[place] for place in places]
        return margins(self.base, session.adapter, chosen, self.reading)


@dataclass(frozen=True, slots=True)
class Taught:
    """The corrections that a candidate has to say, with the sequences that say them.

    ``alone``: nothing else was taught, so that all other replies should stay as they were. The last
    ``asked_again`` of them are no person's corrections, but replies to what was asked again and again;
    ``unusable`` others were not taught. ``reading`` is that of ``CorrectionsCurriculum``.
    """

    base: FrozenBase
    corrections: Sequence[Corrected]
    sequences: Sequence[TrainSequence]
    alone: bool
    asked_again: int = 0
    unusable: int = 0
    reading: Reads | None = None

    @property
    def questions(self) -> list[str]:
        """What was asked that it has to answer."""
        return [correction.asked for correction in self.corrections]

    def judge(self, parent: TrainableAdapter | None) -> bool:
        """Whether the corrections alone can judge a candidate.

        They cannot if the parent says them all and other replies were learned beside them.
        """
        return self.alone or bool(self.unsaid(parent))

    def unsaid(self, adapter: TrainableAdapter | None) -> list[Corrected]:
        """Return the corrections that the model does not say greedily, token for token."""
        return [one for group in self._unsaid(adapter) for one in group]

    def judged(
        self, parent: TrainableAdapter | None, candidate: TrainableAdapter, share: float
    ) -> tuple[Corrections, AskedReplies | None]:
        """Compare what parent and candidate say; the candidate keeps the ``share`` of what was trained."""
        (before, asked_before), (after, asked_after) = self._unsaid(parent), self._unsaid(candidate)
        given = len(self.corrections) - self.asked_again
        corrections = Corrections(given, given - len(before), _asked(after), self.alone, share)
        if not self.asked_again:
            return corrections, None
        said_before = self.asked_again - len(asked_before)
        return corrections, AskedReplies(self.asked_again, said_before, _asked(asked_after), self.unusable)

    def _unsaid(self, adapter: TrainableAdapter | None) -> tuple[list[Corrected], list[Corrected]]:
        """Return what is not said of a person's corrections, and of the replies to what was asked again."""
        said = margins(self.base, adapter, self.sequences)
        given = len(self.corrections) - self.asked_again
        unsaid = [place for place, margin in enumerate(said) if margin <= 0.0]
        return (
            [self.corrections[place] for place in unsaid if place < given],
            [self.corrections[place] for place in unsaid if place >= given],
        )

    def unread(self, adapter: TrainableAdapter | None) -> int:
        """Count the corrections that are not said both ways, also with the memory read; 0 without one."""
        if self.reading is None:
            return 0
        return sum(margin <= 0.0 for margin in margins(self.base, adapter, self.sequences, self.reading))

    def least_share(self, says: Callable[[float], bool]) -> float:
        """Return the share of the change that is enough for all corrections, with some to spare.

        ``says`` tells whether all are said with a share. 1.0 if the whole change does not say them either.
        """
        enough = list(itertools.takewhile(says, SHARES))
        return SHARES[max(0, len(enough) - 2)]


def _asked(corrections: Sequence[Corrected]) -> tuple[str, ...]:
    return tuple(correction.asked for correction in corrections)
