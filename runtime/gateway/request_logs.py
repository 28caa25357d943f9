"""``/v1/requests``: what the log has of a request, for the key that sent it."""

import asyncio
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Request
from fastapi import Path as PathParameter
from fastapi.responses import Response

from populace.actors.errors import Refused
from populace.actors.request_log import RequestLog, RequestNotFound
from populace.api.request_log import REQUEST_ID, RequestLogObject
from populace.gateway.http.answers import answer
from populace.gateway.http.context import Caller, KeyedRoute
from populace.telemetry.log_setup import digest_of
from populace.telemetry.request_lines import lines_of_request

router = APIRouter(route_class=KeyedRoute)

RETRY_SECONDS = 1.0


class RequestLogs:
    """The logs of this machine's processes, read for one caller at a time.

    A search may read hundreds of megabytes, so a tenant has one at a time, and others' wait for its end.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._tenants: set[str] = set()
        self._reading = asyncio.Lock()

    async def of_request(self, tenant: str, request_id: str) -> RequestLog:
        """Return the lines of a tenant's request. Raises ``RequestNotFound`` and ``Refused``."""
        if tenant in self._tenants:
            raise Refused("Another request of yours is being looked up; wait for its end.", RETRY_SECONDS, 1)
        self._tenants.add(tenant)
        # Whoever asked may leave: the thread goes on, and nothing else may read until it ends.
        searching = asyncio.create_task(self._search(tenant, request_id))
        found = await asyncio.shield(searching)
        if found is None or not found.lines:
            raise RequestNotFound(request_id)
        return found

    async def _search(self, tenant: str, request_id: str) -> RequestLog | None:
        # A process without a log of its own writes no line that could be somebody's.
        digest = digest_of(tenant)
        try:
            if digest is None:
                return None
            async with self._reading:
                return await asyncio.to_thread(lines_of_request, self._directory, request_id, digest)
        finally:
            self._tenants.discard(tenant)


@router.get("/v1/requests/{request_id}", response_model=RequestLogObject)
async def show_request(
    request: Request, tenant: Caller, request_id: Annotated[str, PathParameter(pattern=REQUEST_ID)]
) -> Response:
    """Show the log lines of the caller's requests of this id, of all processes of the server's machine.

    The newest files are read first; with ``whole`` false, the search ended at a limit before it had read all.
    """
    logs = request.app.state.request_logs
    assert isinstance(logs, RequestLogs)
    return answer(RequestLogObject.of(await logs.of_request(tenant, request_id)))
