"""Health, readiness and metrics: for machines, without a key, and without anybody's name."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from importlib import metadata

import httpx
import pytest
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families

from populace.actors.engine import EngineReport, EngineStatistics, TierStatistics
from populace.actors.errors import EngineUnavailable, HostUnavailable
from populace.actors.hosts_report import HostsReport
from populace.actors.process_use import ProcessUse
from populace.gateway.app import create_app, metrics_app
from populace.gateway.http.context import EngineProbe, HostsProbe, TrainerProbe
from populace.hosting.directory.directory import HostClient, LocalHostClient
from populace.hosting.directory.operations import Method, P, T
from populace.hosting.host_survey import HostSurvey
from populace.storage.records.durations import DurationCounts, Durations
from tests.runtime.gateway.population import SHARDS, Population, chat_body


def samples_of(text: str) -> dict[tuple[str, tuple[str, ...]], float]:
    """Parse the metrics; each series is told apart by its name and label values."""
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def spent(*seconds: float) -> DurationCounts:
    """Counts of durations."""
    durations = Durations()
    for one in seconds:
        durations.add(one)
    return durations.snapshot()


class EngineIsDown:
    """No replica answers."""

    async def check(self) -> None:
        raise EngineUnavailable("no replica")

    async def report(self) -> EngineReport:
        raise EngineUnavailable("no replica")

    def routed(self) -> dict[str, int]:
        return {}


class TwoReplicas:
    """An engine of which each replica has figures of its own."""

    async def check(self) -> None:
        """One of them answers."""

    async def report(self) -> EngineReport:
        def one(number: int) -> EngineStatistics:
            warm = TierStatistics(
                hits=10 + number,
                loads=3,
                loaded_bytes=9,
                evictions=1,
                adapters=2,
                bytes=6,
                bytes_max=8,
                load=spent(0.25, 0.5),
            )
            hot = warm._replace(hits=20 + number, bytes_max=None)
            process = ProcessUse(7.0, 2**30) if number else None
            return EngineStatistics(
                number, waiting=0, adapters_hot=1, adapter_slots=4, hot=hot, warm=warm, process=process
            )

        return EngineReport({0: one(0), 1: one(1)})

    def routed(self) -> dict[str, int]:
        return {"hot": 7, "overflow": 2}


class WorkingTrainer:
    """A trainer whose process answers."""

    async def use(self) -> ProcessUse:
        return ProcessUse(3.0, 5)


class UnreachableHost:
    """A host whose process is gone."""

    async def call(self, method: Method[P, T], *args: P.args, **options: P.kwargs) -> T:
        raise HostUnavailable("host-0", "it restarts")


class LostShards:
    """Hosts that answer, the first ``count`` of which have lost their shards."""

    def __init__(self, survey: HostSurvey, count: int) -> None:
        self._survey = survey
        self._count = count

    async def report(self) -> HostsReport:
        answers = list((await self._survey.report()).answers)
        for number, answer in enumerate(answers[: self._count]):
            assert answer.statistics is not None
            lost = replace(answer.statistics, store=replace(answer.statistics.store, shards_open=0))
            answers[number] = answer._replace(statistics=lost)
        return HostsReport(tuple(answers))


@asynccontextmanager
async def client_over(
    population: Population,
    *,
    engine: EngineProbe | None = None,
    hosts: HostsProbe | None = None,
    trainer: TrainerProbe | None = None,
    replicas: int = 1,
) -> AsyncGenerator[httpx.AsyncClient]:
    """A client of the population's gateway, with probes of its own."""
    app = create_app(
        population.directory,
        population.engine,
        probe_engine=engine or population.engine,
        probe_hosts=hosts or population.survey,
        probe_trainer=trainer,
        replicas=replicas,
    )
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://populace") as client:
        yield client


