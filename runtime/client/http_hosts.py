"""Operations on a personal model as requests to a gateway: the ``ClientHosts`` of a remote population."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any
from urllib.parse import quote

from populace.actors.contributors import Contribution
from populace.actors.feedback import Feedback, Opinion
from populace.actors.forgetting import Forgotten, MemoryAfter
from populace.actors.hosts import ModelPage, ModelView, Revision
from populace.actors.known import SURE_MIN, Known
from populace.actors.members import MemberView
from populace.actors.memories import MemoryView
from populace.actors.peek import Peek, without_trace
from populace.actors.reward_tasks import RewardTask, pack_tasks
from populace.actors.suites import Suite, object_of
from populace.actors.training import TrainingJob
from populace.actors.training_options import TrainingOptions
from populace.actors.turn import ChatRequest, Interaction, ModelId, operation_of
from populace.api.contributions import ContributionObject
from populace.api.memory import KnownObject, MemoryObject
from populace.api.models import DeletedModelObject, ModelObject, RevisionObject
from populace.api.objects import Listing, Page, PartialPage
from populace.api.population import MemberObject
from populace.api.server import DISCONNECT_HEADER, NEW_MODEL_HEADER
from populace.api.suites import DeletedSuiteObject, SuiteObject
from populace.api.training import JobObject
from populace.api.turns import FeedbackObject, ForgottenObject, InteractionObject
from populace.client.completions import CompletionObject, PeekCompletionObject, chat_body, key_header
from populace.client.http_transport import HttpTransport
from populace.policies.diversity.disclosure import Sharing


def path_of(model: ModelId, rest: str = "") -> str:
    return f"/v1/personal-models/{quote(model.name, safe='')}{rest}"


class HttpHosts:
    """Implements ``ClientHosts`` over HTTP. The tenant of every model is that of the key."""

    def __init__(self, transport: HttpTransport) -> None:
        self._http = transport
        self.jobs: HttpJobs = HttpJobs(transport)
        self.members: HttpMembers = HttpMembers(transport)
        self.contributors: HttpContributors = HttpContributors(transport)
        self.memories: HttpMemories = HttpMemories(transport)
        self.forgetting: HttpForgetting = HttpForgetting(transport)
        self.suites: HttpSuites = HttpSuites(transport)

    async def chat(self, request: ChatRequest) -> Interaction:
        completion = await self._http.call(
            "POST",
            "/v1/chat/completions",
            CompletionObject,
            repeats=True,
            json=chat_body(request),
            # As in the cluster: who interrupts the call gives the turn up, and no chat makes a model.
            headers={
                **key_header(request.turn.operation),
                DISCONNECT_HEADER: "cancel",
                NEW_MODEL_HEADER: "refuse",
            },
        )
        return completion.interaction(request)

    async def peek(self, request: ChatRequest) -> Peek:
        body = chat_body(without_trace(request)) | {"peek": True}
        # A peek leaves no trace, so a lost one is made again.
        seen = await self._http.call(
            "POST", "/v1/chat/completions", PeekCompletionObject, repeats=True, json=body
        )
        return seen.value(request)

    async def create_model(self, model: ModelId) -> ModelView:
        body = {"name": model.name}
        return (await self._http.call("POST", "/v1/personal-models", ModelObject, json=body)).value(
            model.tenant
        )

    async def show_model(self, model: ModelId) -> ModelView:
        return (await self._http.get(path_of(model), ModelObject)).value(model.tenant)

    async def list_models(
        self, tenant: str, *, after: str | None = None, limit: int = 100, prefix: str = ""
    ) -> ModelPage:
        query: dict[str, Any] = {"limit": limit, "prefix": prefix}
        query |= {} if after is None else {"after": after}
        page = await self._http.get("/v1/personal-models", PartialPage[ModelObject], params=query)
        return ModelPage(tuple(view.value(tenant) for view in page.data), page.after, page.missing)

    async def erase_model(self, model: ModelId) -> None:
        await self._http.call("DELETE", path_of(model), DeletedModelObject)

    async def read_log(self, model: ModelId, *, start: int = 0, limit: int = 100) -> tuple[Interaction, ...]:
        page = await self._http.get(
            path_of(model, "/interactions"), Page[InteractionObject], params={"start": start, "limit": limit}
        )
        return tuple(turn.value(model) for turn in page.data)

    async def give_feedback(
        self, model: ModelId, on: int | str, opinion: Opinion, key: str | None = None
    ) -> Feedback:
        said: dict[str, Any] = {name: value for name, value in asdict(opinion).items() if value is not None}
        if opinion.thumb is not None:
            said["thumb"] = "up" if opinion.thumb else "down"
        named = {"position": on} if isinstance(on, int) else {"completion_id": on}
        # Feedback without a key is stored once however often it is sent, if nothing comes in between.
        given = await self._http.call(
            "POST",
            "/v1/feedback",
            FeedbackObject,
            repeats=True,
            json={"model": model.name, **named, **said},
            headers={} if key is None else key_header(operation_of(key)),
        )
        return given.value(model.tenant)

    async def read_feedback(
        self, model: ModelId, *, start: int = 0, limit: int = 1000
    ) -> tuple[Feedback, ...]:
        query = {"start": start, "limit": limit}
        found = await self._http.get(path_of(model, "/feedback"), Listing[FeedbackObject], params=query)
        return tuple(given.value(model.tenant) for given in found.data)

    async def list_revisions(self, model: ModelId) -> tuple[Revision, ...]:
        found = await self._http.get(path_of(model, "/revisions"), Page[RevisionObject])
        return tuple(revision.value() for revision in found.data)

    async def move_alias(self, model: ModelId, alias: str, reference: str) -> ModelView:
        path, body = _alias_path(model, alias), {"revision": reference}
        return (await self._http.call("PUT", path, ModelObject, repeats=True, json=body)).value(model.tenant)

    async def remove_alias(self, model: ModelId, alias: str) -> ModelView:
        return (await self._http.call("DELETE", _alias_path(model, alias), ModelObject)).value(model.tenant)


def _alias_path(model: ModelId, alias: str) -> str:
    return path_of(model, f"/aliases/{quote(alias, safe='')}")


class HttpJobs:
    """Implements ``Jobs`` over HTTP."""

    def __init__(self, transport: HttpTransport) -> None:
        self._http = transport

    async def ask(
        self,
        model: ModelId,
        options: TrainingOptions,
        key: str | None = None,
        tasks: Sequence[RewardTask] = (),
    ) -> TrainingJob:
        job = await self._http.call(
            "POST",
            path_of(model, "/jobs"),
            JobObject,
            repeats=key is not None,
            json={**asdict(options), "tasks": json.loads(pack_tasks(tasks))},
            headers={} if key is None else key_header(operation_of(key)),
        )
        return job.value(model.tenant)

    async def cancel(self, model: ModelId) -> TrainingJob:
        return (await self._http.call("DELETE", path_of(model, "/jobs"), JobObject)).value(model.tenant)

    async def of_model(self, model: ModelId) -> tuple[TrainingJob, ...]:
        found = await self._http.get(path_of(model, "/jobs"), Listing[JobObject])
        return tuple(job.value(model.tenant) for job in found.data)

    async def roll_back(self, model: ModelId, revision: str) -> ModelView:
        # When repeated, `latest` names another revision by then, and nothing happens.
        body = {"revision": revision}
        path = path_of(model, "/rollback")
        return (await self._http.call("POST", path, ModelObject, repeats=True, json=body)).value(model.tenant)


class HttpMembers:
    """Implements ``Members`` over HTTP."""

    def __init__(self, transport: HttpTransport) -> None:
        self._http = transport

    async def share(self, model: ModelId, sharing: Sharing | None) -> MemberView | None:
        body = {"sharing": sharing}
        member = await self._http.call(
            "PUT", path_of(model, "/sharing"), MemberObject, repeats=True, json=body
        )
        return member.value(model.tenant)

    async def of_tenant(self, tenant: str) -> tuple[MemberView, ...]:
        found = await self._http.get("/v1/population/members", Listing[MemberObject])
        members = [member.value(tenant) for member in found.data]
        return tuple(member for member in members if member is not None)


class HttpContributors:
    """Implements ``Contributors`` over HTTP."""

    def __init__(self, transport: HttpTransport) -> None:
        self._http = transport

    async def consent(self, model: ModelId, *, agrees: bool) -> Contribution:
        method, path = "PUT" if agrees else "DELETE", path_of(model, "/contribution")
        said = await self._http.call(method, path, ContributionObject, repeats=True)
        return said.value(model.tenant)

    async def of_model(self, model: ModelId) -> Contribution:
        said = await self._http.get(path_of(model, "/contribution"), ContributionObject)
        return said.value(model.tenant)


class HttpMemories:
    """Implements ``Memories`` over HTTP."""

    def __init__(self, transport: HttpTransport) -> None:
        self._http = transport

    async def show(self, model: ModelId, position: int | None = None) -> MemoryView:
        query: dict[str, Any] = {"state": True} | ({} if position is None else {"position": position})
        memory = await self._http.get(path_of(model, "/memory"), MemoryObject, params=query)
        return memory.value(model.tenant)

    async def restore(self, model: ModelId, position: int | None, operation: str) -> Interaction:
        turn = await self._http.call(
            "POST",
            path_of(model, "/memory"),
            InteractionObject,
            repeats=True,
            json={"position": position},
            headers=key_header(operation),
        )
        return turn.value(model)

    async def known(
        self, model: ModelId, questions: Sequence[str], *, sure_min: float = SURE_MIN, wait: bool = False
    ) -> Known:
        query = {"question": list(questions), "sure_min": sure_min, "wait": wait}
        return (await self._http.get(path_of(model, "/memory/known"), KnownObject, params=query)).value(
            model.tenant
        )


class HttpSuites:
    """Implements ``Suites`` over HTTP."""

    def __init__(self, transport: HttpTransport) -> None:
        self._http = transport

    async def show(self, model: ModelId) -> Suite:
        return (await self._http.get(path_of(model, "/suite"), SuiteObject)).value()

    async def keep(self, model: ModelId, suite: Suite) -> Suite:
        body = {"questions": [object_of(question) for question in suite]}
        path = path_of(model, "/suite")
        return (await self._http.call("PUT", path, SuiteObject, repeats=True, json=body)).value()

    async def remove(self, model: ModelId) -> None:
        await self._http.call("DELETE", path_of(model, "/suite"), DeletedSuiteObject, repeats=True)


class HttpForgetting:
    """Implements ``Forgetting`` over HTTP."""

    def __init__(self, transport: HttpTransport) -> None:
        self._http = transport

    async def find(self, model: ModelId, words: str) -> Forgotten:
        return await self._asked(model, {"query": words}, {})

    async def forget(
        self, model: ModelId, what: str | Sequence[int], operation: str, *, memory: MemoryAfter = "folded"
    ) -> Forgotten:
        named = {"query": what, "confirm": True} if isinstance(what, str) else {"positions": list(what)}
        return await self._asked(model, {**named, "memory": memory}, key_header(operation))

    async def _asked(
        self, model: ModelId, body: dict[str, Any], headers: dict[str, str | bytes]
    ) -> Forgotten:
        forgotten = await self._http.call(
            "POST", path_of(model, "/forget"), ForgottenObject, repeats=True, json=body, headers=headers
        )
        return forgotten.value(model.tenant)
