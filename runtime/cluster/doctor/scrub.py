"""Says what is damaged of a store, after reading all of it."""

from collections.abc import Collection, Iterator, Sequence

from populace.cluster.doctor.checks import Check
from populace.settings.settings import Settings
from populace.storage.header import HEADER_FILE
from populace.storage.journal.opening import open_bucket
from populace.storage.journal.scrub import Damage, Report, mend_adapters, scrub_journal_adapters, scrub_store
from populace.storage.records.errors import MasterKeyRefused, StorageError
from populace.storage.store import Store

NAMED_MAX = 5
"""How many damaged parts a line names."""
TOLD_CHARACTERS_MAX = 300

RESTORED = "`populace restore` into another directory, from its journal or a backup: see docs/backup.md"
MENDED = f"`populace doctor --deep --mend` takes them from where they are whole; else {RESTORED}"


def check_whole(
    settings: Settings, report: Report = lambda _, __: None, *, mends: bool = False
) -> Iterator[Check]:
    """Read every row and adapter of the store, and the adapters of its journal.

    With ``mends``, an adapter that is damaged in one of the two is replaced by that of the other.
    """
    if not (settings.data / HEADER_FILE).exists():
        yield Check("shards", "ok", f"there is no store in {settings.data}")
        return
    try:
        store = Store.open(settings.data, master_key=settings.master_key)
        found = scrub_store(store, report)
    except MasterKeyRefused:
        detail = f"what is in {settings.data} cannot be read without the master key"
        yield Check("shards", "warn", detail, "say where it is with POPULACE_MASTER_KEY")
        return
    except StorageError as error:
        yield Check("shards", "fail", str(error), RESTORED)
        return
    pages = "" if found.walked else "; their pages are not looked at while it is served"
    detail = f"all {found.rows:,} rows of {store.shards} shards can be read{pages}"
    yield _told("shards", detail, found.shards, f"the people of the other shards are served; {RESTORED}")
    detail = f"all of {found.models:,} are whole"
    yield _told("people", detail, found.people, f"the others are served; {RESTORED}")
    here = [*found.damaged_adapters, *(Damage(one, "it is absent, and in use") for one in found.lacking)]
    detail = f"all of {found.adapters:,} are what was stored"
    if settings.journal is None:
        yield _told("adapters", detail, here, RESTORED)
        return
    name = "adapters of the journal"
    try:
        bucket = open_bucket(settings.journal)
        there = scrub_journal_adapters(bucket, store, report)
        digests = [one.what for one in here], [one.what for one in there]
        mended = mend_adapters(bucket, store, here=digests[0], there=digests[1]) if mends else []
    except StorageError as error:
        yield _told("adapters", detail, here, RESTORED)
        yield Check(name, "fail", str(error), "see the variables of its provider, and docs/backup.md")
        return
    yield _told("adapters", detail, here, MENDED, mended)
    yield _told(name, "all can be read", there, MENDED, mended)


def _told(
    name: str, whole: str, damaged: Sequence[Damage], remedy: str, mended: Collection[str] = ()
) -> Check:
    left = [found for found in damaged if found.what not in mended]
    if not left:
        return Check(name, "ok", f"{len(damaged):,} were damaged, and are mended" if damaged else whole)
    told = "; ".join(f"{found.what}: {found.why}"[:TOLD_CHARACTERS_MAX] for found in left[:NAMED_MAX])
    more = f"; and {len(left) - NAMED_MAX:,} more" if left[NAMED_MAX:] else ""
    return Check(name, "fail", f"{len(left):,} damaged: {told}{more}", remedy)
