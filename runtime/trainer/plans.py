"""Says before a training how much is learned, and by what the candidate will be judged."""

from populace.actors.training import TrainingJob
from populace.learning.corrections import CorrectionsCurriculum
from populace.learning.evaluation import HeldOutReplies
from populace.learning.on_policy.suite_replies import SuiteReplies
from populace.learning.trainer import Learner
from populace.policies.hold_out import EVERY
from populace.trainer.datasets import Dataset, TrainingData

LEARNED = {
    "sft": ("wanted reply", "wanted replies"),
    "preference": ("corrected reply", "corrected replies"),
    "thumbs": ("judged reply", "judged replies"),
    "distillation": ("question", "questions"),
    "rl": ("task", "tasks"),
}
"""What each method learns from: one of it, and several."""


def learns_of(method: str, dataset: Dataset) -> str:
    """Say what the dataset teaches, and if not all fits: ``12 corrections, and leaves 3 to retrieval``."""
    curriculum = dataset.curriculum
    if not isinstance(curriculum, CorrectionsCurriculum):
        return _counted(curriculum.size, *LEARNED[method])
    asked = 0 if dataset.taught is None else dataset.taught.asked_again
    learned = counted_lessons(curriculum.size, asked)
    if curriculum.liked is not None and curriculum.liked.size:
        learned.append(_counted(curriculum.liked.size, "liked reply", "liked replies"))
    left = 0 if dataset.held is None else dataset.held.left
    return " and ".join(learned) + (f", and leaves {left:,} to retrieval" if left else "")


def plan_of(learns: str, learner: Learner, corrections: int, general: int) -> str:
    """Say what a learner learns and what judges it, in numbers and with no word of the person's.

    ``corrections`` and ``general`` count the corrections, replies to what was asked again among them, and the
    general replies. What there is none of is not named.
    """
    asked = 0 if learner.taught is None else learner.taught.asked_again
    suite = sum(len(judge.suite) for judge in learner.judges if isinstance(judge, SuiteReplies))
    are_replies = isinstance(learner.held_out, HeldOutReplies)
    kind = ("held-out reply", "held-out replies") if are_replies else ("held-out task", "held-out tasks")
    counts = ((learner.held_out.size, *kind), (general, "general reply", "general replies"))
    judges = counted_lessons(corrections, asked) if corrections else []
    judges += [_counted(count, one, several) for count, one, several in counts if count]
    judges += [f"a suite of {_counted(suite, 'question', 'questions')}"] if suite else []
    return f"learns {learns}; judged by {', '.join(judges) or 'nothing'}"


def counted_lessons(size: int, asked_again: int) -> list[str]:
    """Count apart a person's corrections and the replies to what was asked again, which no person gave.

    ``asked_again`` of all ``size`` lessons are the latter. What there is none of is not named.
    """
    counts = (
        (size - asked_again, "correction", "corrections"),
        (asked_again, "reply to what was asked again", "replies to what was asked again"),
    )
    return [_counted(count, one, several) for count, one, several in counts if count]


def too_few_held_out(job: TrainingJob, data: TrainingData, held_out: int, needed: int) -> str:
    """Say why ``held_out`` replies, tasks or people are too few to judge what comes of a job."""
    if data.contributions is not None:
        return (
            f"of the {len(data.contributions.people)} people who agreed {held_out} have liked replies that "
            f"are held out, too few to judge what comes of it: {needed} are needed, and one in {EVERY} "
            "replies is held out"
        )
    what = "judged turns" if job.options.learns_from_log else "lines" if data.examples else "tasks"
    return (
        f"of its {what} {held_out} are held out, too few to judge what comes of it: "
        f"{needed} are needed, and one in {EVERY} is held out, so {needed * EVERY} {what} are enough"
    )


def _counted(count: int, one: str, several: str) -> str:
    return f"{count:,} {one if count == 1 else several}"
