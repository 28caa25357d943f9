"""What is pushed to a collector is what ``/metrics`` shows."""

from importlib import metadata

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from populace.gateway.app import create_app
from populace.gateway.metrics_push import start_metrics_push
from tests.house.test_packaging import run_python
from tests.limits import HANG_SECONDS
from tests.runtime.gateway.population import Population, chat_body
from tests.runtime.gateway.scripted_engine import BASE
from tests.runtime.gateway.test_operations import TwoReplicas
from tests.runtime.telemetry.metrics_push.collector import (
    Samples,
    collector,
    metrics_in,
    resource_in,
    samples_in,
)

NEVER = 1e6
"""Seconds: only the end pushes."""

OF_THE_MOMENT = ("populace_process_", "populace_metrics_pushes", "populace_store_disk_free_bytes")
"""What another moment shows otherwise: the use of process and disk, and the push, counted at its end."""


def shown(text: str) -> Samples:
    """The samples of a page, with bounds of buckets as numbers."""

    def label(name: str, value: str) -> str:
        return str(float(value)) if name == "le" else value

    return {
        (sample.name, frozenset((name, label(name, value)) for name, value in sample.labels.items())): (
            sample.value
        )
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not sample.name.endswith("_created") and not sample.name.startswith(OF_THE_MOMENT)
    }


async def test_a_push_has_every_sample_of_the_page(
    population: Population, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = create_app(
        population.directory,
        population.engine,
        probe_engine=TwoReplicas(),
        probe_hosts=population.survey,
        replicas=2,
        vllm_names=True,
    )
    await population.create("zebedee")
    headers = {"Authorization": f"Bearer {population.keys['acme']}"}
    with collector() as collecting:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collecting.url)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=operators")
        monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
        push = start_metrics_push(app.state.gateway, number=3, seconds=NEVER)
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://p", headers=headers) as client:
            for stream in (False, True, True):
                body = chat_body("quetzal", "zebedee", stream=stream)
                assert (await client.post("/v1/chat/completions", json=body)).status_code == 200
            assert (await client.get("/nowhere")).status_code == 404
            # A scrape is a request too, so the push comes first and counts all but that one.
            await push.close(HANG_SECONDS)
            page = shown((await client.get("/metrics")).text)
        pushed = collecting.received.get(timeout=HANG_SECONDS)

    metrics = metrics_in(pushed)
    genai = {name for name in metrics if name.startswith("gen_ai.")}
    sent = samples_in({name: metric for name, metric in metrics.items() if name not in genai})
    assert {key: v for key, v in sent.items() if not key[0].startswith(OF_THE_MOMENT)} == page
    assert collecting.headers[0]["x-tenant"] == "operators"

    # What the conventions call otherwise is the same, observation by observation.
    assert metrics["gen_ai.server.time_to_first_token"].histogram.data_points[0].count == 2
    assert metrics["gen_ai.server.request.duration"].histogram.data_points[0].count == 3
    usage = metrics["gen_ai.client.token.usage"]
    assert usage.unit == "{token}"
    for point in usage.histogram.data_points:
        labels = {pair.key: pair.value.string_value for pair in point.attributes}
        kind = {"input": "prompt", "output": "completion"}[labels.pop("gen_ai.token.type")]
        assert point.sum == page["populace_tokens_total", frozenset({("gateway", "0"), ("kind", kind)})] > 0
        assert labels == {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "populace",
            "gen_ai.request.model": BASE.name,
            "gen_ai.response.model": BASE.name,
            "populace.gateway": "0",
        }

    resource = resource_in(pushed)
    assert resource["service.name"] == "populace"
    assert resource["service.version"] == metadata.version("populace")
    assert (resource["populace.process"], resource["populace.number"]) == ("gateway", "3")
    assert resource["deployment.environment.name"] == "test"
    # Neither a person's name nor a word of theirs.
    assert not any(word in pushed.SerializeToString() for word in (b"zebedee", b"acme", b"quetzal"))


def test_a_gateway_that_pushes_nothing_imports_no_opentelemetry() -> None:
    program = "import sys, populace.gateway.app, populace.gateway.metrics_push, populace.cluster.serve; "
    program += "print([name for name in sys.modules if name.startswith('opentelemetry')])"

    assert run_python(program).strip() == "[]"
    assert run_python(program.replace("; print", ", populace.telemetry.metrics_push.push; print")) != "[]\n"

    # Ray has the interface of OpenTelemetry for itself; who exports by OTLP is ours alone.
    deployed = "import sys, populace.gateway.deployment; "
    deployed += "print([name for name in sys.modules if name.startswith('opentelemetry.exporter.otlp')])"
    assert run_python(deployed).strip() == "[]"
