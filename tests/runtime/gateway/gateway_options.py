"""The options of a gateway in tests, made in one place: a new one is added here and nowhere else."""

from pathlib import Path

from populace.gateway.deployment import GatewayOptions
from populace.hosting.store_node import Home
from populace.storage.adapter_store import AdapterStore
from tests.actors.fakes import BASE


def gateway_options(
    path: Path,
    *,
    hosts: int = 1,
    shards: int = 1,
    rank_max: int = 16,
    master_key: Path | None = None,
    home: Home | None = None,
) -> GatewayOptions:
    """Options of a gateway over the data directory ``path``, which has no base and starts no listener."""
    return GatewayOptions(
        host="127.0.0.1",
        port=1,
        hosts=hosts,
        shards=shards,
        base=BASE,
        turn_seconds_max=1.0,
        body_bytes_max=1,
        archive_bytes_max=1,
        file_bytes_max=1,
        tenant_file_bytes_max=1,
        destination=AdapterStore(path, path / "no-base", BASE.fingerprint, rank_max),
        master_key=master_key,
        cluster_key="",
        recognises_tasks=False,
        home=home,
    )
