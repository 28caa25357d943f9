"""The members of the whole population: each call goes to the host of its model, as other calls do."""

from populace.actors.keepers.member_keeper import by_name
from populace.actors.members import Members, MemberView, Profile
from populace.actors.turn import ModelId
from populace.hosting.directory.router import Router
from populace.policies.diversity.disclosure import Sharing


class MemberDirectory:
    """Implements ``Members`` for the whole population."""

    def __init__(self, router: Router) -> None:
        self._router = router

    async def share(self, model: ModelId, sharing: Sharing | None) -> MemberView | None:
        return await self._router.retried(model, Members.share, model, sharing)

    async def of_model(self, model: ModelId) -> MemberView | None:
        return await self._router.retried(model, Members.of_model, model)

    async def of_tenant(self, tenant: str) -> tuple[MemberView, ...]:
        pages = await self._router.everywhere(Members.of_tenant, tenant)
        return by_name([member for page in pages for member in page])

    async def unprofiled(self, probes: str, *, limit: int = 64) -> tuple[MemberView, ...]:
        pages = await self._router.everywhere(Members.unprofiled, probes, limit=limit)
        return tuple(member for page in pages for member in page)[:limit]

    async def keep_profile(self, model: ModelId, profile: Profile) -> bool:
        return await self._router.retried(model, Members.keep_profile, model, profile)
