"""``connect``: opens the population at an address, on this machine or another."""

from collections.abc import Generator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from populace.actors.access_errors import Unauthorized
from populace.actors.errors import ClusterNotFound, InvalidRequest
from populace.client.async_population import AsyncPopulation
from populace.client.connection import Connection
from populace.client.http_connection import HttpConnection, check_speaks_ray, is_url
from populace.client.http_transport import server_url
from populace.client.loop_thread import LoopThread, without_frames
from populace.client.population import Population
from populace.settings.credentials import Credentials
from populace.settings.running import find_running
from populace.settings.settings import Settings
from populace.storage.records.errors import PopulaceError

DEFAULT_TENANT = "local"


def connect(
    address: str | None = None,
    *,
    api_key: str | None = None,
    tenant: str | None = None,
    data: str | Path | None = None,
) -> Population:
    """Connect to a running Populace.

    An ``address`` like ``http://host:8000`` names a server on any machine. It needs an ``api_key`` (default:
    POPULACE_API_KEY, or this account's key for that server), which selects the tenant, and neither Ray nor a
    base model on this machine.

    Any other ``address`` names a Ray cluster; None is this user's Populace on this machine that serves the
    data directory ``data`` (default: POPULACE_DATA). Such a connection is inside the cluster's trust
    boundary: it needs no API key, and ``tenant`` (default: local) selects whose models are used.

    Raises ``ClusterNotFound``, ``Unauthorized``, and ``InvalidRequest`` if the tenant is not the key's, or if
    the address or the key cannot be one.
    """
    __tracebackhide__ = True
    loop = LoopThread()
    try:
        connection = loop.run(_opened(address, api_key, tenant, data))
    except BaseException:
        loop.close()
        raise
    return Population(AsyncPopulation(connection), loop)


def connect_async(
    address: str | None = None,
    *,
    api_key: str | None = None,
    tenant: str | None = None,
    data: str | Path | None = None,
) -> "Connecting":
    """Connect for asyncio: ``async with populace.connect_async() as population``, or ``await`` and close it.

    For the arguments and errors see ``connect``.
    """
    return Connecting(address, api_key, tenant, data)


class Connecting:
    """A connection that is made when it is awaited or entered with ``async with``."""

    def __init__(
        self, address: str | None, api_key: str | None, tenant: str | None, data: str | Path | None
    ) -> None:
        self._wanted = (address, api_key, tenant, data)
        self._population: AsyncPopulation | None = None

    def __await__(self) -> Generator[Any, None, AsyncPopulation]:
        return self._connected().__await__()

    async def __aenter__(self) -> AsyncPopulation:
        self._population = await self._connected()
        return self._population

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._population is not None
        await self._population.close()

    async def _connected(self) -> AsyncPopulation:
        try:
            return AsyncPopulation(await _opened(*self._wanted))
        except PopulaceError as error:
            raise without_frames(error) from None


async def _opened(
    address: str | None, api_key: str | None, tenant: str | None, data: str | Path | None
) -> Connection:
    if address is None or not is_url(address):
        if api_key is not None:
            meant = "like http://127.0.0.1:8000" if address is None else f"which begins so: http://{address}"
            raise InvalidRequest(f"An API key goes with the address of a server, {meant}.", "api_key")
        if address is not None:
            await check_speaks_ray(address)
        # Ray and an engine's client are imported only for a connection inside the cluster.
        try:
            from populace.client.ray_connection import RayConnection
        except ModuleNotFoundError as error:
            raise InvalidRequest(
                f"In the cluster this takes {error.name}: pip install 'populace[serve]', or connect to the "
                "address of a server, like http://host:8000.",
                "address",
            ) from error
        return RayConnection.open(address, tenant=tenant or DEFAULT_TENANT, data=data)
    connection = await HttpConnection.open(address, api_key or _key_for(address, data))
    if tenant is not None and tenant != connection.tenant:
        await connection.close()
        raise InvalidRequest(
            f"The API key is of the tenant {connection.tenant!r}, not of {tenant!r}.", "tenant"
        )
    return connection


def _key_for(address: str, data: str | Path | None) -> str:
    """Return this account's key for a server: from the environment, or the local server's own."""
    settings = Settings.from_environment(data=data)
    if settings.api_key is not None:
        return settings.api_key
    with suppress(ClusterNotFound):
        running = find_running(settings.data)
        key = Credentials(settings.config).find(running.store_id)
        if key is not None and server_url(running.url) == server_url(address):
            return key
    raise Unauthorized(f"{address} takes an API key: give api_key=, or set POPULACE_API_KEY.")
