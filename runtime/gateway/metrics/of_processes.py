"""The families of what a Populace is and of its processes."""

import platform
from collections.abc import Iterator, Mapping
from importlib import metadata
from typing import NamedTuple

from prometheus_client.core import Metric

from populace.actors.engine import BaseInfo, EngineReport
from populace.actors.process_use import ProcessUse
from populace.gateway.metrics.families import Labels, family

PROCESS = ("process", "number")


class ServedFacts(NamedTuple):
    """What does not change while a gateway serves, for its metrics.

    ``replicas`` is how many of the engine there should be. With ``vllm_names`` their figures are shown under
    vLLM's names too.
    """

    base: BaseInfo
    replicas: int = 1
    vllm_names: bool = False


def fact_families(
    facts: ServedFacts, engine: EngineReport | None = None, gateways: int = 1
) -> Iterator[Metric]:
    """Yield what is the same in every scrape, but what machines that join and leave have."""
    built: Labels = (
        metadata.version("populace"),
        platform.python_version(),
        facts.base.name,
        facts.base.fingerprint,
    )
    text = "Always 1: what is served, and by which release"
    labels = ("version", "python", "base", "fingerprint")
    yield family("gauge", "populace_build_info", text, labels, {built: 1})
    text = "Engine replicas that there should be"
    wanted = facts.replicas if engine is None or engine.wanted is None else engine.wanted
    yield family("gauge", "populace_replicas_configured", text, (), {(): wanted})
    text = "Gateways that there should be"
    yield family("gauge", "populace_gateways_configured", text, (), {(): gateways})


def process_families(uses: Mapping[Labels, ProcessUse | None]) -> Iterator[Metric]:
    """Yield what each process takes, by its kind and number."""
    known = {process: use for process, use in uses.items() if use is not None}
    text = "Processor time that the process has used, in seconds"
    spent: dict[Labels, float | None] = {process: use.cpu_seconds for process, use in known.items()}
    yield family("counter", "populace_process_cpu_seconds", text, PROCESS, spent)
    text = "Memory that the process holds"
    held: dict[Labels, float | None] = {process: use.resident_bytes for process, use in known.items()}
    yield family("gauge", "populace_process_resident_bytes", text, PROCESS, held)
    text = (
        "Spans of traces that the process could not export, as its disk or collector does not take them, "
        "or too many requests are open"
    )
    lost: dict[Labels, float | None] = {process: use.spans_dropped for process, use in known.items()}
    yield family("counter", "populace_telemetry_spans_dropped", text, PROCESS, lost)
