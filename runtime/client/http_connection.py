"""A population behind an HTTP address: every call goes to its gateway, with an API key."""

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, BinaryIO, cast
from zipfile import ZIP_STORED, ZipFile

import httpx

from populace.actors.access_errors import KeyExpired, Unauthorized
from populace.actors.aggregation.ensemble import PopulationAnswer
from populace.actors.aggregation.question import Question
from populace.actors.aggregation.report import PopulationReport
from populace.actors.engine import BaseInfo
from populace.actors.errors import ClusterNotFound, InvalidRequest, Refused
from populace.actors.hosts import HostStatistics, ModelView, Revision
from populace.actors.merging import LayerDifference, MergedRevision
from populace.actors.request_log import RequestLog
from populace.actors.suites import SuiteResult
from populace.actors.turn import ChatRequest, Interaction, ModelId
from populace.api.models import DiffObject, MergeObject, ModelObject, RevisionObject
from populace.api.population import AnswerObject, ReportObject
from populace.api.request_log import REQUEST_ID, RequestLogObject
from populace.api.server import API_VERSION, PopulationObject
from populace.api.suites import SuiteResultObject
from populace.client.chat_request import TURN_SECONDS_MAX
from populace.client.completions import chat_body, key_header, parts_of
from populace.client.connection import MergeRequest, TellVote
from populace.client.events import event_in
from populace.client.http_hosts import HttpHosts, path_of
from populace.client.http_transport import CONNECT_SECONDS_MAX, HttpTransport, checked_url
from populace.client.streaming import AsyncReplyStream, Parts
from populace.storage.records.errors import PopulaceError
from populace.storage.records.files import disk_named, replaced_durably
from populace.storage.revisions import CONFIG_FILE, TENSORS_FILE

if TYPE_CHECKING:
    import ray

    from populace.hosting.directory.directory import Directory

CHUNK_BYTES = 256 * 1024
SUITE_SECONDS_MAX = 3600.0
"""Two hundred questions take minutes on a CPU."""

HOST_AND_PORT = re.compile(r"([^/:\s]+|\[[^/\s]+\]):\d+")
ADAPTER_FILES = (CONFIG_FILE, TENSORS_FILE)


class HttpConnection:
    """Implements ``Connection`` over HTTP."""

    def __init__(
        self,
        transport: HttpTransport,
        tenant: str,
        base: BaseInfo,
        turn_seconds_max: float = TURN_SECONDS_MAX,
    ) -> None:
        """Use ``HttpConnection.open``."""
        self.turn_seconds_max: float = turn_seconds_max
        self._http = transport
        self.tenant: str = tenant
        self.base: BaseInfo = base
        self.hosts: HttpHosts = HttpHosts(transport)

    @classmethod
    async def open(
        cls, url: str, api_key: str, *, transport: httpx.AsyncBaseTransport | None = None
    ) -> "HttpConnection":
        """Open a connection.

        Raises ``InvalidRequest`` and ``Unauthorized`` for an address or a key that cannot be right,
        ``Refused`` for a key at its limit, and ``ClusterNotFound`` if no Populace of this version responds.
        """
        http = HttpTransport(url, api_key, transport=transport)
        try:
            told = await http.call("GET", "/v1/population", PopulationObject)
        except (KeyExpired, Refused):
            await http.close()
            raise
        except Unauthorized as error:
            await http.close()
            raise Unauthorized(f"{http.url} refused the API key. `populace key create` makes one.") from error
        except (PopulaceError, ValueError) as error:
            await http.close()
            if isinstance(error, ClusterNotFound):
                raise
            raise ClusterNotFound(http.url, "What answers there is no Populace, or an older one.") from error
        if told.api != API_VERSION:
            await http.close()
            raise ClusterNotFound(
                http.url,
                f"It is Populace {told.version}, and this client is {metadata.version('populace')}: "
                f"install populace=={told.version} here.",
            )
        return cls(http, told.tenant, told.base.value(), told.turn_seconds_max)

    @property
    def base_directory(self) -> Path:
        raise InvalidRequest(f"The base's files are on the machine of {self._http.url}.", "base_directory")

    @property
    def directory(self) -> "Directory":
        raise InvalidRequest(f"{self._http.url} has no Ray cluster to be in; use its models.", "directory")

    async def stream(self, request: ChatRequest) -> AsyncReplyStream:
        parts = self._parts(request)
        # Waits for the first part, so that a refusal is raised here.
        first = await anext(parts)
        return AsyncReplyStream(_with_first(first, parts))

    async def _parts(self, request: ChatRequest) -> Parts:
        headers = key_header(request.turn.operation)
        body = chat_body(request, stream=True)
        path = "/v1/chat/completions"
        async with (
            self._http.opened("POST", path, json=body, headers=headers) as response,
            aclosing(parts_of(request, response.aiter_lines(), self._http.url)) as parts,
        ):
            async for part in parts:
                yield part

    def remote_chat(self, request: ChatRequest) -> "ray.ObjectRef[Interaction]":
        raise InvalidRequest(
            "`remote` returns a Ray ObjectRef, and this population is connected over HTTP: use "
            "`connect()` in the cluster, or `connect_async` and `await`.",
            "remote",
        )

    async def ask(
        self, question: Question, models: Sequence[str] | None, on_vote: TellVote | None
    ) -> PopulationAnswer:
        body = {
            "messages": [said._asdict() for said in question.messages],
            "k": question.k,
            "kind": question.kind,
            "choices": list(question.choices),
            "select": question.select,
            "combine": question.combine,
            "models": None if models is None else list(models),
            "seconds_max": question.seconds_max,
            "reply_tokens": question.reply_tokens,
            "temperature": question.temperature,
            "seed": question.seed,
            "stream": True,
        }
        found: PopulationAnswer | None = None
        async with self._http.opened("POST", "/v1/population/answers", json=body) as response:
            async for line in response.aiter_lines():
                told = event_in(line)
                if told is None:
                    continue
                found = AnswerObject.model_validate(told).value()
                if on_vote is not None:
                    on_vote(found)
        if found is None:
            raise ClusterNotFound(self._http.url, "It ended the answer before its beginning.")
        return found

    async def report(self) -> PopulationReport:
        return (await self._http.get("/v1/population/report", ReportObject)).value()

    async def request_log(self, request_id: str) -> RequestLog:
        if re.fullmatch(REQUEST_ID, request_id) is None:
            raise InvalidRequest(
                f"{request_id!r:.200} is no request id: one is in the header X-Request-Id of every response.",
                "request_id",
            )
        return (await self._http.get(f"/v1/requests/{request_id}", RequestLogObject)).value()

    async def evaluate(self, model: ModelId, revision: str) -> SuiteResult:
        path, body = path_of(model, "/suite/evaluations"), {"revision": revision}
        found = await self._http.call(
            "POST", path, SuiteResultObject, repeats=True, json=body, timeout=SUITE_SECONDS_MAX
        )
        return found.value(self.tenant)

    async def fork(self, model: ModelId, name: str) -> ModelView:
        made = await self._http.call("POST", path_of(model, "/fork"), ModelObject, json={"name": name})
        return made.value(self.tenant)

    async def publish(
        self, model: ModelId, adapter: Path, alias: str = "latest", *, create: bool = False
    ) -> Revision:
        with _adapter_file(adapter) as file:
            revision = await self._http.call(
                "POST",
                path_of(model, "/revisions"),
                RevisionObject,
                params={"alias": alias, "create": create},
                content=_chunks(file),
                headers=_file_headers(file),
            )
        return revision.value()

    async def diff(self, model: ModelId, one: str | None, other: str | None) -> tuple[LayerDifference, ...]:
        named = {"one": one, "other": other}
        query = {name: told for name, told in named.items() if told is not None}
        found = await self._http.get(path_of(model, "/diff"), DiffObject, params=query)
        return tuple(layer.value() for layer in found.data)

    async def merge(self, request: MergeRequest) -> MergedRevision:
        # Repeating a merge makes the same revision.
        merged = await self._http.call(
            "POST", "/v1/population/merge", MergeObject, repeats=True, json=request._asdict()
        )
        return merged.value()

    async def export(self, model: ModelId, target: Path) -> None:
        async with self._http.opened("GET", path_of(model, "/export")) as response:
            with disk_named(target), replaced_durably(target) as file:
                async for chunk in response.aiter_bytes(CHUNK_BYTES):
                    file.write(chunk)

    async def import_model(self, path: Path, name: str | None) -> ModelView:
        with path.open("rb") as file:
            made = await self._http.call(
                "POST",
                "/v1/personal-models/import",
                ModelObject,
                params={} if name is None else {"name": name},
                content=_chunks(file),
                headers=_file_headers(file),
            )
        return made.value(self.tenant)

    async def statistics(self) -> tuple[HostStatistics, ...]:
        raise InvalidRequest(f"Over HTTP the statistics are at {self._http.url}/metrics.", "statistics")

    async def close(self) -> None:
        await self._http.close()


