"""Training jobs of one host's models: each step is one durable transaction, which may be repeated.

Below what a model trains stays its community's latest revision, or the one that it is on.
Who has no revision of their own trains a personal part on the community's. When the community's revision has
moved, a part that was trained on an earlier one is carried over to it with the next training, whose candidate
has to be better than the new one alone, and than what is served.
"""

import asyncio
import contextlib
import hashlib
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Self, TypeVar

from populace.actors.clock import Clock
from populace.actors.errors import InvalidRequest, TrainingUnavailable
from populace.actors.host_limits import HostLimits
from populace.actors.hosts import ModelView, Revision
from populace.actors.keepers.catalogue import Catalogue, revision_record
from populace.actors.keepers.communities import Communities
from populace.actors.keepers.job_views import job_view, newest_first
from populace.actors.keepers.owned_shards import OwnedShards
from populace.actors.keepers.promotions import Promotions
from populace.actors.keepers.unsettled_feedback import UnsettledFeedbackReader
from populace.actors.reward_tasks import RewardTask, check_enough, pack_tasks, unpack_tasks
from populace.actors.training import (
    EndState,
    JobProgress,
    KeptTraining,
    OpenJob,
    TrainingJob,
    UnsettledFeedback,
)
from populace.actors.training_methods import SAMPLING_METHODS, TASK_METHODS
from populace.actors.training_options import OPTIONS, TrainingOptions
from populace.actors.training_statistics import TrainingStatistics
from populace.actors.turn import ModelId, operation_of
from populace.policies.quoted_words import without_words
from populace.storage.records import erasures
from populace.storage.records.errors import ModelNotFound, RevisionNotFound, StorageError
from populace.storage.records.lower_revision import lower_of
from populace.storage.records.records import JobRecord, RevisionRecord, TasksRecord
from populace.storage.records.transaction import ReadTransaction, WriteTransaction
from populace.storage.rows import feedback, jobs, kept_trainings, ledger
from populace.storage.rows.jobs import ENDED_STATES, walk_open_jobs
from populace.storage.rows.ledger import FIRST_ALIAS, StoredModel
from populace.storage.training.errors import JobEnded, JobNotFound
from populace.storage.training.sessions import new_session_key


class TrainingCounts:
    """The numbers of ``TrainingStatistics`` since this host started. A repeated call counts once."""

    def __init__(self, shards: OwnedShards, *, clock: Clock) -> None:
        self._shards = shards
        self._clock = clock
        self._ended: Counter[str] = Counter()
        self._steps = 0
        self._tokens = 0
        self._stepped_ms: int | None = None
        self._finished_ms: int | None = None

    def progressed(self, before: JobRecord, progress: JobProgress) -> None:
        """Count what was done since the job was as in ``before``; a trainer may begin again with less."""
        steps = max(0, progress.step - before.step)
        self._steps += steps
        self._tokens += max(0, progress.tokens - before.tokens)
        if steps:
            self._stepped_ms = self._clock.epoch_ms()

    async def ended(self, write: Awaitable[JobRecord]) -> JobRecord:
        """Wait for a write that may end a job, and count the end unless an earlier call made it."""
        asked_ms = self._clock.epoch_ms()
        record = await write
        if record.state in ENDED_STATES and record.ended_ms is not None and record.ended_ms >= asked_ms:
            self.note(record.state)
        return record

    def note(self, state: str) -> None:
        """Count an end in this state."""
        self._ended[state] += 1
        self._finished_ms = self._clock.epoch_ms()

    async def statistics(self) -> TrainingStatistics:
        """Return the counts, and the open jobs; those of a shard that does not serve now are left out."""
        open_jobs: Counter[str] = Counter()
        for number in self._shards.numbers:
            with contextlib.suppress(StorageError):
                open_jobs.update(await self._shards.read_on_thread(number, _open_states))
        return TrainingStatistics(
            open=dict(open_jobs),
            ended=dict(self._ended),
            steps=self._steps,
            tokens=self._tokens,
            stepped_ms=self._stepped_ms,
            finished_ms=self._finished_ms,
        )


def _open_states(txn: ReadTransaction) -> list[str]:
    return [record.state for *_, record in walk_open_jobs(txn)]