def survey_without(population: Population, *gone: int) -> HostSurvey:
    """A survey of the population's hosts, of which those of these numbers are gone."""
    clients: dict[str, HostClient] = {
        host.name: UnreachableHost() if number in gone else LocalHostClient(host)
        for number, host in enumerate(population.hosts)
    }
    return HostSurvey(clients, shard_count=SHARDS)


async def test_a_process_that_answers_is_healthy(population: Population) -> None:
    async with population.client(None) as client:
        reply = await client.get("/healthz")

    assert (reply.status_code, reply.json()) == (200, {"status": "ok"})


async def test_a_population_that_answers_is_ready(population: Population) -> None:
    async with population.client(None) as client:
        reply = await client.get("/readyz")

    assert reply.status_code == 200
    assert reply.json() == {
        "status": "ready",
        "hosts": "ok",
        "engine": "ok",
        "degraded": {},
        "unserved_share": 0.0,
        "gateways": {"0": ""},
    }


async def test_readiness_names_the_engine_that_is_down(population: Population) -> None:
    async with client_over(population, engine=EngineIsDown()) as client:
        reply = await client.get("/readyz")

    assert reply.status_code == 503
    assert reply.json() == {
        "status": "not_ready",
        "hosts": "ok",
        "engine": "unavailable",
        "degraded": {},
        "unserved_share": 1.0,
        "gateways": {"0": ""},
    }


async def test_a_population_without_one_of_its_hosts_is_ready_and_says_whom_it_refuses(
    population: Population,
) -> None:
    async with client_over(population, hosts=survey_without(population, 1)) as client:
        reply = await client.get("/readyz")

    assert reply.status_code == 200
    assert reply.json() == {
        "status": "ready",
        "hosts": "degraded",
        "engine": "ok",
        "degraded": {"host-1": "does not answer"},
        "unserved_share": 0.5,
        "gateways": {"0": ""},
    }


async def test_readiness_names_a_host_that_lost_a_shard(population: Population) -> None:
    async with client_over(population, hosts=LostShards(population.survey, 1)) as client:
        reply = await client.get("/readyz")

    assert (reply.status_code, reply.json()["hosts"]) == (200, "degraded")
    assert reply.json()["degraded"] == {"host-0": "serves 0 of 1 shards"}
    assert reply.json()["unserved_share"] == 0.5


async def test_nothing_is_ready_if_no_host_has_a_shard(population: Population) -> None:
    async with client_over(population, hosts=LostShards(population.survey, 2)) as client:
        reply = await client.get("/readyz")

    assert (reply.status_code, reply.json()["hosts"]) == (503, "unavailable")
    assert len(reply.json()["degraded"]) == 2


async def test_readiness_names_a_replica_that_is_missing(population: Population) -> None:
    async with client_over(population, engine=TwoReplicas(), replicas=3) as client:
        reply = await client.get("/readyz")
        samples = samples_of((await client.get("/metrics")).text)

    assert (reply.status_code, reply.json()["engine"]) == (200, "degraded")
    assert reply.json()["degraded"] == {"engine replica 2": "does not answer"}
    assert samples["populace_replicas_configured", ()] == 3


async def test_without_any_host_nothing_is_ready(population: Population) -> None:
    async with client_over(population, hosts=survey_without(population, 0, 1)) as client:
        reply = await client.get("/readyz")

    assert (reply.status_code, reply.json()["status"], reply.json()["hosts"]) == (
        503,
        "not_ready",
        "unavailable",
    )
    assert reply.json()["unserved_share"] == 1.0


async def test_the_metrics_of_a_host_outlive_the_other_one(population: Population) -> None:
    async with client_over(population, hosts=survey_without(population, 0)) as client:
        samples = samples_of((await client.get("/metrics")).text)

    up = {labels: value for (name, labels), value in samples.items() if name == "populace_host_up"}
    assert up == {("host-0",): 0, ("host-1",): 1}
    assert samples["populace_hosts_configured", ()] == 2
    assert samples["populace_unserved_share", ()] == 0.5
    assert samples["populace_store_shards_open", ("host-1",)] == 1
    assert ("populace_store_shards_open", ("host-0",)) not in samples


