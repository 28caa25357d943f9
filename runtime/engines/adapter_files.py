"""The protocol by which an engine opens adapters, and the case that all paths are of this machine."""

import asyncio
from collections.abc import AsyncGenerator, Generator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Protocol

from populace.actors.engine import AdapterRef
from populace.actors.errors import AdapterInvalid


class AdapterFiles(Protocol):
    """Opens adapters on this machine, wherever they come from. Safe from many threads."""

    @property
    def scratch(self) -> Path | None:
        """Where an engine unpacks an adapter for a moment; None is the directory for temporary files."""
        ...

    def opened(self, adapter: AdapterRef) -> AbstractContextManager[Path]:
        """Yield the adapter's file or directory, which may be gone after the block. Blocks.

        Whoever reads it compares it with the digest. Raises ``AdapterInvalid`` if it is nowhere, and
        ``EngineUnavailable`` if it cannot be had now.
        """
        ...


class OwnAdapterFiles:
    """The files at the paths of the adapters."""

    scratch = None

    @contextmanager
    def opened(self, adapter: AdapterRef) -> Generator[Path]:
        path = Path(adapter.path)
        if path.is_absolute() and not path.exists():
            raise AdapterInvalid(f"there is no file {path}")
        yield path


@asynccontextmanager
async def opened_on_thread(files: AdapterFiles, adapter: AdapterRef) -> AsyncGenerator[Path]:
    """Open an adapter on a thread. What a thread opens after its caller was cancelled is closed, too."""
    block, loop = files.opened(adapter), asyncio.get_running_loop()
    opening = asyncio.ensure_future(asyncio.to_thread(block.__enter__))

    def close(opened: "asyncio.Future[Path]") -> None:
        if not opened.cancelled() and opened.exception() is None:
            loop.run_in_executor(None, block.__exit__, None, None, None)

    try:
        yield await asyncio.shield(opening)
    finally:
        opening.add_done_callback(close)