def is_url(address: str) -> bool:
    """Return whether an address is a gateway's and not a Ray cluster's."""
    return re.match(r"https?://", address) is not None


async def check_speaks_ray(address: str) -> None:
    """Raise ``ClusterNotFound`` if nothing, or a web server, listens at an address like ``host:6379``.

    Ray itself would go on trying to reach either of them for minutes.
    """
    if HOST_AND_PORT.fullmatch(address) is None:
        return
    url = checked_url(f"http://{address}")
    try:
        async with httpx.AsyncClient(trust_env=False, timeout=CONNECT_SECONDS_MAX) as client:
            await client.get(url)
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        raise ClusterNotFound(
            address, "Nothing listens there. The address of a server is like http://host:8000."
        ) from error
    except httpx.TransportError:
        return
    raise ClusterNotFound(address, f"A web server is there and no Ray: for Populace's, write {url}.")


async def _with_first(first: str | Interaction, parts: Parts) -> Parts:
    async with aclosing(parts):
        yield first
        async for part in parts:
            yield part


def _adapter_file(adapter: Path) -> BinaryIO:
    """Open a packed file, or a PEFT directory as a zip. Raises ``InvalidRequest`` for anything else."""
    if adapter.is_file():
        return adapter.open("rb")
    if not adapter.exists():
        raise InvalidRequest(f"There is no file or folder {adapter}.", "adapter")
    missing = [name for name in ADAPTER_FILES if not (adapter / name).is_file()]
    if missing:
        raise InvalidRequest(f"{adapter} is no adapter: it has no {missing[0]}.", "adapter")
    file = cast("BinaryIO", TemporaryFile())  # noqa: SIM115 - the caller closes it
    with ZipFile(file, "w", ZIP_STORED) as zipped:
        for name in ADAPTER_FILES:
            zipped.write(adapter / name, name)
    return file


def _file_headers(file: BinaryIO) -> dict[str, str]:
    size = file.seek(0, 2)
    file.seek(0)
    return {"Content-Length": str(size), "Content-Type": "application/octet-stream"}


async def _chunks(file: BinaryIO) -> AsyncIterator[bytes]:
    while chunk := file.read(CHUNK_BYTES):
        yield chunk
