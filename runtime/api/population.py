"""The members of a population, and their combined answers."""

import math
from typing import Literal

from populace.actors.aggregation.ballot import VoteState
from populace.actors.aggregation.ensemble import Measures, MemberVote, PopulationAnswer
from populace.actors.aggregation.report import CurvePoint, MemberPlace, PopulationReport
from populace.actors.members import MemberView
from populace.actors.turn import ModelId
from populace.api.objects import ApiObject, example, milliseconds, seconds
from populace.policies.diversity.disclosure import Sharing
from populace.policies.diversity.fits import Fit

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


class PlaceObject(ApiObject):
    """A member's place on the map of who answers alike; see ``MemberPlace``."""

    model: str
    accuracy: float
    cluster: int
    x: float
    y: float
    sharing: Sharing


class CurvePointObject(ApiObject):
    """How often the majority of ``k`` random members is right on the probes; see ``CurvePoint``."""

    k: int
    mean: float
    low: float
    high: float


class EstimateObject(ApiObject):
    """A fitted parameter and its middle 95 %."""

    value: float
    low: float
    high: float


class FitObject(ApiObject):
    """A curve through the accuracies of majorities; see ``Fit``."""

    residual: float
    parameters: dict[str, EstimateObject]

    @classmethod
    def of(cls, fit: Fit | None) -> "FitObject | None":
        if fit is None:
            return None
        told = {
            name: EstimateObject(value=value, low=low, high=high)
            for name, (value, low, high) in fit.parameters.items()
        }
        return cls(residual=fit.residual, parameters=told)

    def fit(self) -> Fit:
        return Fit({name: (at.value, at.low, at.high) for name, at in self.parameters.items()}, self.residual)


class ReportObject(ApiObject):
    """What the tenant's members are like by their answers to the probes; see ``PopulationReport``.

    What two members are compared by is null with fewer than two.
    """

    model_config = example(
        object="population.report",
        members=[
            {"model": "ada", "accuracy": 0.7, "cluster": 0, "x": 0.1, "y": 0.0, "sharing": "texts"},
            {"model": "ben", "accuracy": 0.6, "cluster": 1, "x": -0.1, "y": 0.0, "sharing": "votes"},
        ],
        unprofiled=["cyd"],
        total=3,
        profiled=2,
        clusters=2,
        disagreement=0.3,
        double_fault=0.2,
        error_correlation=0.4,
        effective_members=1.43,
        best=0.7,
        mean=0.65,
        curve=[{"k": 1, "mean": 0.65, "low": 0.6, "high": 0.7}],
    )

    object: Literal["population.report"] = "population.report"
    members: tuple[PlaceObject, ...]
    unprofiled: tuple[str, ...]
    total: int
    profiled: int
    clusters: int
    disagreement: float | None
    double_fault: float | None
    error_correlation: float | None
    effective_members: float | None
    best: float
    mean: float
    curve: tuple[CurvePointObject, ...]
    logarithmic: FitObject | None = None
    saturating: FitObject | None = None

    @classmethod
    def of(cls, report: PopulationReport) -> "ReportObject":
        return cls(
            members=tuple(PlaceObject(**place._asdict()) for place in report.members),
            unprofiled=report.unprofiled,
            total=report.total,
            profiled=report.profiled,
            clusters=report.clusters,
            disagreement=_known(report.disagreement),
            double_fault=_known(report.double_fault),
            error_correlation=_known(report.error_correlation),
            effective_members=_known(report.effective_members),
            best=report.best,
            mean=report.mean,
            curve=tuple(CurvePointObject(**point._asdict()) for point in report.curve),
            logarithmic=FitObject.of(report.logarithmic),
            saturating=FitObject.of(report.saturating),
        )

    def value(self) -> PopulationReport:
        return PopulationReport(
            members=tuple(MemberPlace(**dict(place)) for place in self.members),
            unprofiled=self.unprofiled,
            total=self.total,
            profiled=self.profiled,
            clusters=self.clusters,
            disagreement=_number(self.disagreement),
            double_fault=_number(self.double_fault),
            error_correlation=_number(self.error_correlation),
            effective_members=_number(self.effective_members),
            best=self.best,
            mean=self.mean,
            curve=tuple(CurvePoint(**dict(point)) for point in self.curve),
            logarithmic=None if self.logarithmic is None else self.logarithmic.fit(),
            saturating=None if self.saturating is None else self.saturating.fit(),
        )


def _known(measure: float) -> float | None:
    """JSON has no NaN."""
    return None if math.isnan(measure) else measure


def _number(measure: float | None) -> float:
    return math.nan if measure is None else measure
