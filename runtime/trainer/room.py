"""Compares what a job has to teach with what fits into the adapter that it trains.

Only what is learned until it is said takes room in this sense: corrections, and replies to what was asked
again. ``policies/capacity.py`` decides; here it is counted, and a job is changed into one that begins anew.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from populace.actors.hosts import Hosts, Revision
from populace.actors.training import TrainingJob
from populace.adapters.base_modules import BaseModules, LinearShape
from populace.adapters.lora.initial import WITHOUT_OFFSET
from populace.adapters.lora.trainable import TrainableAdapter
from populace.engines.prompts import BaseTokenizer
from populace.learning.methods.objective import TrainSequence
from populace.policies.capacity import AdapterRoom, Held, fitting, told_words
from populace.policies.corrections import Corrected
from populace.trainer.first_adapter import shape_of, shape_of_new

Lesson = tuple[Corrected, TrainSequence]


class FittingLessons(NamedTuple):
    """The lessons that are taught, in their order: corrections, and replies to what was asked again."""

    given: list[Lesson]
    made: list[Lesson]
    held: Held


def room_of(job: TrainingJob, modules: BaseModules, trained: TrainableAdapter | None) -> AdapterRoom:
    """Return the size of the adapter that is trained; None is a new one of the job's shape.

    Layers that the base has not are not counted, and refused where the adapter is made.
    """
    if trained is not None:
        shape = shape_of(trained)
        parameters = sum(parameter.numel() for parameter in trained.parameters())
        return AdapterRoom(shape.rank, parameters, shape.targets)
    shape = shape_of_new(job)
    parameters = sum(shape.rank * sum(sides) for sides in _sides(modules, shape.targets))
    return AdapterRoom(shape.rank, parameters, shape.targets)


def rank_most(modules: BaseModules, targets: Sequence[str], rank_max: int) -> int:
    """Return the largest rank that is served and that each of the target layers can have."""
    return min([rank_max, *(min(sides) for sides in _sides(modules, targets))])


def fitting_lessons(
    tokenizer: BaseTokenizer, given: Sequence[Lesson], made: Sequence[Lesson], room: AdapterRoom
) -> FittingLessons:
    """Leave out what does not fit: what was asked again longest ago, then the corrections given first.

    ``given`` are in the order in which they were given, ``made`` has what was last asked for again first.
    """
    first = [*reversed(given), *made]
    tokens = [held_tokens(tokenizer, corrected) for corrected, _ in first]
    count = fitting(tokens, room.tokens)
    held = Held(sum(tokens[:count]), room.tokens, sum(tokens), len(first) - count)
    kept = min(count, len(given))
    return FittingLessons(list(given[len(given) - kept :]), list(made[: count - kept]), held)


def held_tokens(tokenizer: BaseTokenizer, corrected: Corrected) -> int:
    """Return how many tokens of a wanted reply an adapter has to hold, see ``told_words``."""
    words = told_words(corrected.asked, corrected.wanted)
    return sum(len(tokenizer.text_ids(f" {word}")) for word in words)


def begun_anew(job: TrainingJob, trained: TrainableAdapter | None, rank: int) -> TrainingJob:
    """Return the job with a new adapter of this rank, and else of the shape of what it would have trained.

    Its parent stays what the candidate is judged beside, and what a rollback goes back to.
    """
    shape = shape_of_new(job) if trained is None else shape_of(trained)
    targets = job.options.targets if trained is None else ",".join(shape.targets)
    options = replace(job.options, rank=rank, alpha=shape.alpha, targets=targets, from_base=True)
    return replace(job, options=options)


def may_begin_anew(job: TrainingJob, *, learns_anew: bool) -> bool:
    """Return whether a job may train a new adapter of another rank than it would.

    It may not if a rank was asked for, or if it has to go on from something that it would not learn again.
    """
    options = job.options
    is_free = options.rank is None and options.on is None and options.start in WITHOUT_OFFSET
    goes_on = options.continues or options.rebuilds is not None
    return options.learns_until_said and is_free and not goes_on and (job.parent is None or learns_anew)


async def learns_parents_lessons(hosts: Hosts, job: TrainingJob) -> bool:
    """Return whether the job learns again, from the log, all that its parent and those before it learned."""
    known = {revision.digest: revision for revision in await hosts.list_revisions(job.model)}
    digest = job.parent
    while digest is not None:
        made = known.get(digest)
        if made is None or not _learned_from_this_log(made, job):
            return False
        digest = made.parent
    return True


def _sides(modules: BaseModules, targets: Sequence[str]) -> list[LinearShape]:
    return [sides for name, sides in modules.linears.items() if name.rsplit(".", 1)[-1] in targets]


def _learned_from_this_log(made: Revision, job: TrainingJob) -> bool:
    lineage = made.lineage
    if lineage is None or made.sources or lineage.on is not None or job.log_range is None:
        return False
    (start, stop), (job_start, job_stop) = lineage.log_range, job.log_range
    # What the log has dropped since is in the weights alone.
    return "corrections" in lineage.scores and start == job_start and stop <= job_stop
