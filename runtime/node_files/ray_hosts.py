# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# Ray's API is partly untyped.
"""The host actors of a cluster as a node asks them for files."""

import random
from typing import Any, NamedTuple

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError

from populace.node_files.fetching import FileHost, HostAway
from populace.node_files.pieces import SharedFile, Wanted
from populace.storage.records.errors import PopulaceError

LIST_SECONDS_MAX = 600.0
"""How long a list may take: a host reads the whole base for it, and may have to fetch an adapter itself."""

PIECE_SECONDS_MAX = 60.0


class StoreHosts(NamedTuple):
    """The names of the actors that have the files of a population, in this namespace of Ray."""

    namespace: str
    names: tuple[str, ...]

    def connect(self) -> list[FileHost]:
        """Return the hosts, in any order: all nodes together ask all of them alike."""
        names = random.sample(self.names, len(self.names))
        return [_RayFileHost(self.namespace, name) for name in names]


class _RayFileHost:
    """A host actor, looked up by its name when it is first asked, and again when it is gone."""

    def __init__(self, namespace: str, name: str) -> None:
        self._namespace = namespace
        self._name = name
        # Any: Ray's types know an actor's methods only where it is created.
        self._handle: Any = None

    def files(self, wanted: Wanted) -> tuple[SharedFile, ...] | None:
        return self._call("shared_files", LIST_SECONDS_MAX, wanted)

    def piece(self, wanted: Wanted, name: str, offset: int, key: bytes) -> bytes | None:
        return self._call("shared_piece", PIECE_SECONDS_MAX, wanted, name, offset, key)

    def _call(self, method: str, seconds_max: float, *arguments: object) -> Any:
        try:
            if self._handle is None:
                self._handle = ray.get_actor(self._name, namespace=self._namespace)
            answer = getattr(self._handle, method).remote(*arguments)
            # Not ``ray.get``, which warns of blocking an event loop: this is a thread beside one.
            return answer.future().result(timeout=seconds_max)
        except RayTaskError as error:
            cause: object = error.cause
            reason = str(cause) if isinstance(cause, PopulaceError) else type(cause).__name__
            raise HostAway(f"{self._name} cannot read it now: {reason}") from error
        except RayActorError as error:
            self._handle = None
            raise HostAway(f"{self._name} is restarting") from error
        except RayError as error:
            raise HostAway(f"{self._name} cannot be reached ({type(error).__name__})") from error
        except ValueError as error:
            raise HostAway(f"there is no {self._name} in this cluster") from error
        except TimeoutError as error:
            raise HostAway(f"{self._name} did not answer for {seconds_max:g} s") from error


def node_id() -> str:
    """Return Ray's id of the node of this process."""
    return ray.get_runtime_context().get_node_id()
