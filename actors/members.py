"""Who takes part in the population's answers, as callers, aggregators and profilers see it."""

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from populace.actors.errors import InvalidRequest, NoMember
from populace.actors.turn import BASE_REVISION, ModelId
from populace.policies.diversity.disclosure import Sharing


class Profile(NamedTuple):
    """How a revision (a digest, or ``base``) answers the probe set with the digest ``probes``.

    ``log_probs`` are float16, little-endian, of ``choices`` for each probe; ``accuracy`` is the share of
    probes whose likeliest choice is right.
    """

    revision: str
    probes: str
    choices: int
    log_probs: bytes
    accuracy: float

    @property
    def table(self) -> NDArray[np.float64]:
        """The natural logarithms [N, K]."""
        return np.frombuffer(self.log_probs, "<f2").reshape(-1, self.choices).astype(np.float64)


class MemberView(NamedTuple):
    """A personal model that takes part. ``revision`` is what ``latest`` names, ``base`` without one."""

    model: ModelId
    base: str
    revision: str
    sharing: Sharing
    since_ms: int
    profile: Profile | None

    @property
    def is_profiled(self) -> bool:
        """Whether its profile is of what it would answer with."""
        return self.profile is not None and self.profile.revision == self.revision


def revision_to_merge(name: str, member: MemberView | None) -> str:
    """Answer the revision that a member answers with, if it may be merged.

    Raises ``NoMember``, and ``InvalidRequest`` for a member that shares votes alone, or has no adapter.
    """
    if member is None:
        raise NoMember(name)
    if member.sharing != "texts":
        raise InvalidRequest(f"`{name}` shares its votes only; its weights say more than these.", "models")
    if member.revision == BASE_REVISION:
        raise InvalidRequest(f"`{name}` has no adapter to merge yet.", "models")
    return member.revision


class Members(Protocol):
    """The members of the population. Methods of a model raise ``ModelNotFound``, and as ``Hosts``'."""

    async def share(self, model: ModelId, sharing: Sharing | None) -> MemberView | None:
        """Have the model take part and share so much, or with None no longer.

        Raises ``InvalidRequest`` for what there is not to share.
        """
        ...

    async def of_model(self, model: ModelId) -> MemberView | None:
        """The model as a member, None if it takes no part."""
        ...

    async def of_tenant(self, tenant: str) -> tuple[MemberView, ...]:
        """Those of a tenant's models that take part, by name."""
        ...

    async def unprofiled(self, probes: str, *, limit: int = 64) -> tuple[MemberView, ...]:
        """For a profiler: members of any tenant whose profile is of other probes or another revision."""
        ...

    async def keep_profile(self, model: ModelId, profile: Profile) -> bool:
        """For a profiler: keep a profile; answers whether the model takes part still."""
        ...