async def test_metrics_count_answers_tokens_and_turns(client: httpx.AsyncClient) -> None:
    first = await client.post("/v1/chat/completions", json=chat_body())
    await client.post("/v1/chat/completions", json=chat_body(stream=True))
    await client.post("/v1/chat/completions", json=chat_body(model="nobody"))

    reply = await client.get("/metrics")

    samples = samples_of(reply.text)
    assert reply.headers["content-type"].startswith("text/plain; version=")
    assert samples["populace_http_requests_total", ("0", "/v1/chat/completions", "200")] == 2
    assert samples["populace_http_requests_total", ("0", "/v1/chat/completions", "404")] == 1
    assert samples["populace_tokens_total", ("0", "completion")] == 6
    assert samples["populace_tokens_total", ("0", "prompt")] == 2 * first.json()["usage"]["prompt_tokens"]
    assert samples["populace_first_token_seconds_count", ("0",)] == 1
    assert samples["populace_reply_seconds_count", ("0",)] == 2
    turns = [value for (name, _), value in samples.items() if name == "populace_host_turns_total"]
    assert sum(turns) == 2
    assert samples["populace_engine_adapter_slots", ("0",)] == 4


async def test_metrics_show_the_store_of_each_host(client: httpx.AsyncClient, population: Population) -> None:
    samples = samples_of((await client.get("/metrics")).text)

    for statistics in await population.directory.statistics():
        of_host = {
            name.removeprefix("populace_store_"): value
            for (name, labels), value in samples.items()
            if name.startswith("populace_store_") and labels == (statistics.host,)
        }
        expected = {**asdict(statistics.store), "full_maps_total": statistics.store.full_maps}
        for name in ("full_maps", "disk_free_bytes", "commit", "fsync", "backup_finished_ms", "journal"):
            del expected[name]
        assert of_host.pop("commit_seconds_count") == statistics.store.commit.total
        assert of_host.pop("fsync_seconds_count") == statistics.store.fsync.total
        assert of_host.pop("commit_seconds_sum") >= of_host.pop("fsync_seconds_sum")
        assert of_host.pop("disk_free_bytes") > 0
        assert of_host == expected
        assert samples["populace_host_shards", (statistics.host,)] == 1
        assert of_host["file_bytes"] > 0


async def test_metrics_show_each_replica_and_why_requests_went_there(population: Population) -> None:
    async with client_over(population, engine=TwoReplicas()) as client:
        samples = samples_of((await client.get("/metrics")).text)

    shown = {key: value for key, value in samples.items() if key[0].startswith("populace_routed")}
    assert shown == {
        ("populace_routed_requests_total", ("0", "hot")): 7,
        ("populace_routed_requests_total", ("0", "overflow")): 2,
    }
    assert [samples["populace_engine_running", (number,)] for number in "01"] == [0, 1]
    assert [samples["populace_warm_hits_total", (number,)] for number in "01"] == [10, 11]
    assert [samples["populace_hot_hits_total", (number,)] for number in "01"] == [20, 21]
    assert samples["populace_warm_bytes_max", ("0",)] == 8
    assert samples["populace_adapter_load_seconds_sum", ("1", "warm")] == 0.75
    assert ("populace_hot_bytes_max", ("0",)) not in samples


async def test_metrics_say_what_is_served_and_what_its_processes_take(population: Population) -> None:
    async with client_over(population, engine=TwoReplicas(), trainer=WorkingTrainer()) as client:
        samples = samples_of((await client.get("/metrics")).text)

    [built] = [labels for name, labels in samples if name == "populace_build_info"]
    assert {population.engine.base.name, metadata.version("populace")} <= set(built)
    held = {labels: n for (name, labels), n in samples.items() if name == "populace_process_resident_bytes"}
    # The hosts of this population are in the gateway's process, and have none of their own.
    assert held.keys() == {("0", "gateway"), ("1", "replica"), ("0", "trainer")}
    assert held["0", "gateway"] > 2**20
    assert held["0", "trainer"] == 5
    assert samples["populace_process_cpu_seconds_total", ("0", "gateway")] > 0
    assert samples["populace_process_cpu_seconds_total", ("1", "replica")] == 7


