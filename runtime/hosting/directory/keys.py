"""The API keys of the whole population: each call goes to the host of the shard that its id is placed in."""

from populace.actors.api_keys import ApiKey, ApiKeys
from populace.actors.keepers.key_keeper import oldest_first
from populace.actors.tenants import Limits
from populace.actors.turn import ModelId
from populace.hosting.directory.router import Router
from populace.policies.placement import KEY_SHARD_TENANT


class KeyDirectory:
    """Implements ``ApiKeys`` for the whole population."""

    def __init__(self, router: Router) -> None:
        self._router = router

    async def create(self, key: ApiKey) -> None:
        await self._router.retried(_place(key.key_id), ApiKeys.create, key)

    async def find(self, key_id: str) -> ApiKey | None:
        return await self._router.retried(_place(key_id), ApiKeys.find, key_id)

    async def of_tenant(self, tenant: str | None = None) -> tuple[ApiKey, ...]:
        pages = await self._router.everywhere(ApiKeys.of_tenant, tenant)
        return oldest_first(key for page in pages for key in page)

    async def rotate(self, key_id: str, secret_sha256: bytes, *, grace_ms: int) -> ApiKey | None:
        return await self._router.retried(
            _place(key_id), ApiKeys.rotate, key_id, secret_sha256, grace_ms=grace_ms
        )

    async def limit(self, key_id: str, limits: Limits) -> ApiKey | None:
        return await self._router.retried(_place(key_id), ApiKeys.limit, key_id, limits)

    async def note_use(self, key_id: str) -> None:
        await self._router.retried(_place(key_id), ApiKeys.note_use, key_id)

    async def revoke(self, key_id: str) -> ApiKey | None:
        return await self._router.retried(_place(key_id), ApiKeys.revoke, key_id)


def _place(key_id: str) -> ModelId:
    return ModelId(KEY_SHARD_TENANT, key_id)
