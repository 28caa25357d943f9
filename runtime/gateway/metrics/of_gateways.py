"""The families that gateways count themselves, each with the number of the gateway."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from prometheus_client.core import Metric

from populace.actors.process_use import ProcessUse

GATEWAY = "gateway"


class GatewayReport(NamedTuple):
    """What one gateway tells of itself. Without figures it has neither ``families`` nor ``use``."""

    number: int
    address: str
    families: tuple[Metric, ...] = ()
    use: ProcessUse | None = None


class GatewaysReport(NamedTuple):
    """The gateways that answered, and what the others lack by their names."""

    answers: tuple[GatewayReport, ...]
    lacking: dict[str, str]
    configured: int = 1


def gateway_families(reports: Iterable[GatewayReport]) -> Iterator[Metric]:
    """Yield the families of all gateways, each family once, with the samples of all that have it."""
    made: dict[str, Metric] = {}
    for report in reports:
        for family in report.families:
            whole = made.get(family.name)
            if whole is None:
                whole = made[family.name] = Metric(family.name, family.documentation, family.type)
            whole.samples += [
                sample._replace(labels={GATEWAY: str(report.number), **sample.labels})
                for sample in family.samples
            ]
    yield from made.values()
