"""The members of a population, and their combined answers."""

from typing import Literal

from populace.actors.aggregation.ballot import VoteState
from populace.actors.aggregation.ensemble import Measures, MemberVote, PopulationAnswer
from populace.actors.members import MemberView
from populace.actors.turn import ModelId
from populace.api.objects import ApiObject, example, milliseconds, seconds
from populace.policies.diversity.disclosure import Sharing

SHARE_DIGITS = 6


class MemberObject(ApiObject):
    """A model that takes part, or with ``sharing`` null one that does not; see ``MemberView``.

    ``accuracy`` is that of its profile on the probe set, null without a profile.
    """

    object: Literal["population.member"] = "population.member"
    model: str
    base: str | None = None
    revision: str | None = None
    sharing: Sharing | None
    since: int | None = None
    profiled: bool = False
    accuracy: float | None = None

    @classmethod
    def of(cls, member: MemberView) -> "MemberObject":
        profile = member.profile
        return cls(
            model=member.model.name,
            base=member.base,
            revision=member.revision,
            sharing=member.sharing,
            since=seconds(member.since_ms),
            profiled=member.is_profiled,
            accuracy=None if profile is None or not member.is_profiled else profile.accuracy,
        )

    def value(self, tenant: str) -> MemberView | None:
        """Restore the member, without its profile; None for a model that takes no part."""
        if self.sharing is None or self.base is None or self.revision is None or self.since is None:
            return None
        since = milliseconds(self.since)
        return MemberView(ModelId(tenant, self.model), self.base, self.revision, self.sharing, since, None)


class ShareObject(ApiObject):
    """An answer's share of the weight; null stands for all answers that are not shared."""

    answer: str | None
    share: float


class MeasuresObject(ApiObject):
    """Statistics of the votes; see ``Measures``."""

    voted: int
    agreement: float
    disagreement: float
    entropy: float


class VoteObject(ApiObject):
    """One member's part in an answer; see ``MemberVote``."""

    model: str
    revision: str
    state: VoteState
    answer: str | None
    weight: float
    reason: str
    seconds: float


class AnswerObject(ApiObject):
    """The combined answer of members; see ``PopulationAnswer``."""

    model_config = example(
        object="population.answer",
        final=True,
        answer="Rome",
        reason="",
        tie=False,
        shares=[{"answer": "Rome", "share": 1.0}],
        measures={"voted": 1, "agreement": 1.0, "disagreement": 0.0, "entropy": 0.0},
        votes=[
            {
                "model": "ada",
                "revision": "base",
                "state": "voted",
                "answer": "Rome",
                "weight": 1.0,
                "reason": "",
                "seconds": 0.4,
            }
        ],
        prompt_tokens=31,
        reply_tokens=2,
    )

    object: Literal["population.answer"] = "population.answer"
    final: bool
    answer: str | None
    reason: str
    tie: bool
    shares: tuple[ShareObject, ...]
    measures: MeasuresObject
    votes: tuple[VoteObject, ...]
    prompt_tokens: int = 0
    reply_tokens: int = 0

    @classmethod
    def of(cls, answer: PopulationAnswer) -> "AnswerObject":
        return cls(
            final=answer.is_final,
            answer=answer.answer,
            reason=answer.reason,
            tie=answer.is_tie,
            shares=tuple(
                ShareObject(answer=said, share=round(share, SHARE_DIGITS))
                for said, share in answer.shares.items()
            ),
            measures=MeasuresObject(**answer.measures._asdict()),
            votes=tuple(VoteObject(**vote._asdict()) for vote in answer.votes),
            prompt_tokens=answer.prompt_tokens,
            reply_tokens=answer.reply_tokens,
        )

    def value(self) -> PopulationAnswer:
        return PopulationAnswer(
            answer=self.answer,
            reason=self.reason,
            is_tie=self.tie,
            shares={share.answer: share.share for share in self.shares},
            votes=tuple(MemberVote(**dict(vote)) for vote in self.votes),
            measures=Measures(**dict(self.measures)),
            prompt_tokens=self.prompt_tokens,
            reply_tokens=self.reply_tokens,
        )
