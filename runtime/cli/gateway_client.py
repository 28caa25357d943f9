"""The command line's HTTP client: finds the gateway and the key, raises errors as sentences."""

import asyncio
import contextlib
from collections.abc import Callable, Generator, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Self
from urllib.parse import quote

import httpx

from populace.actors.access_errors import Unauthorized
from populace.actors.errors import ClusterNotFound
from populace.cli.console import CommandFailed, named_errors
from populace.client.events import END, event_in
from populace.client.remote_errors import error_in
from populace.settings.credentials import Credentials
from populace.settings.running import find_running
from populace.settings.settings import Settings
from populace.storage.records.errors import ModelNotFound, PopulaceError

if TYPE_CHECKING:
    from populace.client.population import Population

CONNECT_SECONDS_MAX = 5.0
REPLY_SECONDS_MAX = 600.0
CHUNK_BYTES = 256 * 1024

Moved = Callable[[int, int], None]
"""Called for each piece of a file with its bytes and those of the whole file."""


class GatewayError(CommandFailed):
    """The gateway returned an error body: its message, HTTP status and code."""

    def __init__(self, message: str, status: int, code: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class GatewayClient:
    """Calls the gateway of a running Populace. A context manager."""

    def __init__(
        self,
        url: str,
        api_key: str,
        *,
        tenant: str | None = None,
        reply_seconds_max: float = REPLY_SECONDS_MAX,
    ) -> None:
        """Whitespace around the key is left out. Raises ``Unauthorized`` for what is no key.

        ``tenant`` is named to the gateway, which believes it of a key of the cluster alone.
        """
        key = api_key.strip()
        if not (key and key.isascii() and key.isprintable()):
            raise Unauthorized("The API key has characters that no key has. `populace key create` makes one.")
        timeout = httpx.Timeout(reply_seconds_max, connect=CONNECT_SECONDS_MAX)
        self._url = url
        self.missing = set[str]()
        headers = {"Authorization": f"Bearer {key}"}
        if tenant is not None:
            from populace.api.server import TENANT_HEADER

            headers[TENANT_HEADER] = tenant
        self._client = httpx.Client(base_url=url, headers=headers, timeout=timeout, trust_env=False)

    @classmethod
    def of_settings(cls, settings: Settings, *, reply_seconds_max: float = REPLY_SECONDS_MAX) -> Self:
        """Use the Populace at the settings' address, or else the one that serves their data directory.

        Raises ``ClusterNotFound``, and ``Unauthorized`` if there is no key for the address.
        """
        if settings.address is not None:
            if settings.api_key is None:
                raise Unauthorized(f"{settings.address} takes an API key: set POPULACE_API_KEY.")
            return cls(settings.address, settings.api_key, reply_seconds_max=reply_seconds_max)
        running = find_running(settings.data)
        key = settings.api_key or Credentials(settings.config).find(running.store_id)
        if key is None:
            hint = "There is no API key for it on this account; set POPULACE_API_KEY."
            raise ClusterNotFound(running.url, hint)
        return cls(running.url, key, reply_seconds_max=reply_seconds_max)

    @property
    def url(self) -> str:
        """The address of the gateway."""
        return self._url

    def request(self, method: str, path: str, **options: Any) -> Any:
        """Send a request and return the JSON body.

        Raises ``GatewayError``, ``ClusterNotFound``, and ``CommandFailed`` if the connection breaks off or
        what answers is no Populace.
        """
        return self._json(self._called(method, path, **options))

    def text(self, path: str) -> str:
        """Get a body that is text. Raises as ``request``."""
        return self._called("GET", path).text

    def _called(self, method: str, path: str, **options: Any) -> httpx.Response:
        with self._answered(method, path, **options) as response:
            response.read()
        return response

    def _json(self, response: httpx.Response) -> Any:
        try:
            return response.json()
        except ValueError as error:
            raise CommandFailed(f"What answers at {self._url} is no Populace: it sent no JSON.") from error

    def download(self, path: str, file: BinaryIO, moved: Moved) -> None:
        """Write the body to the file; ``moved`` is called as it arrives."""
        with self._answered("GET", path) as response:
            total = int(response.headers["content-length"])
            for chunk in response.iter_raw():
                file.write(chunk)
                moved(len(chunk), total)

    def upload(self, path: str, file: BinaryIO, moved: Moved, **options: Any) -> Any:
        """Send the file as the body, and return the JSON body of the response."""
        total = file.seek(0, 2)
        file.seek(0)

        def chunks() -> Iterator[bytes]:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk
                moved(len(chunk), total)

        headers = {"Content-Length": str(total), "Content-Type": "application/zip"}
        with self._answered("POST", path, content=chunks(), headers=headers, **options) as response:
            response.read()
        return self._json(response)

    @contextlib.contextmanager
    def _answered(self, method: str, path: str, **options: Any) -> Generator[httpx.Response]:
        try:
            with self._client.stream(method, path, **options) as response:
                if response.is_error:
                    response.read()
                    raise _error(response)
                yield response
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise ClusterNotFound(self._url, "Is `populace serve` still running?") from error
        except httpx.RequestError as error:
            raise CommandFailed(f"The connection to {self._url} broke off: {error}") from error

    def pages(self, path: str, *, page: int = 1000) -> Iterator[dict[str, Any]]:
        """Walk the items of a paged listing; ``missing`` has what it does without as it is damaged."""
        after: str | None = None
        while True:
            query = {"limit": page} | ({} if after is None else {"after": after})
            body = self.request("GET", path, params=query)
            yield from body["data"]
            self.missing.update(body.get("missing", ()))
            after = body["after"]
            if after is None:
                return

    def newest_turns(self, model: str, *, page: int = 100) -> Iterator[dict[str, Any]]:
        """Walk a model's log from its newest turn back to the oldest that is kept."""
        head = self.request("GET", model_path(model))
        end = head["log_position"]
        while end > head["log_start"]:
            start = max(head["log_start"], end - page)
            query = {"start": start, "limit": end - start}
            yield from reversed(self.request("GET", model_path(model, "/interactions"), params=query)["data"])
            end = start

    def stream_chat(self, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Stream a chat completion; yields its chunks. Raises as ``request``, also for one without an end."""
        request = {**body, "stream": True}
        with self._answered("POST", "/v1/chat/completions", json=request) as response:
            for line in response.iter_lines():
                try:
                    chunk = event_in(line)
                except PopulaceError as error:
                    raise GatewayError(str(error), 200, error.code) from error
                except ValueError as error:
                    raise CommandFailed(f"{self._url} sent an event that is no JSON.") from error
                if chunk is not None:
                    yield chunk
                elif line == END:
                    return
        raise CommandFailed(
            f"The reply of {self._url} has no end: it broke off, or no Populace answers there."
        )

    def close(self) -> None:
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@contextlib.contextmanager
def gateway(*, reply_seconds_max: float = REPLY_SECONDS_MAX) -> Generator[GatewayClient]:
    """Call the gateway of the settings; what Populace raises on purpose ends the command with a line."""
    with named_errors():
        settings = Settings.from_environment()
        with GatewayClient.of_settings(settings, reply_seconds_max=reply_seconds_max) as client:
            yield client


def connected() -> "Population":
    """Connect to the Populace that the command line talks to: at its address, or else in its cluster."""
    # What this imports loads when it is needed.
    from populace.client.connecting import connect

    return connect(Settings.from_environment().address)


@contextlib.contextmanager
def administrating() -> Generator[GatewayClient]:
    """Call the gateway as who looks after the service: from within its cluster, or at an address with a key.

    What Populace raises on purpose ends the command with a line.
    """
    with named_errors(), _administrating() as client:
        yield client


def _administrating() -> GatewayClient:
    settings = Settings.from_environment()
    if settings.address is not None:
        return GatewayClient.of_settings(settings)
    # What this imports loads when it is needed.
    from populace.client.connecting import DEFAULT_TENANT
    from populace.client.ray_connection import RayConnection

    connection = RayConnection.open(None, tenant=DEFAULT_TENANT, data=None)
    try:
        url, key = connection.gateway
    finally:
        asyncio.run(connection.close())
    return GatewayClient(url, key, tenant=DEFAULT_TENANT)


def model_path(name: str, rest: str = "") -> str:
    return f"/v1/personal-models/{quote(name, safe='')}{rest}"


def _error(response: httpx.Response) -> GatewayError:
    error = error_in(response.content, response.status_code)
    message = str(error)
    if isinstance(error, ModelNotFound):
        # What this imports loads for an error alone.
        from populace.gateway.http.target import impossible_name

        message += f" {impossible_name(error.model) or '`populace model ls` lists those that there are.'}"
    return GatewayError(message, response.status_code, error.code)
