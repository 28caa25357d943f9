"""The options of a training, declared once: hosts check them, and clients offer them to people.

The HTTP body (``runtime/gateway/personal_models/schema.py``) and the command line's flags
(``runtime/cli/training.py``) are made from ``OPTIONS``.
"""

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import Field, dataclass, field, fields
from typing import Any, Literal, NamedTuple, TypeVar, get_args, get_origin

from populace.actors.errors import InvalidRequest
from populace.actors.training_methods import METHODS, TASK_METHODS, Method
from populace.policies.retrieval import RETRIEVED_MAX

T = TypeVar("T")

Start = Literal["uniform", "orthogonal-tail", "olora-tail", "milora", "pissa", "olora"]
STARTS: tuple[Start, ...] = get_args(Start)

STEPS_MAX = 100_000
EPOCHS = 8.0
PARENTS = "the parent's, or"
REPLIES = ", ".join(f"{recipe.replies} for {name}" for name, recipe in METHODS.items() if recipe.replies)


def option(
    default: T, text: str, least: float | None = None, most: float | None = None, unset: str | None = None
) -> T:
    """Declare an option: its help text, the bounds of a number, and the effect of None."""
    about = {"text": text, "least": least, "most": most, "unset": unset}
    return field(default=default, metadata=about)


@dataclass(frozen=True, slots=True)
class TrainingOptions:
    """The options of a training.

    A training that continues from a revision keeps that revision's ``rank``, ``alpha`` and ``targets``. To
    change them, ``from_base`` has to begin a new adapter from the base.

    With ``on`` a personal part of this shape is trained on a lower revision, which stays as it is, and both
    are served as one adapter. Without ``on`` it is the lower revision of the revision that is served, if that
    has one; a personal part is carried over to another. With ``from_base`` a new part begins, and without
    ``on`` that is an adapter of the base alone.

    With ``continues`` it goes on with the parent's training, whose unrounded weights and moments were kept,
    to the bits of one training of all the steps. It fails if these are not kept, and if its data or any
    option but the number of steps differs. The learning rate goes on in the schedule of the first of the
    trainings: it falls over that one's ``schedule_steps`` and is constant then.

    ``distillation`` samples ``replies`` of ``reply_tokens`` each to the logged prompts, and learns to reply
    as the model would with the ``retrieve`` best fitting turns of its log in the prompt.
    With a ``training_file``, which the model's tenant uploaded, sft and preference learn from its lines
    (``actors/example_lines.py``) and not from the log.
    With ``contributors`` sft begins from the base and learns the liked replies of those who agreed to it, and
    not from the model's own log.
    ``rl`` learns from ``replies`` to each of the job's tasks, as the ``reward`` of this name
    judges them, and not from the log.
    """

    method: Method = option("sft", "Training method.")  # noqa: RUF009 - it returns a field
    rank: int | None = option(
        None, "LoRA rank of a new adapter, up to POPULACE_RANK_MAX.", 1, 512, f"{PARENTS} 8"
    )
    alpha: float | None = option(
        None, "LoRA alpha of a new adapter, which is scaled by alpha/√rank.", 1e-6, 1_000_000, f"{PARENTS} 8"
    )
    targets: str | None = option(
        None, "Layers of a new adapter, with commas between: q_proj,v_proj.", unset=f"{PARENTS} all linear"
    )
    start: Start = option(  # noqa: RUF009 - it returns a field
        "uniform",
        "How a new adapter is initialised: at random (uniform), from the smallest singular values of each "
        "layer (orthogonal-tail, olora-tail, milora), from the largest ones (pissa), or from its QR (olora). "
        "All but uniform and orthogonal-tail are served at twice their rank.",
    )
    from_base: bool = option(False, "Train a new adapter from the base instead of the current revision's.")
    on: str | None = option(
        None,
        "Revision that is kept below what is trained, and served with it: an alias or digest of the model's "
        "own, or the whole digest of one of its community's.",
        unset="what the current revision was trained on, or the base",
    )
    epochs: float | None = option(
        None,
        "Passes over the examples.",
        1e-6,
        10_000,
        "8, and for sft as many as it takes until the model says each correction of its log",
    )
    steps: int | None = option(None, "Number of optimiser steps.", 1, STEPS_MAX, "those of the epochs")
    schedule_steps: int | None = option(
        None,
        "Steps over which the learning rate falls, also of a training that is continued later.",
        1,
        STEPS_MAX,
        "the steps",
    )
    continues: bool = option(
        False,
        "Go on with the training of the current revision, with its optimiser and its place in the data, as "
        "if both were one; it needs the same options and data.",
    )
    learning_rate: float = option(5e-4, "Peak learning rate.", 1e-9, 10)
    batch: int = option(8, "Examples in an optimiser step.", 1, 1024)
    seed: int = option(0, "Random seed of the initial weights and the order of examples.", 0, 2**63 - 1)
    unjudged: bool = option(False, "Also learn from replies without feedback, like a person's own writing.")
    contributors: bool = option(
        False, "Learn for everybody, from those of the tenant who agreed to it; only the community does."
    )
    anchor: float = option(
        1.0, "Weight of staying close to the base, or to `on`, on general text; 0 is off.", 0, 1000
    )
    replies: int | None = option(None, "Replies sampled for each question.", 1, 64, REPLIES)
    reply_tokens: int = option(48, "Largest length of a sampled reply in tokens.", 1, 4096)
    retrieve: int = option(3, "Turns of the log in the prompt of the teacher.", 1, RETRIEVED_MAX)
    reward: str | None = option(None, "Name of the reward that scores replies: number, exact, matches, …")
    training_file: str | None = option(
        None, "Id of an uploaded file to learn from.", unset="the model's log and feedback"
    )
    validation_file: str | None = option(
        None,
        "Id of an uploaded file that judges the result.",
        unset="one in eight lines of the training file",
    )
    beta: float = option(0.1, "Weight of staying close to the parent.", 1e-3, 100)
    rebuilds: str | None = option(
        None,
        "Digest of the served revision, which is trained again from the base with the same data and options; "
        "all other options are ignored.",
    )

    @property
    def target_names(self) -> tuple[str, ...]:
        return tuple(name.strip() for name in (self.targets or "").split(","))

    @property
    def learns_from_log(self) -> bool:
        return self.training_file is None and not self.contributors and self.method not in TASK_METHODS

    @property
    def learns_until_said(self) -> bool:
        """Whether corrections are learned until the model says them, and not for a number of steps."""
        return self.method == "sft" and self.learns_from_log and self.steps is None and self.epochs is None

    @property
    def passes(self) -> float:
        """How many times the examples are learned, if ``steps`` does not say it."""
        return EPOCHS if self.epochs is None else self.epochs

    @property
    def replies_each(self) -> int:
        return self.replies or METHODS[self.method].replies

    def check(self, *, rank_max: int | None = None, rewards: Collection[str] | None = None) -> None:
        """Raise ``InvalidRequest`` for values that are out of range or contradict each other.

        ``rank_max`` is the largest rank that is served, and ``rewards`` are the names of all rewards; None if
        that is not known.
        """
        for name, known in OPTIONS.items():
            value = getattr(self, name)
            if known.choices and value not in known.choices:
                raise InvalidRequest(f"There is no {name} {value!r} but {', '.join(known.choices)}.", name)
            least, most = known.least, known.most
            if None not in (value, least, most) and not (math.isfinite(value) and least <= value <= most):
                raise InvalidRequest(f"{name} is from {least} to {most}, not {value}.", name)
            if known.methods and self.method not in known.methods and value != known.default:
                methods = " and ".join(known.methods)
                raise InvalidRequest(f"Only {methods} can have `{name}`, not {self.method}.", name)
        if self.rank is not None and rank_max is not None and self.rank > rank_max:
            raise InvalidRequest(
                f"rank {self.rank} is more than is served, which is {rank_max}: ask for less, or serve with "
                f"POPULACE_RANK_MAX={self.rank}.",
                "rank",
            )
        if self.continues and self.from_base:
            raise InvalidRequest("What begins from the base continues no training.", "continues")
        if self.method in TASK_METHODS and self.reward is None:
            raise InvalidRequest(f"{self.method} needs a `reward`, which scores the replies.", "reward")
        if self.reward is not None and rewards is not None and self.reward not in rewards:
            raise InvalidRequest(
                f"There is no reward named `{self.reward[:80]}`; there are {', '.join(sorted(rewards))}. A "
                "package adds its own with an entry point of the group `populace.rewards`, where the hosts "
                "and the trainer run; restart them after it is installed.",
                "reward",
            )
        if self.contributors and (self.continues or self.unjudged or self.training_file is not None):
            raise InvalidRequest(
                "What is learned for everybody begins from the base, and is liked replies alone.",
                "contributors",
            )
        if self.validation_file is not None and self.training_file is None:
            raise InvalidRequest(
                "A `validation_file` judges what a `training_file` taught.", "validation_file"
            )
        if self.targets is not None and not all(
            re.fullmatch(r"\w{1,64}", name) for name in self.target_names
        ):
            raise InvalidRequest(f"Targets are names with commas between, not {self.targets!r}.", "targets")