async def test_errors_are_counted_by_their_code_also_within_a_stream(
    client: httpx.AsyncClient, population: Population
) -> None:
    def counted(text: str) -> dict[str, float]:
        found = samples_of(text)
        return {labels[0]: n for (name, labels), n in found.items() if name == "populace_errors_total"}

    before = counted((await client.get("/metrics")).text)
    await client.post("/v1/chat/completions", json=chat_body(model="nobody"))
    population.engine.failure, population.engine.fail_before = EngineUnavailable("it died"), 1
    await client.post("/v1/chat/completions", json=chat_body(stream=True))
    after = counted((await client.get("/metrics")).text)

    grown = {code: count - before.get(code, 0) for code, count in after.items()}
    assert {code: count for code, count in grown.items() if count} == {
        "model_not_found": 1,
        "engine_unavailable": 1,
    }


async def test_an_unexpected_failure_is_counted_as_500(
    client: httpx.AsyncClient, population: Population
) -> None:
    population.engine.failure = ZeroDivisionError()
    await client.post("/v1/chat/completions", json=chat_body())

    samples = samples_of((await client.get("/metrics")).text)

    assert samples["populace_http_requests_total", ("0", "/v1/chat/completions", "500")] == 1


async def test_series_stay_bounded_and_name_nobody(client: httpx.AsyncClient, population: Population) -> None:
    async def round_of_requests(name: str) -> set[tuple[str, tuple[str, ...]]]:
        await client.get(f"/random/{name}")
        await client.request("BREW", f"/v1/models/{name}")
        await client.get(f"/v1/models/{name}")
        await client.get(f"/v1/personal-models/{name}")
        await client.post("/v1/chat/completions", json=chat_body(model=name))
        return set(samples_of((await client.get("/metrics")).text))

    await round_of_requests("first")
    before = await round_of_requests("second")

    for number in range(200):
        await round_of_requests(f"model-{number}")

    assert await round_of_requests("last") == before
    text = (await client.get("/metrics")).text
    assert not any(name in text for name in ("acme", "globex", '"ada"', "model-7", "random"))


async def test_what_cannot_be_reached_has_no_samples(population: Population) -> None:
    async with client_over(population, engine=EngineIsDown()) as client:
        reply = await client.get("/metrics")

    names = {name for name, _ in samples_of(reply.text)}
    assert "populace_host_active" in names
    assert "populace_engine_running" not in names


async def test_the_api_describes_itself_without_pages_from_elsewhere(population: Population) -> None:
    async with population.client(None) as client:
        description = await client.get("/openapi.json")
        pages = [await client.get(path) for path in ("/docs", "/redoc")]

    assert {"/v1/chat/completions", "/v1/personal-models/{name}/export"} <= description.json()["paths"].keys()
    assert [page.status_code for page in pages] == [404, 404]


async def test_metrics_with_a_listener_of_their_own_leave_the_public_one(population: Population) -> None:
    public = create_app(
        population.directory,
        population.engine,
        probe_engine=population.engine,
        probe_hosts=population.survey,
        has_metrics=False,
    )

    async def statuses(app: FastAPI) -> list[int]:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://populace") as client:
            paths = ("/metrics", "/readyz", "/v1/models", "/openapi.json")
            return [(await client.get(path)).status_code for path in paths]

    assert await statuses(public) == [404, 200, 401, 200]
    assert await statuses(metrics_app(public)) == [200, 404, 404, 404]
    assert "/metrics" not in public.openapi()["paths"]


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/console"])
async def test_a_monitor_may_ask_for_the_head_alone(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.head(path)).status_code == (await client.get(path)).status_code == 200
