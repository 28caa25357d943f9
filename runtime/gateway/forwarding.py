"""Passes requests that need the store's files on to a gateway on the machine that has them."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

import httpx
from fastapi import FastAPI
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Match
from starlette.types import ASGIApp, Receive, Scope, Send

from populace.actors.passing_on import GatewayUnavailable
from populace.gateway.http.context import gateway_of
from populace.gateway.http.errors import error_response
from populace.gateway.http.needs import need_of
from populace.gateway.http.request_id import REQUEST_ID_HEADER
from populace.gateway.inner_listener import SECRET_HEADER, InnerAddress
from populace.storage.records.errors import PopulaceError
from populace.telemetry.calls import current_request_id

CONNECT_SECONDS_MAX = 3.0
OF_ONE_CONNECTION = frozenset(
    ("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "upgrade")
) | {"transfer-encoding", "host", "date", "server", SECRET_HEADER}
"""Headers that are between two ends, and not for who comes after."""


class Forwarder:
    """Sends requests to the gateways that have the store's files, and keeps its connections to them.

    There an archive or an adapter has at most ``archive_bytes_max``, an uploaded file ``file_bytes_max``.
    """

    def __init__(
        self,
        targets: Callable[[], Awaitable[Sequence[InnerAddress]]],
        *,
        archive_bytes_max: int,
        file_bytes_max: int,
    ) -> None:
        self.archive_bytes_max = archive_bytes_max
        self.file_bytes_max = file_bytes_max
        self._targets = targets
        self._clients: dict[InnerAddress, httpx.AsyncClient] = {}

    async def answer(self, request: Request) -> httpx.Response:
        """Return the beginning of another gateway's answer. Raises ``GatewayUnavailable``."""
        reason = "none is there"
        targets = await self._targets()
        await self._forget(targets)
        for target in targets:
            client = self._client_of(target)
            try:
                return await client.send(self._passed_on(request, client, target), stream=True)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                reason = "those that there are cannot be reached"
            except httpx.TransportError as error:
                # It may have been at work on it: sent to another one, it could take effect twice.
                raise GatewayUnavailable("the one that worked on it was lost") from error
        raise GatewayUnavailable(reason)

    def _passed_on(self, request: Request, client: httpx.AsyncClient, target: InnerAddress) -> httpx.Request:
        headers = [
            (name, value)
            for name, value in request.headers.raw
            if name.decode("latin-1") not in OF_ONE_CONNECTION | {REQUEST_ID_HEADER}
        ]
        headers.append((SECRET_HEADER.encode(), target.secret.encode()))
        if (request_id := current_request_id()) is not None:
            headers.append((REQUEST_ID_HEADER.encode(), request_id.encode()))
        query: bytes = request.scope["query_string"]
        raw_path = request.scope["raw_path"] + (b"?" + query if query else b"")
        url = httpx.URL(scheme="https", host=target.host, port=target.port, raw_path=raw_path)
        has_body = bool({"content-length", "transfer-encoding"} & set(request.headers.keys()))
        content = request.stream() if has_body else None
        return client.build_request(request.method, url, headers=headers, content=content)

    def _client_of(self, target: InnerAddress) -> httpx.AsyncClient:
        client = self._clients.get(target)
        if client is None:
            trusted = ssl.create_default_context(cadata=target.certificate)
            # It names no machine: who has its key is the process that was meant.
            trusted.check_hostname = False
            timeout = httpx.Timeout(None, connect=CONNECT_SECONDS_MAX)
            client = httpx.AsyncClient(verify=trusted, timeout=timeout, trust_env=False)
            self._clients[target] = client
        return client

    async def _forget(self, targets: Sequence[InnerAddress]) -> None:
        """Close the connections to gateways that have ended."""
        gone = [self._clients.pop(target) for target in self._clients.keys() - set(targets)]
        await asyncio.gather(*(client.aclose() for client in gone))

    async def close(self) -> None:
        """End all connections. Safe to call twice."""
        await self._forget(())


class Forwarding:
    """ASGI middleware: answers the routes of these ``endpoints`` with what another gateway answers.

    The caller's key is checked here first, so that no body is passed on for a caller whose key does not do.
    """

    def __init__(
        self, app: ASGIApp, described: FastAPI, endpoints: Iterable[Any], forwarder: Forwarder
    ) -> None:
        self._app = app
        self._described = described
        self._endpoints = frozenset(endpoints)
        self._forwarder = forwarder

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = None if scope["type"] != "http" else self._route_of(scope)
        need = None if route is None else need_of(route.endpoint)
        if need is None or getattr(route, "endpoint", None) not in self._endpoints:
            await self._app(scope, receive, send)
            return
        scope["route"] = route  # by which it is counted and logged
        scope["app"] = self._described
        request = Request(scope, receive)
        response: Response
        try:
            caller = await gateway_of(request).access.caller(request)
            need.check(caller)
            answered = await self._forwarder.answer(request)
        except PopulaceError as error:
            response = error_response(error)
        except ClientDisconnect:
            return
        else:
            response = StreamingResponse(answered.aiter_raw(), answered.status_code)
            response.raw_headers = [
                (name.lower(), value)
                for name, value in answered.headers.raw
                if name.lower().decode() not in OF_ONE_CONNECTION | {REQUEST_ID_HEADER}
            ]
            try:
                await response(scope, receive, send)
            finally:
                await answered.aclose()
            return
        await response(scope, receive, send)

    def _route_of(self, scope: Scope) -> Any:
        matching = (route for route in self._described.routes if route.matches(scope)[0] is Match.FULL)
        return next(matching, None)
