# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# Ray's API is partly untyped.
"""The store of a ``populace serve`` whose own node is not the one that has it, in a Ray that runs already.

Settings that name files are the store's node's: its data directory, master key, cache, base, encoder and
memory module are what the variables of its raylet say, as for a store node that takes over.
"""

import contextlib
import ipaddress
import logging
import os
from collections.abc import Callable
from types import TracebackType
from typing import Any, NamedTuple, Self

import ray

from populace.actors.engine import EngineKind
from populace.actors.errors import StartFailed
from populace.cluster.addresses import http_url
from populace.cluster.nodes import labelled_stores
from populace.cluster.process_environment import cluster_environment
from populace.cluster.ray_answers import answer_of
from populace.cluster.store_side import OwnStore, StoreSide
from populace.hosting.store_node import NODE_ID
from populace.settings.errors import SettingsError
from populace.settings.running import Running
from populace.settings.settings import Settings
from populace.settings.signals import end_with_parent
from populace.storage.header import HEADER_FILE, read_header
from populace.storage.journal.former import claims_of
from populace.storage.journal.options import JournalOptions
from populace.storage.records.errors import PopulaceError

logger = logging.getLogger(__name__)

LOOK_SECONDS_MAX = 120.0
OPEN_SECONDS_MAX = 1800.0
"""The base may have to be fetched or made there."""
CLOSE_SECONDS_MAX = 10.0

FILES = ("data", "cache", "master_key", "warm_directory")
"""Settings that are the store's node's, whatever ``populace serve`` has."""
NAMED_FILES = ("base", "encoder", "memory_module", "host", "port")
"""Settings that are the store's node's if it has them."""


class Place(NamedTuple):
    """A node with the label of the store, and what it has: its directory, and the id of the store there.

    ``claims`` is how new that store's state is beside others of it (``storage/journal/former.py``).
    """

    node: str
    name: str
    address: str
    data: str
    store_id: str | None
    claims: int = 0

    def __str__(self) -> str:
        return f"{self.name} ({self.address})"


def store_place(settings: Settings, report: Callable[[str], None]) -> Place | None:
    """Return the node that has the store, if it is another one than this process's own.

    Of several it is the one that had the shards last, or else this process's own. Without a node that has
    the label it is this process's own, too. Raises ``StartFailed`` if several nodes have the label, and what
    they have is not one store. Needs a connection to Ray.
    """
    own = ray.get_runtime_context().get_node_id()
    nodes = labelled_stores()
    if not nodes:
        report(f"No node has the label populace.store=true, so the store is here, in {settings.data}")
        return None
    if [node["NodeID"] for node in nodes] == [own]:
        return None
    places = [_look(node, settings) for node in nodes]
    having = [place for place in places if place.store_id is not None]
    check_one_store(having, has_journal=settings.journal is not None)
    chosen = min(having or places, key=lambda place: (-place.claims, place.node != own, place.node))
    if chosen.node == own:
        return None
    report(f"The store is on the node {chosen}, in {chosen.data}")
    return chosen


def check_one_store(having: list[Place], *, has_journal: bool) -> None:
    """Raise ``StartFailed`` if nodes have several stores, or copies of one that do not follow a journal."""
    if len(having) < 2 or (has_journal and len({place.store_id for place in having}) == 1):
        return
    found = "; ".join(f"{place} has {place.store_id} in {place.data}" for place in having)
    if len({place.store_id for place in having}) == 1:
        reason = (
            f"several nodes have the label populace.store=true and a copy of the store: {found}. Without "
            "POPULACE_JOURNAL none knows what the others have. Give one of them the label"
        )
    else:
        reason = (
            f"several nodes have the label populace.store=true, with stores of their own: {found}. Give the "
            "label to the nodes of one store, or name an empty directory on the others with POPULACE_DATA"
        )
    raise StartFailed("The store", reason)


