"""The learning methods, as hosts, clients and the command line need them: without torch.

A method has its loss in ``runtime/learning/methods``, an entry here, and the maker of its data in
``runtime/trainer/datasets.py``.
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple

Method = Literal["sft", "preference", "thumbs", "distillation", "rl"]


class Recipe(NamedTuple):
    """What a method learns from, and the training options that it has and some other method has not.

    ``replies`` is the default number of replies that it samples for each prompt; a method with 0 samples
    none and needs no engine. With ``from_tasks`` it learns from tasks that come with the job, whose replies
    a reward scores, and not from the log.
    """

    options: frozenset[str] = frozenset()
    replies: int = 0
    from_tasks: bool = False


FILES = ("training_file", "validation_file")

METHODS: Mapping[str, Recipe] = {
    "sft": Recipe(frozenset({"unjudged", "contributors", *FILES})),
    "preference": Recipe(frozenset({"beta", *FILES})),
    "thumbs": Recipe(),
    "distillation": Recipe(frozenset({"replies", "reply_tokens", "retrieve"}), replies=4),
    "rl": Recipe(frozenset({"replies", "reply_tokens", "reward"}), replies=8, from_tasks=True),
}

SAMPLING_METHODS = frozenset(method for method, recipe in METHODS.items() if recipe.replies)
"""Methods whose replies are kept with the training, so that it can be replayed."""

TASK_METHODS = frozenset(method for method, recipe in METHODS.items() if recipe.from_tasks)
