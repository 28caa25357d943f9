# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# Ray's API is partly untyped.
"""Asks the trainer, which nothing else calls while it works, what its process takes."""

import asyncio
from typing import Any

import ray
from ray.exceptions import RayError

from populace.actors.process_use import ProcessUse
from populace.hosting.messages import NAMESPACE
from populace.trainer.actor import TRAINER

ANSWER_SECONDS_MAX = 1.0
"""How long it may take: it gets only the processor time that is left, and may have none for a while."""


class RayTrainerProbe:
    """Implements ``TrainerProbe`` over the trainer's actor."""

    def __init__(self) -> None:
        self._handle: Any = None

    async def use(self) -> ProcessUse | None:
        """Return what the trainer's process takes; None without a trainer, or without an answer in time."""
        try:
            if self._handle is None:
                self._handle = ray.get_actor(TRAINER, namespace=NAMESPACE)
            async with asyncio.timeout(ANSWER_SECONDS_MAX):
                return await self._handle.process_use.remote()
        except (RayError, ValueError, TimeoutError):
            return None
