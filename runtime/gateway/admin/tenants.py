"""``/v1/admin/tenants``: who there is, what each has, and what each may take."""

import asyncio

from fastapi import Request
from fastapi.responses import Response

from populace.api.keys import LimitsObject, TenantObject, TenantUsageObject
from populace.api.objects import Listing
from populace.gateway.admin.schema import LimitsBody, TenantInPath
from populace.gateway.http.answers import answer
from populace.gateway.http.context import Caller, gateway_of, keyed_router
from populace.gateway.http.needs import needs

router = keyed_router()

PATH = "/v1/admin/tenants"
ONE = f"{PATH}/{{tenant}}"


@router.get(PATH, response_model=Listing[TenantObject])
@needs("admin")
async def list_tenants(request: Request, caller: Caller) -> Response:
    """List the tenants that have people, a key or a limit, by name."""
    del caller
    found = await gateway_of(request).hosts.tenants.all()
    data = tuple(TenantObject(id=name, limits=LimitsObject.of(limits)) for name, limits in found.items())
    return answer(Listing[TenantObject](data=data))


@router.get(ONE, response_model=TenantUsageObject)
@needs("admin")
async def show_tenant(request: Request, caller: Caller, tenant: TenantInPath) -> Response:
    """Describe one tenant, and count what it has; a name that is not used yet has nothing."""
    del caller
    tenants = gateway_of(request).hosts.tenants
    limits, usage = await asyncio.gather(tenants.limits(tenant), tenants.usage(tenant))
    return answer(TenantUsageObject.of(tenant, limits, usage))


@router.put(f"{ONE}/limits", response_model=TenantObject)
@needs("admin")
async def limit_tenant(request: Request, caller: Caller, tenant: TenantInPath, body: LimitsBody) -> Response:
    """Say what a tenant may take; gateways keep to it within ten seconds."""
    del caller
    limits = await gateway_of(request).hosts.tenants.limit(tenant, body.limits())
    return answer(TenantObject(id=tenant, limits=LimitsObject.of(limits)))
