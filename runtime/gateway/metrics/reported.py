"""Shows in one scrape what all other processes reported for it."""

from collections.abc import Iterator
from typing import NamedTuple

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from populace.actors.engine import EngineReport
from populace.actors.hosts_report import HostsReport
from populace.gateway.metrics.of_engines import engine_families
from populace.gateway.metrics.of_hosts import host_families
from populace.gateway.metrics.vllm_names import vllm_families


class Reports(NamedTuple):
    """What was asked for one scrape. ``engine`` is None if no replica answered in time."""

    hosts: HostsReport
    engine: EngineReport | None


class ReportedStatistics(Collector):
    """Shows the reports that it was given last. What cannot be reached has no samples but ``host_up``."""

    def __init__(self, vllm_base: str | None = None) -> None:
        """With ``vllm_base``, the base's name, the engine's figures are shown under vLLM's names as well."""
        self.reports = Reports(HostsReport(()), None)
        self._vllm_base = vllm_base

    def collect(self) -> Iterator[Metric]:
        yield from host_families(self.reports.hosts)
        engine = self.reports.engine
        if engine is None:
            return
        yield from engine_families(engine)
        if self._vllm_base is not None:
            yield from vllm_families(engine, self._vllm_base)
