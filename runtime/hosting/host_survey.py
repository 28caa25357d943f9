"""Asks every host how it is, and waits for none of them longer than its own time.

Calls to models wait for a host that restarts. An operator must see the other hosts meanwhile: this is the
moment for which they have metrics.
"""

import asyncio
import logging
from collections.abc import Mapping

from populace.actors.errors import HostUnavailable
from populace.actors.hosts import Hosts, HostStatistics
from populace.actors.hosts_report import HostAnswer, HostsReport
from populace.hosting.directory.directory import HostClient
from populace.hosting.opening_host import CANNOT_OPEN
from populace.policies.placement import shards_of
from populace.storage.records.errors import PopulaceError

logger = logging.getLogger(__name__)

_Answer = tuple[HostStatistics | None, str | None]
"""What a host reports, or why it does not, as far as it says."""

ANSWER_SECONDS_MAX = 1.0
"""How long one host may take. A host that serves answers in a few milliseconds."""


class HostSurvey:
    """Implements ``HostsProbe`` over the clients of all hosts by name, in their order.

    A host that does not answer is not asked again before its call has ended, so that a host that hangs has
    one call of the survey, and not one of each scrape.
    """

    def __init__(
        self,
        clients: Mapping[str, HostClient],
        *,
        shard_count: int,
        seconds_max: float = ANSWER_SECONDS_MAX,
    ) -> None:
        self._clients = dict(clients)
        self._shard_count = shard_count
        self._seconds_max = seconds_max
        self._asked: dict[str, asyncio.Task[_Answer]] = {}

    async def report(self) -> HostsReport:
        """Return what each host answers within ``seconds_max``."""
        asked = {name: self._ask(name, client) for name, client in self._clients.items()}
        done, _ = await asyncio.wait(asked.values(), timeout=self._seconds_max)
        return HostsReport(
            tuple(
                HostAnswer(
                    name,
                    len(shards_of(number, self._shard_count, len(asked))),
                    *(task.result() if task in done else (None, None)),
                )
                for number, (name, task) in enumerate(asked.items())
            )
        )

    def _ask(self, name: str, client: HostClient) -> "asyncio.Task[_Answer]":
        """Return the call that is under way, or a new one: an earlier answer is out of date."""
        task = self._asked.get(name)
        if task is None or task.done():
            task = self._asked[name] = asyncio.create_task(_statistics_of(client))
        return task


async def _statistics_of(client: HostClient) -> _Answer:
    try:
        (statistics,) = await client.call(Hosts.statistics)
    except HostUnavailable as error:
        logger.info("a host did not report: %s", error)
        # Other reasons are of a moment, or have texts that are not for whoever asks for the state.
        return None, error.reason if error.reason.startswith(CANNOT_OPEN) else None
    except PopulaceError as error:
        logger.info("a host did not report: %s", error)
        return None, None
    except Exception:  # also a fault of one host must not take the others out of sight
        logger.exception("a host failed to report")
        return None, None
    return statistics, None