@dataclass(frozen=True, slots=True)
class LowerRevision:
    """The community's ``latest`` revision, None without one, and all revisions that it ever had."""

    latest: str | None = None
    of_community: frozenset[str] = frozenset()

    @classmethod
    def of(cls, communities: Communities, stored: StoredModel) -> Self:
        """Look up the community of a model. Not to be called within a write, as it may read another shard."""
        latest = communities.latest_of(stored)
        if latest is None:
            return cls()
        return cls(latest, communities.revisions(stored.identity.tenant))

    def chosen(self, txn: ReadTransaction, stored: StoredModel, asked: TrainingOptions) -> TrainingOptions:
        """Return the options with the revision that the model is to be trained on, if they name none."""
        if asked.on is not None or asked.from_base or asked.rebuilds is not None:
            return asked
        served = stored.aliases.get(FIRST_ALIAS)
        if served is None:
            return replace(asked, on=self.latest)
        made = ledger.read_revision(txn, stored.identity.tenant, stored.identity.name, served)
        lower = lower_of(made.hyper_parameters)
        return replace(asked, on=self.latest if lower in self.of_community else lower)


T = TypeVar("T")

DROPPED = (
    " any more, nor are its replies: the budget of kept trainings, POPULACE_KEPT_TRAINING_BYTES_MAX, "
    "has dropped them"
)

UNTIL_SAID = "share_kept"
"""The score of every revision that learned what it was taught until it said it."""


