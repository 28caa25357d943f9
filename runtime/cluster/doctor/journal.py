"""Checks a store's journal: its object store, and whether another machine could go on from what is there."""

import time
from collections.abc import Sequence

from populace.cluster.doctor.checks import Check
from populace.settings.settings import Settings
from populace.storage.header import HEADER_FILE
from populace.storage.journal.bucket import CHECK_REQUESTS, Bucket, check_bucket
from populace.storage.journal.damage import damaged_shards
from populace.storage.journal.description import is_described, read_description
from populace.storage.journal.errors import JournalCopied, JournalDamaged, JournalTakenOver
from populace.storage.journal.former import (
    journaled_shards,
    noted_journal,
    refuse_copy,
    refuse_overtaken,
)
from populace.storage.journal.opening import open_bucket
from populace.storage.records.errors import MasterKeyRefused, StorageError
from populace.storage.store import Store


def check_journal(settings: Settings) -> Check:
    """Check that the journal's object store can hold it, and that no other machine went on with the store."""
    name = "journal"
    if settings.journal is None:
        try:
            noted = noted_journal(settings.data)
        except StorageError as error:
            return Check(name, "fail", str(error), "see docs/backup.md")
        if noted is not None:
            detail = f"none is set, and the one of {settings.data} is in {noted}"
            return Check(name, "warn", detail, f"POPULACE_JOURNAL={noted}")
        remedy = "set POPULACE_JOURNAL, so that people are not lost with this machine"
        return Check(name, "ok", f"none; {remedy}")
    try:
        bucket = open_bucket(settings.journal)
        began_s = time.monotonic()
        check_bucket(bucket, "doctor")
        seconds = (time.monotonic() - began_s) / CHECK_REQUESTS
        damaged: list[JournalDamaged] = []
        if (settings.data / HEADER_FILE).exists():
            refuse_overtaken(settings.data, bucket)
            store = Store.open(settings.data, master_key=settings.master_key)
            numbers = journaled_shards(settings.data)
            if numbers and store.store_id not in bucket.folders():
                detail = f"{bucket.url} has nothing of the store in {settings.data}"
                return Check(name, "fail", detail, "mount its disk, or set POPULACE_JOURNAL as it was")
            if is_described(bucket, store.store_id):
                refuse_copy(settings.data)
            damaged = _damaged(bucket, store, numbers)
    except (JournalTakenOver, JournalCopied) as error:
        return Check(name, "warn", str(error), "see docs/backup.md")
    except MasterKeyRefused:
        detail = f"what is in {settings.journal} cannot be looked at without the master key"
        return Check(name, "warn", detail, "say where it is with POPULACE_MASTER_KEY")
    except StorageError as error:
        return Check(name, "fail", str(error), "see the variables of its provider, and docs/backup.md")
    if damaged:
        detail = f"{damaged[0]}" + (f" (and {len(damaged) - 1} more)" if damaged[1:] else "")
        remedy = "serve the store, whose disk mends it within ten minutes; see docs/backup.md"
        return Check(name, "fail", detail, remedy)
    return Check(name, "ok", f"{bucket.url}, {settings.journal_mode}, {seconds * 1000:.0f} ms a request")


def _damaged(bucket: Bucket, store: Store, numbers: Sequence[int]) -> list[JournalDamaged]:
    damaged = damaged_shards(bucket, store, numbers)
    try:
        if numbers:
            read_description(bucket, store.store_id)
    except JournalDamaged as error:
        damaged.append(error)
    return damaged
