"""The store's files as one process of a node needs them: base, memory module and adapters."""

from collections.abc import Iterable
from pathlib import Path

from populace.node_files.adapters import NodeAdapters
from populace.node_files.base import node_base
from populace.node_files.fetching import Fetching
from populace.node_files.memory_module import node_memory_module
from populace.node_files.ray_hosts import StoreHosts
from populace.settings.settings import Settings
from populace.storage import warm_files
from populace.storage.warm_files import WarmFiles, warm_root


class NodeFiles:
    """The files of this node, and what it lacks of the hosts'. All methods block.

    Its cache, and where it keeps adapters in memory, are this node's own settings: paths of another machine
    mean nothing here. Raises ``SettingsError`` and ``ConfigFileInvalid`` if they cannot be read.
    """

    def __init__(self, hosts: StoreHosts) -> None:
        settings = Settings.from_environment()
        self._fetching = Fetching(hosts.connect())
        self._cache = settings.cache
        self.warm_directory = settings.warm_directory
        # Also removes what killed processes left in this node's memory.
        self.adapters = NodeAdapters(self._fetching, WarmFiles(warm_root(self.warm_directory)))

    def base(self, name: str, fingerprint: str, directory: Path) -> Path:
        """Return where the base is on this node; see ``node_base``."""
        return node_base(name, fingerprint, directory, self._cache, self._fetching)

    def memory_module(self, digest: str, base: str, path: Path) -> Path:
        """Return where the memory module is on this node; see ``node_memory_module``."""
        return node_memory_module(digest, base, path, self._cache, self._fetching)

    def close(self) -> None:
        self.adapters.close()


def erase_here(digests: Iterable[str]) -> None:
    """Erase adapters from this node's memory, for all of its processes, and what killed ones left there."""
    root = warm_root(Settings.from_environment().warm_directory)
    warm_files.sweep(root)
    for digest in digests:
        warm_files.erase(root, digest)
