"""Requests to a gateway: the key, the retries, and errors as the classes that the server raised."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import httpx

from populace.actors.errors import ClusterNotFound, HostUnavailable, InvalidRequest
from populace.actors.retries import LOST, retrying
from populace.api.objects import ApiObject
from populace.api.server import TENANT_HEADER
from populace.client.remote_errors import error_in
from populace.storage.records.errors import PopulaceError

Answer = TypeVar("Answer", bound=ApiObject)

CONNECT_SECONDS_MAX = 5.0
REPLY_SECONDS_MAX = 600.0
"""Timeout for a server that has stopped responding; the server itself bounds a turn earlier."""

RETRY_SECONDS_MAX = 20.0
"""How long a call waits for a server that restarts, as ``hosting.directory`` does for a host."""
RETRY_SECONDS_FIRST = 0.1

PORT_MAX = 65535

LOST_OR_CUT_OFF = (*LOST, httpx.TransportError)


class HttpTransport:
    """Calls one gateway. ``transport`` replaces the network in tests.

    ``tenant`` is named to the gateway; only a key of the cluster lets it choose.

    Raises ``InvalidRequest`` for an address or a key that cannot be one.
    """

    def __init__(
        self,
        url: str,
        api_key: str,
        *,
        tenant: str | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.url = server_url(url)
        self._client = httpx.AsyncClient(
            base_url=self.url,
            headers={
                "Authorization": f"Bearer {_checked_key(api_key)}",
                **({} if tenant is None else {TENANT_HEADER: tenant}),
            },
            timeout=httpx.Timeout(REPLY_SECONDS_MAX, connect=CONNECT_SECONDS_MAX),
            transport=transport,
            trust_env=False,
        )

    async def get(self, path: str, kind: type[Answer], **options: Any) -> Answer:
        """Get an object; waits for a server that restarts."""
        return await self.call("GET", path, kind, repeats=True, **options)

    async def call(
        self, method: str, path: str, kind: type[Answer], *, repeats: bool = False, **options: Any
    ) -> Answer:
        """Send a request and return the body, parsed as ``kind``.

        ``repeats`` says that the call may take effect twice without harm, so that it is retried while the
        server restarts. Raises what the server raised, and ``ClusterNotFound`` if no server responds.
        """
        response = await self._patiently(method, path, options, repeats=repeats)
        return kind.model_validate_json(response.content)

    async def _patiently(
        self, method: str, path: str, options: dict[str, Any], *, repeats: bool
    ) -> httpx.Response:
        async def send() -> httpx.Response:
            response = await self._client.request(method, path, **options)
            if response.is_error:
                raise error_in(response.content, response.status_code)
            return response

        try:
            if not repeats:
                return await send()
            again = retrying(
                f"{method} {path}",
                LOST_OR_CUT_OFF,
                first_seconds=RETRY_SECONDS_FIRST,
                seconds_max=RETRY_SECONDS_MAX,
            )
            return await again(send)
        except LOST_OR_CUT_OFF as error:
            raise self._named(error) from None

    @asynccontextmanager
    async def opened(self, method: str, path: str, **options: Any) -> AsyncGenerator[httpx.Response, None]:
        """Send a request and read the body as it arrives. Raises what ``call`` raises."""
        try:
            async with self._client.stream(method, path, **options) as response:
                if response.is_error:
                    await response.aread()
                    raise error_in(response.content, response.status_code)
                yield response
        except httpx.TransportError as error:
            raise self._named(error) from None

    def _named(self, error: PopulaceError | httpx.TransportError) -> PopulaceError:
        if isinstance(error, PopulaceError):
            return error
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.UnsupportedProtocol):
            return ClusterNotFound(self.url, "Is `populace serve` running there, and is this its address?")
        return HostUnavailable(self.url, f"the connection broke off ({type(error).__name__}: {error})")

    async def close(self) -> None:
        await self._client.aclose()


def server_url(url: str) -> str:
    """Return the root of a server's address, which OpenAI's clients are given with ``/v1`` at its end.

    Raises ``InvalidRequest`` as ``checked_url``.
    """
    return checked_url(url).rstrip("/").removesuffix("/v1")


def checked_url(url: str) -> str:
    """Return the address. Raises ``InvalidRequest`` for one that no server can have."""
    try:
        host, port = (parsed := httpx.URL(url)).host, parsed.port
    except httpx.InvalidURL:
        host, port = "", None
    if not host or (port or 0) > PORT_MAX:
        raise InvalidRequest(
            f"{url!r:.200} is no address: one is like http://host:8000, with a port up to {PORT_MAX}.",
            "address",
        )
    return url


def _checked_key(key: str) -> str:
    """Return a key without the white space around it, which a file or a shell adds."""
    stripped = key.strip()
    if not stripped or not (stripped.isascii() and stripped.isprintable()):
        raise InvalidRequest(
            "The API key has characters that no key has: give it as `populace key create` printed it.",
            "api_key",
        )
    return stripped
