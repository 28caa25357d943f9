"""The members, models that take part in the population's answers, as aggregators and profilers see them."""

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from populace.actors.errors import InvalidRequest, NoMember
from populace.actors.turn import BASE_REVISION, ModelId
from populace.policies.diversity.disclosure import Sharing


class Profile(NamedTuple):
    """How a revision (a digest, or ``base``) answers the probe set with the digest ``probes``.

    ``log_probs`` are float16, little-endian, one for each of the ``choices`` of each probe; ``accuracy`` is
    the share of probes whose likeliest choice is right.
    """

    revision: str
    probes: str
    choices: int
    log_probs: bytes
    accuracy: float

    @property
    def table(self) -> NDArray[np.float64]:
        """The natural log probabilities [N, K] of N probes with K choices."""
        return np.frombuffer(self.log_probs, "<f2").reshape(-1, self.choices).astype(np.float64)


class MemberView(NamedTuple):
    """A personal model that takes part. ``revision`` is the one that ``latest`` names, else ``base``."""

    model: ModelId
    base: str
    revision: str
    sharing: Sharing
    since_ms: int
    profile: Profile | None

    @property
    def is_profiled(self) -> bool:
        """Whether the profile is of the revision that the model answers with now."""
        return self.profile is not None and self.profile.revision == self.revision


def revision_to_merge(name: str, member: MemberView | None) -> str:
    """Return the revision that the member answers with, if it may be merged.

    Raises ``NoMember``, and ``InvalidRequest`` for a member that shares only votes, or has no adapter.
    """
    if member is None:
        raise NoMember(name)
    if member.sharing != "texts":
        raise InvalidRequest(f"`{name}` shares its votes only; its weights say more than these.", "models")
    if member.revision == BASE_REVISION:
        raise InvalidRequest(f"`{name}` has no adapter to merge yet.", "models")
    return member.revision


class ClientMembers(Protocol):
    """The members of the population. Methods of one model raise ``ModelNotFound``, and as ``Hosts``."""

    async def share(self, model: ModelId, sharing: Sharing | None) -> MemberView | None:
        """Let the model take part and share this much; None: it no longer takes part.

        Raises ``InvalidRequest`` for an unknown kind of sharing.
        """
        ...

    async def of_tenant(self, tenant: str) -> tuple[MemberView, ...]:
        """The tenant's models that take part, by name."""
        ...


class Members(ClientMembers, Protocol):
    """The same for gateways and profilers."""

    async def of_model(self, model: ModelId) -> MemberView | None:
        """The model as a member, None if it takes no part."""
        ...

    async def unprofiled(self, probes: str, *, limit: int = 64) -> tuple[MemberView, ...]:
        """For a profiler: members of any tenant without a profile of these probes and their revision."""
        ...

    async def keep_profile(self, model: ModelId, profile: Profile) -> bool:
        """For a profiler: keep a profile; return whether the model still takes part."""
        ...
