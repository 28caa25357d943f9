"""``/v1/requests``: what logs and traces have of a request, for the key that sent it."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from fastapi import Path as PathParameter
from fastapi import Request
from fastapi.responses import Response

from populace.actors.errors import Refused
from populace.actors.request_log import RequestLog, RequestNotFound
from populace.api.request_log import REQUEST_ID, RequestLogObject
from populace.gateway.http.answers import answer
from populace.gateway.http.context import Caller, keyed_router
from populace.gateway.http.machine_locks import MachineLocks
from populace.gateway.http.needs import needs
from populace.telemetry.file_search import FileSearch
from populace.telemetry.log_setup import digest_of
from populace.telemetry.request_lines import lines_of_request
from populace.telemetry.request_trace import trace_of_request

router = keyed_router()

RETRY_SECONDS = 1.0
WAIT_SECONDS_MAX = 5.0
"""How long a tenant waits for searches of other tenants, each of which may take three times as long."""

LOCKS_FILE = ".searches"
"""In the directory of the logs: what keeps the gateways of a machine from searching all at once."""


class RequestLogs:
    """The logs and traces of this machine's processes, read for one caller at a time.

    A search may read hundreds of megabytes, so a tenant has one at a time, at whichever gateway of the
    machine. Others wait for its end, a while.
    """

    def __init__(self, logs: Path, traces: Path | None) -> None:
        self._logs = logs
        self._traces = traces
        self._locks = MachineLocks(logs / LOCKS_FILE)

    async def of_request(self, tenant: str, request_id: str) -> RequestLog:
        """Return what there is of a tenant's request.

        Raises ``RequestNotFound``, ``DiskRefused``, and ``Refused`` while another search of the tenant runs,
        or once it has waited ``WAIT_SECONDS_MAX`` for other tenants' searches.
        """
        digest = digest_of(tenant)
        if digest is None:
            # A process without a log of its own writes nothing that could be a tenant's.
            raise RequestNotFound(request_id)
        end_turn = self._locks.take(f"of {tenant}")
        if end_turn is None:
            raise Refused("Another request of yours is being looked up; wait for its end.", RETRY_SECONDS, 1)
        try:
            end_reading = await self._wait_for_others()
        except BaseException:
            end_turn()
            raise

        async def search() -> RequestLog:
            try:
                return await asyncio.to_thread(self._read, request_id, digest)
            finally:
                end_reading()
                end_turn()

        # Whoever asked may leave: the thread goes on, and nothing else may read until it ends.
        found = await asyncio.shield(asyncio.create_task(search()))
        if not (found.lines or found.trace):
            raise RequestNotFound(request_id)
        return found

    async def _wait_for_others(self) -> Callable[[], None]:
        try:
            return await self._locks.one_of(("reading",), WAIT_SECONDS_MAX)
        except TimeoutError:
            message = "Requests of others are being looked up, one at a time; try again in a moment."
            raise Refused(message, RETRY_SECONDS) from None

    def _read(self, request_id: str, digest: str) -> RequestLog:
        logs = FileSearch(self._logs)
        lines = lines_of_request(logs, request_id, digest)
        if self._traces is None:
            return RequestLog(request_id, lines, logs.is_whole)
        traces = FileSearch(self._traces)
        trace = trace_of_request(traces, request_id, digest)
        return RequestLog(request_id, lines, logs.is_whole and traces.is_whole, trace)


@router.get("/v1/requests/{request_id}", response_model=RequestLogObject)
@needs("read", all_models=True)
async def show_request(
    request: Request, caller: Caller, request_id: Annotated[str, PathParameter(pattern=REQUEST_ID)]
) -> Response:
    """Show the log lines of the caller's requests of this id, and the spans of their trace.

    They are of all processes of the server's machine; ``trace`` is empty unless these write traces to files.
    The newest files are read first; with ``whole`` false, the search ended at a limit before it had read all.
    """
    logs = request.app.state.request_logs
    assert isinstance(logs, RequestLogs)
    return answer(RequestLogObject.of(await logs.of_request(caller.tenant, request_id)))
