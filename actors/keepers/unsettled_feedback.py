"""Summarises new feedback and turns of each model, to decide on a training or a rollback of its revision."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import partial

from populace.actors.clock import Clock
from populace.actors.feedback import feedback_by_position, judged
from populace.actors.keepers.feedback_keeper import feedback_view
from populace.actors.keepers.owned_shards import OwnedShards
from populace.actors.training import UnsettledFeedback
from populace.actors.training_methods import TASK_METHODS
from populace.actors.turn import ModelId
from populace.policies.asked_again import TURNS_MAX, asked_again, logged_turn, newly_due
from populace.policies.consolidation import BUDGET_SECONDS, Standing
from populace.policies.evaluation_gate import Judged
from populace.policies.hold_out import is_held_out
from populace.policies.lessons import Judgement
from populace.storage.records import keys
from populace.storage.records.errors import StorageError
from populace.storage.records.records import InteractionRecord, JobRecord, RevisionRecord
from populace.storage.records.transaction import ReadTransaction
from populace.storage.rows import feedback, jobs, ledger
from populace.storage.rows.ledger import FIRST_ALIAS, StoredModel

COUNTS_KEPT = 1024
"""A model that stays unsettled is looked at again and again; what its log asks for is counted once."""

AskedCounts = OrderedDict[tuple[bytes, int, int], int]
"""What is newly asked for again, by the chain of the log, the cursor, and how much feedback there is."""


class UnsettledFeedbackReader:
    """Reads one host's unsettled feedback. Remembers where it stopped, so that all models get a turn."""

    def __init__(self, shards: OwnedShards, *, clock: Clock) -> None:
        self._shards = shards
        self._clock = clock
        self._next_shard = 0
        self._after: bytes | None = None
        self._counts: AskedCounts = OrderedDict()

    async def read(self, limit: int) -> tuple[UnsettledFeedback, ...]:
        """See ``TrainingJobs.unsettled``. Works on a thread.

        It reads all feedback of each model that it returns, and the newest part of its log if there is much
        in it that is not learned.
        """
        found: list[UnsettledFeedback] = []
        now_ms = self._clock.epoch_ms()
        for _ in self._shards.numbers:
            if len(found) == limit:
                break
            number = self._shards.numbers[self._next_shard]
            read = partial(
                _read_page,
                after=self._after,
                limit=limit - len(found),
                now_ms=now_ms,
                counts=self._counts,
            )
            try:
                page, self._after = await self._shards.read_on_thread(number, read)
                found += page
            except StorageError:
                self._after = None  # the shard is lost or being checked, and has the same feedback afterwards
            if self._after is not None:
                break
            self._next_shard = (self._next_shard + 1) % len(self._shards.numbers)
        return tuple(found)


def _read_page(
    txn: ReadTransaction, after: bytes | None, limit: int, now_ms: int, counts: AskedCounts
) -> tuple[list[UnsettledFeedback], bytes | None]:
    """Return up to ``limit`` models after the row ``after``, and the last row read, None at the end."""
    found: list[UnsettledFeedback] = []
    before = after
    for row, tenant, name in jobs.walk_unsettled(txn, after):
        if len(found) == limit:
            return found, before
        before = row
        if jobs.open_number(txn, tenant, name) is None:
            stored = ledger.read_model(txn, tenant, name)
            assert stored is not None, "feedback is on a model's replies"
            found.append(_unsettled(txn, ModelId(tenant, name), stored, now_ms, counts))
    return found, None


def _unsettled(
    txn: ReadTransaction, model: ModelId, stored: StoredModel, now_ms: int, asked: AskedCounts
) -> UnsettledFeedback:
    head = stored.head
    given = [feedback_view(model, record) for record in feedback.walk_feedback(txn, *model)]
    all_judged = {position: judged(said) for position, said in feedback_by_position(given).items()}
    judgements = {position: judgement for position, judgement in all_judged.items() if judgement.is_judged}
    corrected = {position for position, said in judgements.items() if said.correction is not None}
    known = list(jobs.walk_jobs(txn, *model))
    standing = Standing(
        position=head.log_position,
        untrained=head.log_position - head.cursor,
        judged=sum(at >= head.cursor and (at in corrected or not is_held_out(at)) for at in judgements),
        corrected=sum(at >= head.cursor for at in corrected),
        held_out=sum(is_held_out(at) and at not in corrected for at in judgements),
        idle_seconds=(now_ms - _last_ms(txn, model, head.log_position)) / 1000,
        tokens_spent=sum(job.tokens for job in known if job.created_ms > now_ms - BUDGET_SECONDS * 1000),
        failed_at=_failed_at(txn, model, known, stored),
        asked_again=_asked_again(txn, model, stored, all_judged, len(given), asked),
    )
    serving = _trained(txn, model, stored.aliases.get(FIRST_ALIAS))
    counts = _liked_by_revision(txn, model, judgements)
    return UnsettledFeedback(
        model,
        standing,
        None if serving is None else serving.digest,
        _of_parent(txn, model, serving, counts),
        Judged(0, 0) if serving is None else counts.get(serving.digest, Judged(0, 0)),
        len(given),
    )


