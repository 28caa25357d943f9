"""The body of ``POST /v1/fine_tuning/jobs``, and the training options that it means."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from populace.actors.errors import InvalidRequest
from populace.actors.training_options import OPTIONS, TrainingOptions
from populace.api.objects import example
from populace.api.text import encodable
from populace.gateway.http.body import Body, NonEmptyText, Text
from populace.policies.graders import OPERATIONS, SIMILARITIES


def _unless_auto(value: Any) -> Any:
    return None if value == "auto" else value


Auto = BeforeValidator(_unless_auto, json_schema_input_type=float | Literal["auto"] | None)
"""Takes ``auto`` for None, which is the default of the training option."""

Epochs = Annotated[int | None, Field(ge=1, le=10_000), Auto]
Batch = Annotated[int | None, Field(ge=1, le=1024), Auto]
Multiplier = Annotated[float | None, Field(gt=0, le=1000), Auto]
Beta = Annotated[float | None, Field(ge=1e-3, le=100), Auto]
Fixed = Annotated[None, Auto]

LEARNING_RATE: float = OPTIONS["learning_rate"].default
"""The rate that ``learning_rate_multiplier`` multiplies."""

REPLY_TOKENS = 256
"""The longest reply that is graded; OpenAI's jobs have no such parameter."""

Template = Annotated[str, Field(max_length=10_000), AfterValidator(encodable)]
"""A text of a grader, which is filled for each line and each reply."""

METADATA_MAX = 16
REPLIES_MAX = 64


class Hyperparameters(Body):
    """Those of supervised learning; ``auto`` is the default of ``TrainingOptions``."""

    n_epochs: Epochs = None
    batch_size: Batch = None
    learning_rate_multiplier: Multiplier = None

    def options(self) -> dict[str, Any]:
        """Return the training options that are set here, by name."""
        told: dict[str, Any] = {}
        if self.n_epochs is not None:
            told["epochs"] = float(self.n_epochs)
        if self.batch_size is not None:
            told["batch"] = self.batch_size
        if self.learning_rate_multiplier is not None:
            told["learning_rate"] = self.learning_rate_multiplier * LEARNING_RATE
        return told


class DpoHyperparameters(Hyperparameters):
    beta: Beta = None

    def options(self) -> dict[str, Any]:
        return super().options() | ({} if self.beta is None else {"beta": float(self.beta)})


class ReinforcementHyperparameters(Hyperparameters):
    """``compute_multiplier`` multiplies the replies to each prompt. What is held out judges at the end."""

    compute_multiplier: Multiplier = None
    eval_interval: Fixed = None
    eval_samples: Fixed = None
    reasoning_effort: Literal["default"] | None = None

    def options(self) -> dict[str, Any]:
        if self.compute_multiplier is None:
            return super().options()
        replies = round(self.compute_multiplier * TrainingOptions(method="rl").replies_each)
        return super().options() | {"replies": min(REPLIES_MAX, max(2, replies))}


class Grader(Body):
    """``string_check`` with an ``operation``, or ``text_similarity`` with an ``evaluation_metric``."""

    type: Literal["string_check", "text_similarity"]
    name: Annotated[str, Field(min_length=1, max_length=256), AfterValidator(encodable)]
    input: Template
    reference: Template
    operation: str | None = None
    evaluation_metric: str | None = None

    def told(self) -> dict[str, str]:
        """Return what ``graded`` needs. Raises ``InvalidRequest`` for what this type has not."""
        field, known = {
            "string_check": ("operation", OPERATIONS),
            "text_similarity": ("evaluation_metric", SIMILARITIES),
        }[self.type]
        where, given = f"method.reinforcement.grader.{field}", getattr(self, field)
        if given not in known:
            raise InvalidRequest(f"A {self.type} here has the {field} {', '.join(known)}.", where)
        other = "evaluation_metric" if field == "operation" else "operation"
        if getattr(self, other) is not None:
            raise InvalidRequest(f"A {self.type} has no `{other}`.", f"method.reinforcement.grader.{other}")
        return {"input": self.input, "reference": self.reference, field: given}


class Supervised(Body):
    hyperparameters: Hyperparameters | None = None


class Dpo(Body):
    hyperparameters: DpoHyperparameters | None = None


class Reinforcement(Body):
    grader: Grader
    hyperparameters: ReinforcementHyperparameters | None = None


MethodType = Literal["supervised", "dpo", "reinforcement"]
METHOD_OF_TYPE: Mapping[str, Literal["sft", "preference", "rl"]] = {
    "supervised": "sft",
    "dpo": "preference",
    "reinforcement": "rl",
}


class MethodBody(Body):
    type: MethodType
    supervised: Supervised | None = None
    dpo: Dpo | None = None
    reinforcement: Reinforcement | None = None


class FineTuningBody(Body):
    """``POST /v1/fine_tuning/jobs``. ``model`` is a person's model, which is trained, or ``base``.

    With ``base`` a new model is made, with ``suffix`` as its name if there is one.
    """

    model_config = example(
        model="ada",
        training_file="file-5f0d7c1a9b3e4d2f8a6c0b1e",
        method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 3}}},
    )

    model: Text
    training_file: NonEmptyText
    validation_file: NonEmptyText | None = None
    method: MethodBody | None = None
    hyperparameters: Hyperparameters | None = None
    suffix: Annotated[str, Field(max_length=64)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    metadata: dict[Annotated[Text, Field(max_length=64)], Annotated[Text, Field(max_length=512)]] | None = (
        None
    )
    integrations: list[dict[str, Any]] | None = None

    @property
    def method_type(self) -> MethodType:
        return "supervised" if self.method is None else self.method.type

    @property
    def grader(self) -> Grader | None:
        reinforcement = None if self.method is None else self.method.reinforcement
        return None if reinforcement is None else reinforcement.grader

    def options(self) -> TrainingOptions:
        """Return the training that is asked for. Raises ``InvalidRequest``."""
        if self.integrations:
            raise InvalidRequest(
                "Nothing is sent to other services: leave `integrations` out.", "integrations"
            )
        if len(self.metadata or {}) > METADATA_MAX:
            raise InvalidRequest(f"`metadata` has at most {METADATA_MAX} entries.", "metadata")
        method = METHOD_OF_TYPE[self.method_type]
        told = self._hyperparameters().options()
        if method == "rl":
            if self.validation_file is not None:
                raise InvalidRequest(
                    "A reinforcement job is judged by one in eight lines of its training file.",
                    "validation_file",
                )
            told |= {"reward": "grader", "reply_tokens": REPLY_TOKENS}
        else:
            told |= {"training_file": self.training_file, "validation_file": self.validation_file}
        return TrainingOptions(method=method, seed=self.seed or 0, **told)

    def _hyperparameters(self) -> Hyperparameters:
        method, kind = self.method, self.method_type
        if method is not None:
            for other in METHOD_OF_TYPE:
                if other != kind and getattr(method, other) is not None:
                    raise InvalidRequest(f"A {kind} job has no `{other}`.", f"method.{other}")
        section = None if method is None else getattr(method, kind)
        if kind == "reinforcement" and section is None:
            raise InvalidRequest("A reinforcement job needs a grader.", "method.reinforcement.grader")
        own = None if section is None else section.hyperparameters
        if self.hyperparameters is not None and (kind != "supervised" or own is not None):
            raise InvalidRequest(f"They belong into `method.{kind}`.", "hyperparameters")
        return own or self.hyperparameters or Hyperparameters()
