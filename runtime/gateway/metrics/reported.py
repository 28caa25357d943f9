"""Shows in one scrape what all other processes reported for it."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from populace.actors.engine import EngineReport, EngineStatistics
from populace.actors.hosts_report import HostsReport
from populace.actors.process_use import ProcessUse
from populace.gateway.metrics.families import Labels
from populace.gateway.metrics.of_engines import engine_families
from populace.gateway.metrics.of_gateways import GatewaysReport, gateway_families
from populace.gateway.metrics.of_hosts import host_families
from populace.gateway.metrics.of_processes import ServedFacts, fact_families, process_families
from populace.gateway.metrics.of_training import training_families
from populace.gateway.metrics.vllm_names import vllm_families


class Reports(NamedTuple):
    """What was asked for one scrape. ``engine`` is None if no replica answered in time.

    ``trainer`` is what its process takes, None if that is not known.
    """

    hosts: HostsReport
    engine: EngineReport | None
    gateways: GatewaysReport = GatewaysReport((), {})
    trainer: ProcessUse | None = None


class ReportedStatistics(Collector):
    """Shows the reports that it was given last. What cannot be reached has no samples but ``host_up``."""

    def __init__(self, facts: ServedFacts) -> None:
        self.reports = Reports(HostsReport(()), None)
        self._facts = facts

    def collect(self) -> Iterator[Metric]:
        yield from gateway_families(self.reports.gateways.answers)
        yield from fact_families(self._facts, self.reports.engine, self.reports.gateways.configured)
        yield from host_families(self.reports.hosts)
        yield from training_families(self.reports.hosts)
        yield from process_families(_uses(self.reports))
        engine = self.reports.engine
        if engine is None:
            return
        yield from engine_families(engine)
        if self._facts.vllm_names:
            yield from vllm_families(engine, self._facts.base.name)


def _uses(reports: Reports) -> dict[Labels, ProcessUse | None]:
    replicas: Mapping[int, EngineStatistics] = {} if reports.engine is None else reports.engine.replicas
    return {
        **{("gateway", str(report.number)): report.use for report in reports.gateways.answers},
        **{
            ("host", str(number)): None if answer.statistics is None else answer.statistics.process
            for number, answer in enumerate(reports.hosts.answers)
        },
        **{("replica", str(number)): replica.process for number, replica in replicas.items()},
        ("trainer", "0"): reports.trainer,
    }