def _asked_again(
    txn: ReadTransaction,
    model: ModelId,
    stored: StoredModel,
    judgements: dict[int, Judgement],
    given: int,
    counts: AskedCounts,
) -> int:
    """Count what the log asks for again and again since the cursor; 0 if few turns came since."""
    head = stored.head
    if head.log_position - head.cursor < jobs.TURNS_A_LOOK:
        return 0
    key = (head.chain, head.cursor, given)
    if key not in counts:
        start = max(head.log_start, head.log_position - TURNS_MAX)
        records = ledger.read_log(txn, *model, start=start, limit=TURNS_MAX)
        unjudged = Judgement()
        turns = [
            logged_turn(
                record.position,
                record.messages,
                judgements.get(record.position, unjudged),
                record.retrieved,
            )
            for record in records
        ]
        counts[key] = newly_due(asked_again([turn for turn in turns if turn is not None]), head.cursor)
        while len(counts) > COUNTS_KEPT:
            counts.popitem(last=False)
    return counts[key]


def _last_ms(txn: ReadTransaction, model: ModelId, position: int) -> int:
    data = txn.get(keys.interaction(*model, position - 1))
    assert data is not None, "the newest interactions are always kept"
    return InteractionRecord.unpack(data).created_ms


def _failed_at(
    txn: ReadTransaction, model: ModelId, known: Sequence[JobRecord], stored: StoredModel
) -> int | None:
    """The log position at the newest training on it, if the result of that training is not served."""
    on_the_log = [job for job in known if job.log_range is None or job.log_range[0] < job.log_range[1]]
    newest = on_the_log[-1] if on_the_log else None
    if newest is None or newest.log_range is None:
        return None
    serving = _trained(txn, model, stored.aliases.get(FIRST_ALIAS))
    # A later training on rewards continues from it.
    while serving is not None and serving.digest != newest.candidate and serving.method in TASK_METHODS:
        serving = _trained(txn, model, serving.parent)
    serves = serving is not None and newest.state == "promoted" and serving.digest == newest.candidate
    return None if serves else newest.log_range[1]


def _trained(txn: ReadTransaction, model: ModelId, digest: str | None) -> RevisionRecord | None:
    if digest is None:
        return None
    record = ledger.read_revision(txn, *model, digest)
    return record if record.log_range is not None else None


def _of_parent(
    txn: ReadTransaction, model: ModelId, serving: RevisionRecord | None, counts: Mapping[str, Judged]
) -> Judged:
    """How what the served revision replaced was liked: its parent, or all that answered before the first.

    That is the base, or revisions of the model's community.
    """
    if serving is not None and serving.parent is not None:
        return counts.get(serving.parent, Judged(0, 0))
    own = {revision.digest for revision in ledger.list_revisions(txn, *model)}
    others = [judged for revision, judged in counts.items() if revision not in own]
    return Judged(sum(one.good for one in others), sum(one.bad for one in others))


def _liked_by_revision(
    txn: ReadTransaction, model: ModelId, judgements: dict[int, Judgement]
) -> dict[str, Judged]:
    """How many replies of each revision were liked, and how many were not, by digest or ``base``.

    A corrected reply without a like counts as not liked.
    """
    counts: dict[str, Judged] = {}
    for position, judgement in judgements.items():
        data = txn.get(keys.interaction(*model, position))
        assert data is not None, "feedback is on an interaction that is kept"
        liked = (
            judgement.liked
            if judgement.liked is not None
            else (False if judgement.correction is not None else None)
        )
        if liked is None:
            continue
        revision = InteractionRecord.unpack(data).revision
        good, bad = counts.get(revision, Judged(0, 0))
        counts[revision] = Judged(good + liked, bad + (not liked))
    return counts