def steps_of(size: int, batch: int, epochs: float) -> int:
    """Return the number of steps that ``epochs`` of ``size`` examples take, at least 1.

    Raises ``InvalidRequest`` above ``STEPS_MAX``.
    """
    steps = max(1, math.ceil(size * epochs / batch))
    if steps > STEPS_MAX:
        raise InvalidRequest(
            f"{epochs:g} epochs of {size:,} examples in batches of {batch} are {steps:,} steps, "
            f"and a training has at most {STEPS_MAX:,}.",
            "epochs",
        )
    return steps


class Option(NamedTuple):
    """A field of ``TrainingOptions``. ``methods`` have it, all of them if none is named."""

    type: Any
    default: Any
    choices: Sequence[str]
    methods: Sequence[str]
    text: str
    least: float | None
    most: float | None
    unset: str | None

    @property
    def description(self) -> str:
        choices = f" One of {', '.join(self.choices)}." if self.choices else ""
        bounds = "" if self.least is None else f" From {self.least} to {self.most}."
        methods = f" Only for {' and '.join(self.methods)}." if self.methods else ""
        return self.text + choices + bounds + methods


def _option(declared: Field[Any]) -> Option:
    choices = get_args(declared.type) if get_origin(declared.type) is Literal else ()
    methods = [method for method, recipe in METHODS.items() if declared.name in recipe.options]
    return Option(declared.type, declared.default, choices, methods, **declared.metadata)


OPTIONS: Mapping[str, Option] = {declared.name: _option(declared) for declared in fields(TrainingOptions)}
