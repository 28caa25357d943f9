"""An aggregator over a running population: its hosts, its engines and the store's adapters."""

from pathlib import Path

from populace.actors.aggregation.aggregator import Aggregator, ProbeSet
from populace.actors.engine import AdapterRef, Engine
from populace.actors.hosts import Hosts
from populace.policies.diversity.probes import DIGEST, LABELS
from populace.settings.clock import SystemClock
from populace.storage.revisions import RevisionFiles
from populace.storage.store import Store


def aggregator_over(
    hosts: Hosts, engine: Engine, data_directory: Path, revisions: RevisionFiles | None = None
) -> Aggregator:
    """Make the aggregator of this process; use it on the event loop of ``engine``.

    ``revisions`` None are the adapters of the store in ``data_directory``.
    """
    revisions = revisions or Store.adapters(data_directory)
    return Aggregator(
        hosts,
        engine,
        lambda digest: AdapterRef(digest, str(revisions.path(digest))),
        probes=ProbeSet(DIGEST, LABELS),
        clock=SystemClock(),
    )
