"""The options of hosts without an engine, which make no replies of their own."""

from populace.actors.engine import BaseInfo
from populace.actors.host_limits import HostLimits
from populace.hosting.host_options import HostOptions
from populace.storage.store import Store


def engineless_host(
    store: Store,
    base: BaseInfo,
    *,
    number: int = 0,
    hosts: int = 1,
    limits: HostLimits = HostLimits(),  # noqa: B008 - frozen
) -> HostOptions:
    """Return the options of one of the hosts of a store in a directory of this machine."""
    return HostOptions(
        number=number,
        hosts=hosts,
        shards=store.shards,
        data_directory=str(store.path),
        base=base,
        base_directory="",
        limits=limits,
        has_engine=False,
    )
