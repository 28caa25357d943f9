"""The periodic work of a host: try shards, fetch adapters, passivate, check, compact, remove adapters."""

import asyncio
import itertools
import logging
from typing import NoReturn

from populace.actors.host.model_host import ModelHost

logger = logging.getLogger(__name__)

COMPACTION_SWEEPS = 12
"""The host checks itself and compacts once in this many sweeps, also after the disk was too full."""


async def sweep(host: ModelHost, *, seconds: float) -> NoReturn:
    """Sweep every ``seconds`` until cancelled. A sweep that fails is logged, and the next one tries again."""
    adapters: asyncio.Task[None] | None = None
    try:
        for number in itertools.count(1):
            await asyncio.sleep(seconds)
            compacts = number % COMPACTION_SWEEPS == 0
            try:
                await _sweep_once(host, compacts=compacts)
            except Exception:
                logger.exception("a sweep of %s failed", host.name)
            if compacts and (adapters is None or adapters.done()):
                adapters = asyncio.create_task(_sweep_adapters(host))
    finally:
        if adapters is not None:
            adapters.cancel()
    raise AssertionError("the loop has no end")


async def _sweep_once(host: ModelHost, *, compacts: bool) -> None:
    host.open_shards()
    host.fetch_adapters()
    count = host.passivate_idle()
    if count:
        logger.info("Passivated %d idle models", count)
    if not compacts:
        return
    try:
        host.check_integrity()
    except AssertionError:
        # A bug of ours; the other models must stay served.
        logger.exception("the books of %s do not balance", host.name)
    await host.record_time()
    if count := await host.compact_shards():
        logger.info("Compacted %d shards", count)


async def _sweep_adapters(host: ModelHost) -> None:
    """Remove adapters. A node that does not answer takes a minute, for which nothing else may wait."""
    try:
        if count := await host.sweep_adapters():
            logger.info("Removed %d adapters of erased models", count)
    except Exception:
        logger.exception("a sweep of %s failed", host.name)