class OtherStore:
    """Opens the store on its node, and holds it there until the block ends. Ends with this process."""

    def __init__(self, place: Place, settings: Settings) -> None:
        """Begin a process there, which does nothing yet. Needs a connection to Ray."""
        self.place: str | None = str(place)
        self._node = place.node
        remote: Any = ray.remote(_Keeper)
        self._keeper: Any = remote.options(
            num_cpus=0,
            label_selector={NODE_ID: place.node},
            runtime_env={"env_vars": cluster_environment(settings)},
        ).remote(settings, place.address)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(Exception):
            ray.get(self._keeper.close.remote(), timeout=CLOSE_SECONDS_MAX)
        with contextlib.suppress(Exception):
            ray.kill(self._keeper)

    def open(self, engine: EngineKind) -> StoreSide:
        """Open it, with that node's own paths. Raises as ``OwnStore.open`` does, and ``StartFailed``."""
        side: StoreSide = self._ask("open", engine, seconds_max=OPEN_SECONDS_MAX)
        return side._replace(node=self._node)

    def begin_run(self, store_id: str) -> JournalOptions | None:
        return self._ask("begin_run", store_id)

    def take(self) -> None:
        self._ask("take")

    def note(self, running: Running) -> None:
        """Let command lines on that node find what runs."""
        self._ask("note", running)

    def remove_note(self) -> None:
        """Does nothing if that node is gone by now."""
        with contextlib.suppress(PopulaceError):
            self._ask("remove_note", seconds_max=CLOSE_SECONDS_MAX)

    def _ask(self, method: str, *arguments: object, seconds_max: float = LOOK_SECONDS_MAX) -> Any:
        return _answer(getattr(self._keeper, method).remote(*arguments), seconds_max, str(self.place))


class _Keeper:
    """The process on the store's node."""

    def __init__(self, settings: Settings, address: str) -> None:
        """Raise nothing: a constructor's error would hide which one it is."""
        end_with_parent()
        self._settings = settings
        self._address = address
        self._store: OwnStore | None = None

    def open(self, engine: EngineKind) -> StoreSide:
        own = settings_there(self._settings)
        url = reached_at(own, self._address)
        self._store = OwnStore(own, logger.info)
        return self._store.open(engine)._replace(url=url)

    def begin_run(self, store_id: str) -> JournalOptions | None:
        return self._opened.begin_run(store_id)

    def take(self) -> None:
        self._opened.take()

    def note(self, running: Running) -> None:
        # Command lines look whether the process lives.
        self._opened.note(running._replace(pid=os.getpid()))

    def remove_note(self) -> None:
        self._opened.remove_note()

    def close(self) -> None:
        if self._store is not None:
            self._store.__exit__(None, None, None)

    @property
    def _opened(self) -> OwnStore:
        assert self._store is not None, "it is opened first"
        return self._store


def settings_there(settings: Settings) -> Settings:
    """Return settings with the files of the node of this process. Raises ``SETTINGS_REFUSED``."""
    own = Settings.from_environment()
    changes = {name: getattr(own, name) for name in FILES}
    changes |= {name: getattr(own, name) for name in NAMED_FILES if name in own.model_fields_set}
    return settings.model_copy(update=changes)


def reached_at(settings: Settings, address: str) -> str:
    """Return the URL of a gateway on the node at an address.

    Raises ``SettingsError`` if only programs there would reach it.
    """
    try:
        host = ipaddress.ip_address(settings.host)
    except ValueError:
        return http_url(settings)
    if host.is_loopback:
        raise SettingsError(
            "POPULACE_HOST",
            settings.host,
            f"the gateway runs on the store's node, and only programs there reach it at this address; name "
            f"{address} or 0.0.0.0, here or in the environment of that node's raylet",
        )
    return (
        http_url(settings.model_copy(update={"host": address})) if host.is_unspecified else http_url(settings)
    )


def _look(node: dict[str, Any], settings: Settings) -> Place:
    name = f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"
    remote: Any = ray.remote(_found)
    asked = remote.options(
        num_cpus=0,
        max_retries=0,
        label_selector={NODE_ID: node["NodeID"]},
        runtime_env={"env_vars": cluster_environment(settings)},
    ).remote()
    found = _answer(asked, LOOK_SECONDS_MAX, name)
    return Place(node["NodeID"], node["NodeManagerHostname"], node["NodeManagerAddress"], *found)


def _found() -> tuple[str, str | None, int]:
    """Return the data directory of this node, and the id and the claims of the store there, if any."""
    data = Settings.from_environment().data
    if not (data / HEADER_FILE).exists():
        return str(data), None, 0
    return str(data), read_header(data).store_id, claims_of(data)


def _answer(asked: Any, seconds_max: float, place: str) -> Any:
    def refusal(reason: str) -> StartFailed:
        return StartFailed("The store", f"on the node {place}: {reason}")

    return answer_of(asked, seconds_max, refusal, passes_own=True)
