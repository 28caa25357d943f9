"""``/v1/admin/keys``: makes, shows, rotates, limits and revokes the API keys of all tenants."""

import time
from typing import Annotated

from fastapi import Query, Request
from fastapi.responses import Response

from populace.actors.access_errors import KeyNotFound
from populace.actors.api_keys import ApiKey
from populace.api.keys import KeyObject, NewKeyObject
from populace.api.objects import Listing
from populace.gateway.admin.schema import KeyLimitsBody, NewKeyBody, RotationBody
from populace.gateway.http.access import new_key, new_secret
from populace.gateway.http.answers import answer
from populace.gateway.http.context import Caller, gateway_of, keyed_router
from populace.gateway.http.needs import needs

router = keyed_router()

PATH = "/v1/admin/keys"
ONE = f"{PATH}/{{key_id}}"


@router.post(PATH, status_code=201, response_model=NewKeyObject)
@needs("admin")
async def create_key(request: Request, caller: Caller, body: NewKeyBody) -> Response:
    """Make a key and tell its secret, once."""
    del caller
    now_ms = _now_ms()
    text, key = new_key(
        body.tenant,
        body.label,
        now_ms=now_ms,
        role=body.role,
        models=body.models,
        expires_ms=None if body.expires_in is None else now_ms + 1000 * body.expires_in,
        limits=(body.limits or KeyLimitsBody()).limits(),
    )
    await gateway_of(request).hosts.keys.create(key)
    return answer(NewKeyObject.made(key, text, now_ms=now_ms), status_code=201)


@router.get(PATH, response_model=Listing[KeyObject])
@needs("admin")
async def list_keys(
    request: Request, caller: Caller, tenant: Annotated[str | None, Query(max_length=64)] = None
) -> Response:
    """List the keys of a tenant, or of all, oldest first, those that ended too."""
    del caller
    found = await gateway_of(request).hosts.keys.of_tenant(tenant)
    now_ms = _now_ms()
    return answer(Listing[KeyObject](data=tuple(KeyObject.of(key, now_ms=now_ms) for key in found)))


@router.get(ONE, response_model=KeyObject)
@needs("admin")
async def show_key(request: Request, caller: Caller, key_id: str) -> Response:
    """Describe one key."""
    del caller
    return _told(key_id, await gateway_of(request).hosts.keys.find(key_id))


@router.post(f"{ONE}/rotate", response_model=NewKeyObject)
@needs("admin")
async def rotate_key(request: Request, caller: Caller, key_id: str, body: RotationBody) -> Response:
    """Give a key a new secret and tell it, once. The former one counts for ``grace`` seconds more."""
    del caller
    text, digest = new_secret(key_id)
    keys = gateway_of(request).hosts.keys
    key = await keys.rotate(key_id, digest, grace_ms=1000 * body.grace)
    if key is None:
        raise KeyNotFound(key_id)
    return answer(NewKeyObject.made(key, text, now_ms=_now_ms()))


@router.put(f"{ONE}/limits", response_model=KeyObject)
@needs("admin")
async def limit_key(request: Request, caller: Caller, key_id: str, body: KeyLimitsBody) -> Response:
    """Say how many requests and tokens a minute a key may take; gateways keep to it within ten seconds."""
    del caller
    return _told(key_id, await gateway_of(request).hosts.keys.limit(key_id, body.limits()))


@router.delete(ONE, response_model=KeyObject)
@needs("admin")
async def revoke_key(request: Request, caller: Caller, key_id: str) -> Response:
    """Revoke a key; gateways refuse it within ten seconds."""
    del caller
    return _told(key_id, await gateway_of(request).hosts.keys.revoke(key_id))


def _told(key_id: str, key: ApiKey | None) -> Response:
    if key is None:
        raise KeyNotFound(key_id)
    return answer(KeyObject.of(key, now_ms=_now_ms()))


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
