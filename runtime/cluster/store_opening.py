"""Opens the store that ``populace serve`` serves: its own, a new one, or one to take over from a journal."""

from functools import partial
from pathlib import Path

from populace.cluster.addresses import Report
from populace.settings.errors import SettingsError
from populace.settings.settings import Settings
from populace.settings.sources import variable_of
from populace.storage.header import HEADER_FILE, read_header
from populace.storage.journal.bucket import shown
from populace.storage.journal.description import describe, is_described
from populace.storage.journal.errors import BucketRefused, BucketUnreachable
from populace.storage.journal.former import copied_from, refuse_copy, refuse_former, refuse_overtaken
from populace.storage.journal.joining import join_store, refuse_others
from populace.storage.journal.opening import open_bucket
from populace.storage.journal.options import JournalOptions
from populace.storage.journal.runs import begin_run
from populace.storage.journal.shard_journal import newest_epoch_of_all
from populace.storage.store import Store


def open_store(settings: Settings, report: Report, *, goes_on: bool = False) -> Store:
    """Open the store in the data directory, make one, or take one over from the journal.

    An empty directory does not quietly begin a store beside those that the journal has already, nor does one
    go on that another machine took over from, or that is a copy of one that may be served, unless this
    ``goes_on`` with what serves it. Raises as ``Store.create_or_open``, ``refuse_others``, ``refuse_copy``,
    ``join_store``, ``describe`` and ``refuse_former`` do, and ``SettingsError``.
    """
    if settings.journal is None:
        if settings.take_over is not None:
            raise SettingsError(
                variable_of("take_over"), settings.take_over, "it needs POPULACE_JOURNAL, which has the store"
            )
        store = Store.create_or_open(settings.data, shards=settings.shards, master_key=settings.master_key)
        refuse_former_if_known(settings.data, report)
        return store
    report("Looking at the journal")
    bucket = open_bucket(settings.journal)
    if settings.take_over is not None:
        former = copied_from(settings.data) or "whatever serves it"
        report(f"Taking the store {settings.take_over} over from {former}, which can write no more then")
        store = join_store(
            bucket,
            settings.data,
            store_id=settings.take_over,
            shards=settings.shards,
            master_key=settings.master_key,
        )
    else:
        if not (settings.data / HEADER_FILE).exists():
            refuse_others(bucket, settings.data)
        elif not goes_on and is_described(bucket, read_header(settings.data).store_id):
            # With a journal that has nothing of the store it is not in the way of what it was copied from.
            refuse_copy(settings.data)
        store = Store.create_or_open(settings.data, shards=settings.shards, master_key=settings.master_key)
    describe(bucket, store)
    if settings.take_over is None and not goes_on:
        refuse_overtaken(settings.data, bucket)
    return store


def refuse_former_if_known(path: Path, report: Report) -> None:
    """Raise as ``refuse_former`` does, but for a journal that cannot be asked: that is only reported."""
    try:
        refuse_former(path)
    except (BucketUnreachable, BucketRefused) as error:
        report(f"Whether another machine went on with {path} is not known: {error}")


def served_journal(settings: Settings) -> str | None:
    """Return the journal of the settings as it may be shown."""
    return None if settings.journal is None else shown(settings.journal)


def begun_journal(settings: Settings, store_id: str) -> JournalOptions | None:
    """Begin a run of the store, whose hosts those of former ones cannot fence; return how it is journaled.

    Returns None without a journal. Raises ``BucketUnreachable``, ``BucketRefused`` and ``StoreInvalid``.
    """
    journal = settings.journal_options
    if journal is None:
        return None
    bucket, shards = open_bucket(journal.url), read_header(settings.data).shards
    newest_epoch = partial(newest_epoch_of_all, bucket, store_id, shards)
    return journal._replace(run=begin_run(bucket, store_id, newest_epoch))
