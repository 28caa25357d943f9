"""Removes from a journal what no restore needs any more.

Snapshots are kept from the newest one that is older than what may be gone back to, and the segments behind
the first of these. Claims are kept for ever: a former owner that lives on without knowing of a claim writes
its next segment under the claim's number, and must find that taken.
"""

import contextlib
import logging

from populace.storage.journal.errors import JournalDamaged
from populace.storage.journal.segment import number_in
from populace.storage.journal.shard_journal import ShardJournal
from populace.storage.journal.snapshot import read_snapshot

logger = logging.getLogger(__name__)

CLAIM_BYTES_MAX = 1024
"""No claim is larger: the name of its owner is cut. Smaller segments are read to see what they are."""


def collect(journal: ShardJournal, *, kept_from_ms: int) -> int:
    """Remove what a restore to ``kept_from_ms`` or later does not need; return how many objects."""
    snapshots = [(number_in(found.name), found.name) for found in journal.listed("s")]
    if not snapshots:
        return 0
    first = next(
        (
            place
            for place in reversed(range(len(snapshots)))
            if _is_from_before(journal, snapshots[place][0], kept_from_ms)
        ),
        0,
    )
    number, _ = snapshots[first]
    doomed = [name for _, name in snapshots[:first]]
    for found in journal.listed("j"):
        place = number_in(found.name)
        if place >= number:
            break
        with contextlib.suppress(JournalDamaged):  # it may be one
            if found.size > CLAIM_BYTES_MAX or not journal.is_claim(place):
                doomed.append(found.name)
    journal.bucket.remove(doomed)
    journal.remove_former_keys()
    return len(doomed)


def _is_from_before(journal: ShardJournal, number: int, kept_from_ms: int) -> bool:
    try:
        return read_snapshot(journal, number).written_ms <= kept_from_ms
    except JournalDamaged as error:
        logger.warning("a restore cannot begin with it: %s", error)
        return False
