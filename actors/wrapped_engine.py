"""An engine in front of another one, for those that do something more with each reply."""

from populace.actors.engine import AdapterRef, BaseInfo, Engine


class WrappedEngine:
    """All of an ``Engine`` but ``generate``, which its subclasses have: the inner one's."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @property
    def base(self) -> BaseInfo:
        return self._engine.base

    async def prepare(self, adapter: AdapterRef, replaces: AdapterRef | None = None) -> None:
        await self._engine.prepare(adapter, replaces)

    async def forget(self, adapter: AdapterRef) -> None:
        await self._engine.forget(adapter)
