"""Profiles the members of the population, each once for each of its revisions."""

import asyncio
import logging
from collections.abc import Callable

from populace.actors.errors import AdapterInvalid
from populace.actors.members import Members, MemberView, Profile
from populace.actors.turn import BASE_REVISION
from populace.learning.profiling import profile_of
from populace.policies.diversity.probes import DIGEST
from populace.storage.records.errors import ModelNotFound
from populace.trainer.loading import LoadedTrainer
from populace.trainer.runs import RunBuilder

logger = logging.getLogger(__name__)

MEMBERS_A_ROUND = 16
"""Members profiled in a round, at a few seconds each on two cores; a new training waits for the round."""


class Profiler:
    """Profiles members without a profile in ``round``; its state may be lost."""

    def __init__(self, members: Members, *, load: Callable[[], LoadedTrainer]) -> None:
        self._members = members
        self._load = load
        self._refused: set[tuple[str, str]] = set()

    async def round(self) -> int:
        """Profile some members; returns how many. Members of another base are skipped."""
        found = await self._members.unprofiled(DIGEST, limit=MEMBERS_A_ROUND)
        due = [member for member in found if (member.base, member.revision) not in self._refused]
        if not due:
            return 0
        runs = (await asyncio.to_thread(self._load)).runs
        done = 0
        for member in due:
            profile = await asyncio.to_thread(self._profile, member, runs)
            if profile is None:
                self._refused.add((member.base, member.revision))
                continue
            try:
                done += await self._members.keep_profile(member.model, profile)
            except ModelNotFound:
                continue
        return done

    def _profile(self, member: MemberView, runs: RunBuilder) -> Profile | None:
        if member.base != runs.base.fingerprint:
            return None
        try:
            adapter = None if member.revision == BASE_REVISION else runs.read(member.revision)
        except AdapterInvalid as error:
            logger.warning("%s is not profiled: %s", member.model, error)
            return None
        return profile_of(runs.base, runs.encoder, adapter, member.revision)
