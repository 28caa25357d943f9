"""Consent that a model's replies train the community's model, separate from that to share votes."""

from typing import NamedTuple, Protocol

from populace.actors.turn import ModelId


class Contribution(NamedTuple):
    """Whether the tenant's community may learn from the model's log, and since when that has been so.

    ``id`` is random. The lineages of the revisions that learned from the log name it, so that ``None``, for a
    model that never agreed, says that none has.
    """

    model: ModelId
    contributes: bool
    since_ms: int | None
    id: str | None


class ClientContributors(Protocol):
    """The consents of the population's models. Methods of one model raise ``ModelNotFound``, as ``Hosts``."""

    async def consent(self, model: ModelId, *, agrees: bool) -> Contribution:
        """Let the community learn from the model's log from its next training on, or from no later one."""
        ...

    async def of_model(self, model: ModelId) -> Contribution:
        """Return what was said of the model; without a word it does not contribute."""
        ...


class Contributors(ClientContributors, Protocol):
    """The same for the community's trainer."""

    async def of_tenant(self, tenant: str) -> tuple[Contribution, ...]:
        """Return those of the tenant's models that contribute, by name."""
        ...
