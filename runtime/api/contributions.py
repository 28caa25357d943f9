"""The consent of a personal model to be learned from for everybody."""

from typing import Literal

from populace.actors.contributors import Contribution
from populace.actors.turn import ModelId
from populace.api.objects import ApiObject, example, milliseconds, seconds


class ContributionObject(ApiObject):
    """Whether the tenant's community may learn from the model ``id``; see ``Contribution``.

    ``contributor`` is the id by which the lineages of revisions name it.
    """

    model_config = example(
        object="personal_model.contribution",
        id="ada",
        contributes=True,
        since=1764288000,
        contributor="0f1e2d3c4b5a69788796a5b4c3d2e1f0",
    )

    object: Literal["personal_model.contribution"] = "personal_model.contribution"
    id: str
    contributes: bool
    since: int | None
    contributor: str | None

    @classmethod
    def of(cls, contribution: Contribution) -> "ContributionObject":
        since_ms = contribution.since_ms
        return cls(
            id=contribution.model.name,
            contributes=contribution.contributes,
            since=None if since_ms is None else seconds(since_ms),
            contributor=contribution.id,
        )

    def value(self, tenant: str) -> Contribution:
        since_ms = None if self.since is None else milliseconds(self.since)
        return Contribution(ModelId(tenant, self.id), self.contributes, since_ms, self.contributor)