class JobKeeper:
    """Serves ``TrainingJobs`` for the models of one host."""

    def __init__(
        self,
        shards: OwnedShards,
        catalogue: Catalogue,
        promotions: Promotions,
        *,
        clock: Clock,
        limits: HostLimits,
        communities: Communities,
        on_moved: Callable[[ModelId, StoredModel], None],
        view: Callable[[StoredModel], ModelView],
    ) -> None:
        """``on_moved`` is called with a model whose aliases have moved; ``view`` is how callers see a model.

        ``communities`` learn from those who agreed to it, and their revisions are what others train on.
        """
        self._shards = shards
        self._catalogue = catalogue
        self._promotions = promotions
        self._clock = clock
        self._limits = limits
        self._communities = communities
        self._on_moved = on_moved
        self._view = view
        self._unsettled = UnsettledFeedbackReader(shards, clock=clock)
        self.counts = TrainingCounts(shards, clock=clock)

    async def ask(
        self,
        model: ModelId,
        options: TrainingOptions,
        key: str | None = None,
        tasks: Sequence[RewardTask] = (),
        note: str = "",
    ) -> TrainingJob:
        options.check(rank_max=self._limits.rank_max, rewards=self._limits.rewards)
        if bool(tasks) != (options.method in TASK_METHODS):
            raise InvalidRequest(f"Only {' and '.join(TASK_METHODS)} has `tasks`, and needs them.", "tasks")
        if tasks:
            check_enough(len(tasks))
        rewarded_for = TasksRecord(tasks=pack_tasks(tasks)) if tasks else None
        if options.contributors and model.name != self._communities.name:
            raise InvalidRequest(
                "Only the model that POPULACE_COMMUNITY names learns from those who agreed to it.",
                "contributors",
            )
        if not self._limits.has_trainer:
            raise TrainingUnavailable
        said = json.dumps([asdict(options), rewarded_for and rewarded_for.tasks, note], sort_keys=True)
        if options.rebuilds is not None:
            options = self._options_of(model, options.rebuilds)
        elif options.on is not None and options.on not in self._communities.revisions(model.tenant):
            # Any other in the store may be of someone who did not agree to it, also of another tenant.
            options = replace(options, on=self._catalogue.find_revision(model, options.on).digest)
        record = JobRecord(
            number=0,
            operation=operation_of(key),
            body_hash=hashlib.blake2b(said.encode(), digest_size=32).digest(),
            options=json.dumps(asdict(options), sort_keys=True),
            created_ms=self._clock.epoch_ms(),
            session_key=new_session_key(),
            note=note,
        )

        def ask(txn: WriteTransaction) -> JobRecord:
            return jobs.ask_for_job(txn, *model, record, rewarded_for)

        return job_view(model, await self._write(model, ask))

    async def cancel(self, model: ModelId, number: int | None = None) -> TrainingJob:
        def cancel(txn: WriteTransaction) -> JobRecord:
            head = ledger.read_head(txn, *model)
            open_number = jobs.open_number(txn, *model)
            asked = open_number if number is None else number
            if asked is None:
                raise JobNotFound(model.name, None)
            record = jobs.read_job(txn, *model, asked)
            if record.state in ("promoting", "cancelled"):
                return record
            if asked != open_number:
                raise JobEnded(model.name, asked, record.state)
            # Also for a job that never started: a policy must not ask again for what is not wanted now.
            log_range = record.log_range or (head.log_start, ledger.settled_position(txn, *model))
            ended = self._ended(record, "cancelled", "somebody cancelled it")
            return jobs.change_job(txn, *model, ended.model_copy(update={"log_range": log_range}))

        return job_view(model, await self.counts.ended(self._write(model, cancel)))

    async def of_model(self, model: ModelId) -> tuple[TrainingJob, ...]:
        with self._shards.read(self._catalogue.shard(model)) as txn:
            ledger.read_head(txn, *model)
            found = [job_view(model, record) for record in jobs.walk_jobs(txn, *model)]
        return tuple(reversed(found))

    async def of_tenant(self, tenant: str, *, limit: int = 100) -> tuple[TrainingJob, ...]:
        found: list[TrainingJob] = []
        for number in self._shards.listed:
            found += await self._shards.read_on_thread(
                number,
                lambda txn: [
                    job_view(ModelId(tenant, name), record)
                    for name, record in jobs.walk_jobs_of_tenant(txn, tenant)
                ],
            )
        return newest_first(found)[:limit]

    async def open_jobs(self, *, whole: bool = False) -> tuple[OpenJob, ...]:
        found: list[OpenJob] = []
        for number in self._shards.numbers if whole else self._shards.listed:
            with self._shards.read(number) as txn:
                for tenant, name, record in jobs.walk_open_jobs(txn):
                    found.append(OpenJob(job_view(ModelId(tenant, name), record), record.session_key))
        return tuple(sorted(found, key=lambda opened: (opened.job.created_ms, opened.job.model)))

    async def kept(self) -> tuple[KeptTraining, ...]:
        found: list[KeptTraining] = []
        for number in self._shards.numbers:
            with self._shards.read(number) as txn:
                found += [
                    KeptTraining(ModelId(row.tenant, row.name), row.digest, row.key)
                    for row in kept_trainings.walk_kept(txn)
                ]
        return tuple(found)

    async def let_go(self, kept: KeptTraining) -> None:
        model, revision, key = kept
        await self._write(model, lambda txn: kept_trainings.let_go(txn, *model, revision, key))

    async def unsettled(self, *, limit: int = 256) -> tuple[UnsettledFeedback, ...]:
        return await self._unsettled.read(limit)

    async def settle(self, unsettled: UnsettledFeedback) -> None:
        def settle(txn: WriteTransaction) -> None:
            position = ledger.read_head(txn, *unsettled.model).log_position
            is_marked_anew = position // jobs.TURNS_A_LOOK != unsettled.standing.position // jobs.TURNS_A_LOOK
            given = sum(1 for _ in feedback.walk_feedback(txn, *unsettled.model))
            if given == unsettled.given and not is_marked_anew:
                jobs.settle_feedback(txn, *unsettled.model)

        await self._write(unsettled.model, settle)

    async def start(self, model: ModelId, number: int) -> TrainingJob:
        lower = self._lower(model)

        def start(txn: WriteTransaction) -> JobRecord:
            stored = ledger.read_model(txn, *model)
            record = jobs.read_job(txn, *model, number)
            if stored is None or record.state != "waiting":
                return _open(model, record)
            options = lower.chosen(txn, stored, TrainingOptions(**json.loads(record.options)))
            now_ms = self._clock.epoch_ms()
            changes = {
                "state": "running",
                "options": json.dumps(asdict(options), sort_keys=True),
                "started_ms": now_ms,
                "feedback_until_ms": now_ms,
                "log_range": (stored.head.log_start, ledger.settled_position(txn, *model)),
                "parent": (
                    None if options.from_base or options.contributors else stored.aliases.get(FIRST_ALIAS)
                ),
            }
            if options.rebuilds is None and not options.learns_from_log:
                # It learns nothing from the log, whose unlearned turns stay unsettled, as all feedback does.
                cursor = stored.head.cursor
                changes |= {"log_range": (cursor, cursor), "feedback_until_ms": 0}
            elif options.rebuilds is not None:
                made = ledger.read_revision(txn, *model, options.rebuilds)
                changes |= {"log_range": made.log_range, "feedback_until_ms": made.feedback_until_ms}
                if not options.from_base:
                    # Its replies are replayed, and it is judged beside what it was judged beside before.
                    changes["parent"] = made.parent
            return jobs.change_job(txn, *model, record.model_copy(update=changes))

        return job_view(model, await self._write(model, start))

    def _lower(self, model: ModelId) -> LowerRevision:
        with self._shards.read(self._catalogue.shard(model)) as txn:
            stored = ledger.read_model(txn, *model)
        return LowerRevision() if stored is None else LowerRevision.of(self._communities, stored)

    async def tasks(self, model: ModelId, number: int) -> tuple[RewardTask, ...]:
        with self._shards.read(self._catalogue.shard(model)) as txn:
            return unpack_tasks(jobs.read_tasks(txn, *model, number).tasks)

    async def report(self, model: ModelId, number: int, progress: JobProgress) -> None:
        def report(txn: WriteTransaction) -> JobRecord:
            record = jobs.read_job(txn, *model, number)
            jobs.change_job(txn, *model, record.model_copy(update=progress._asdict()))
            return record

        self.counts.progressed(await self._write(model, report), progress)

    async def end(self, model: ModelId, number: int, state: EndState, reason: str) -> TrainingJob:
        def end(txn: WriteTransaction) -> JobRecord:
            record = jobs.read_job(txn, *model, number)
            if record.state == state:
                return record
            return jobs.change_job(txn, *model, self._ended(record, state, reason))

        return job_view(model, await self.counts.ended(self._write(model, end)))

    async def finish(
        self, model: ModelId, number: int, revision: Revision, progress: JobProgress
    ) -> TrainingJob:
        # Shielded: a trainer that dies meanwhile must not leave what is about to be promoted.
        return await asyncio.shield(self._finish(model, number, revision, progress))

    async def _finish(
        self, model: ModelId, number: int, revision: Revision, progress: JobProgress
    ) -> TrainingJob:
        assert revision.lineage is not None, "what comes of a job was trained"
        objections = revision.lineage.objections
        # Revisions are not sealed; what a person asks in a suite is told by the job, which is.
        plain = replace(
            revision,
            lineage=replace(revision.lineage, objections=tuple(map(without_words, objections))),
        )

        def record_it(txn: WriteTransaction) -> JobRecord:
            record = jobs.read_job(txn, *model, number)
            if record.candidate == revision.digest:
                return record
            reached = {**progress._asdict(), "candidate": revision.digest, "state": "promoting"}
            changed = record.model_copy(update=reached)
            if objections:
                changed = self._ended(changed, "rejected", "; ".join(objections))
            return jobs.record_candidate(txn, *model, changed, revision_record(plain))

        try:
            with self._shards.read(self._catalogue.shard(model)) as txn:
                before = jobs.read_job(txn, *model, number)
            record = await self.counts.ended(self._write(model, record_it))
        except (JobEnded, JobNotFound, ModelNotFound):
            # No model will have it: what it learned from may have been forgotten meanwhile.
            await self._write(model, lambda txn: erasures.give_up(txn, [revision.digest]))
            raise
        self.counts.progressed(before, progress)
        if record.state != "promoting":
            return job_view(model, record)

        async def move() -> StoredModel:
            ended = self._ended(record, "promoted", "")
            return await self._write(model, lambda txn: jobs.promote_candidate(txn, *model, ended))

        self._on_moved(model, await self._promotions.move(model, revision.digest, FIRST_ALIAS, move))
        self.counts.note("promoted")
        return job_view(model, self._ended(record, "promoted", ""))

    async def roll_back(self, model: ModelId, revision: str) -> ModelView:
        with self._shards.read(self._catalogue.shard(model)) as txn:
            parent = ledger.read_revision(txn, *model, revision).parent
            if parent is not None:
                ledger.read_revision(txn, *model, parent)

        async def move() -> StoredModel:
            return await self._write(model, lambda txn: jobs.roll_back(txn, *model, revision))

        moved = await (move() if parent is None else self._promotions.move(model, parent, FIRST_ALIAS, move))
        self._on_moved(model, moved)
        return self._view(moved)

    def _options_of(self, model: ModelId, digest: str) -> TrainingOptions:
        """Return the options with which the revision that the model serves was trained."""
        stored = self._catalogue.load(model)
        if stored.aliases.get(FIRST_ALIAS) != digest:
            raise RevisionNotFound(model.name, digest)
        with self._shards.read(self._catalogue.shard(model)) as txn:
            made = ledger.read_revision(txn, *model, digest)
            is_kept = kept_trainings.is_kept(txn, *model, digest)
            # Sampled replies can be replayed only by the weights that sampled them, which are of one base.
            replays = is_kept and made.base == self._catalogue.base and made.method in SAMPLING_METHODS
            other = None if replays else _not_of_log(txn, model, made)
        if other is not None and _learned_others(other):
            raise InvalidRequest(
                f"The revision {other.digest[:12]} learned from those who had agreed to it then: "
                "train the community again, from those who agree now.",
                "rebuilds",
            )
        if other is not None:
            learned = "learned from a file"
            if not _learned_file(other):
                learned = "was rewarded for tasks, which are not kept"
            if not _learned_file(other) and other is made:
                learned += " for another base" if is_kept else DROPPED
            raise InvalidRequest(
                f"The revision {other.digest[:12]} {learned}, so that {digest[:12]} cannot be made again.",
                "rebuilds",
            )
        if made.log_range is None or made.feedback_until_ms is None:
            raise InvalidRequest(f"The revision {digest[:12]} was not trained here.", "rebuilds")
        if made.log_range[0] < min(made.log_range[1], stored.head.log_start):
            raise InvalidRequest(
                f"The revision {digest[:12]} learned from turns that are not kept any more: "
                f"the log begins at {stored.head.log_start}, and not at {made.log_range[0]}.",
                "rebuilds",
            )
        fields = {name: value for name, value in made.hyper_parameters.items() if name in OPTIONS}
        if UNTIL_SAID in made.scores:
            # Its steps are the most that it might have taken; asked for, they would all be taken.
            fields["steps"] = None
        options = TrainingOptions(**fields)  # type: ignore[arg-type]  # as they were packed
        # What continued another training comes out of as many steps in one.
        return replace(options, from_base=not replays, continues=False, rebuilds=digest)

    def _ended(self, record: JobRecord, state: str, reason: str) -> JobRecord:
        ended = {"state": state, "reason": reason[:1000], "ended_ms": self._clock.epoch_ms()}
        return record.model_copy(update=ended)

    async def _write(self, model: ModelId, operation: Callable[[WriteTransaction], T]) -> T:
        return await self._shards.write(self._catalogue.shard(model), operation)


def _not_of_log(txn: ReadTransaction, model: ModelId, revision: RevisionRecord) -> RevisionRecord | None:
    """Return the newest revision that learned from no log of its own, among this one and its ancestors."""
    while (
        revision.method not in TASK_METHODS and not _learned_file(revision) and not _learned_others(revision)
    ):
        if revision.parent is None:
            return None
        try:
            revision = ledger.read_revision(txn, *model, revision.parent)
        except RevisionNotFound:
            return None
    return revision


def _learned_file(revision: RevisionRecord) -> bool:
    return revision.hyper_parameters.get("training_file") is not None


def _learned_others(revision: RevisionRecord) -> bool:
    return bool(revision.hyper_parameters.get("contributors"))


def _open(model: ModelId, record: JobRecord) -> JobRecord:
    if record.state in jobs.ENDED_STATES:
        raise JobEnded(model.name, record.number, record.state)
    return record
