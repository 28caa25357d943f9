"""How the parts of a directory reach the hosts."""

from collections.abc import Coroutine
from typing import Any, Protocol

from populace.actors.turn import ModelId
from populace.hosting.directory.operations import Method, P, T


class Router(Protocol):
    """The routing of ``Directory``, which every call uses. Results are returned as the hosts return them."""

    def retried(
        self, model: ModelId, method: Method[P, T], *args: P.args, **options: P.kwargs
    ) -> Coroutine[Any, Any, T]: ...

    async def everywhere(self, method: Method[P, T], *args: P.args, **options: P.kwargs) -> list[T]: ...
