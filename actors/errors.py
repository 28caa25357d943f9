"""The errors of the actors floor; ``storage/records/errors.py`` holds the root and the storage branch.

Those of keys, and of what a key may do, are in ``access_errors.py``.

::

    PopulaceError
    ├── InvalidRequest             the caller's input is wrong; says which part
    │   ├── InvalidName            a tenant or model name with forbidden characters
    │   ├── RequestTooLarge        the body is larger than the gateway accepts
    │   ├── PromptTooLong          prompt and reply do not fit the context
    │   ├── AdapterInvalid         not a usable LoRA adapter
    │   │   └── AdapterMismatch    an adapter of another base
    │   ├── MemoryModuleInvalid    not a usable memory module
    │   │   └── MemoryModuleMismatch  a memory module of another base
    │   ├── EpisodesInvalid        not a file of episodes to train on
    │   └── TasksInvalid           not a file of tasks or queries to learn from
    ├── MemoryStateInvalid         a memory state that cannot be used
    │   └── MemoryStateMismatch    a memory state of another memory module
    ├── Refused                    bounded resource is full; retry after ``retry_after_s``
    │   ├── MailboxFull            too many turns wait for this model
    │   ├── HostOverloaded         every active model is busy and the byte budget is spent
    │   └── EngineOverloaded       the engine's queue is full
    ├── ResponseNotFound           no turn of the tenant is this response
    ├── ConversationNotFound       no conversation of the tenant has this id
    ├── TurnExpired                the turn's deadline passed, or it was given up
    ├── HostUnavailable            the host is restarting; retry
    ├── EngineUnavailable          the replica died or is starting; retry
    ├── PopulationTooSmall         fewer models take part than were asked for
    ├── NoMember                   the model takes no part in the population's answers
    ├── TrainingUnavailable        no trainer runs here
    ├── TrainingFailed             training ended without a new revision; the model is as it was
    │   ├── NothingToTrain         there is nothing that it could learn from
    │   ├── TrainingDiverged       a loss or gradient with NaN or infinity
    │   ├── TrainingStopped        it was stopped; it can be resumed from where it is
    │   ├── RewardFailed           a reward function raised, or returned what is no number
    │   └── RolloutsStale          no reply is of the revision that learns
    ├── StartFailed                a part of the population did not start
    └── ClusterNotFound            no running Populace at this address
"""

from populace.storage.records.errors import PopulaceError


class InvalidRequest(PopulaceError):
    """The caller's input is wrong. ``parameter`` names the offending part, if there is one."""

    code = "invalid_request"
    template = "{message}"

    message: str
    parameter: str | None = None


class InvalidName(InvalidRequest):
    """A tenant, model or alias name holds forbidden characters."""

    code = "invalid_name"

    def __init__(self, name: str, rule: str) -> None:
        super().__init__(f"The name {name[:80]!r} is not allowed: {rule}.", "name")
        self._pickled_from(name, rule)


class RequestTooLarge(InvalidRequest):
    """The request body is larger than the gateway accepts."""

    code = "request_too_large"

    def __init__(self, bytes_max: int) -> None:
        super().__init__(f"The request body is larger than {bytes_max} bytes.")
        self._pickled_from(bytes_max)


class PromptTooLong(InvalidRequest):
    """The prompt and the requested reply do not fit the base model's context. Counts are tokens.

    ``prompt`` and ``length`` are the names of the parameters that have the prompt and the reply's length.
    ``at_least``: a long prompt was not counted, and has ``prompt_tokens`` or more.
    """

    code = "context_length_exceeded"

    def __init__(
        self,
        prompt_tokens: int,
        max_tokens: int,
        context_tokens: int,
        prompt: str = "messages",
        length: str = "max_tokens",
        at_least: bool = False,
    ) -> None:
        self.prompt_tokens = prompt_tokens
        self.max_tokens = max_tokens
        self.context_tokens = context_tokens
        self.at_least = at_least
        if self.is_hopeless:
            needs = f"the prompt's among them, but the reply may have {max_tokens}: lower {length}."
        else:
            least = "at least " if at_least else ""
            needs = (
                f"but the request needs {least}{prompt_tokens + max_tokens} ({prompt_tokens} in the prompt, "
                f"{max_tokens} for the reply). Shorten the prompt or lower {length}."
            )
        super().__init__(
            f"This model's context holds {context_tokens} tokens, {needs}",
            length if self.is_hopeless else prompt,
        )
        self._pickled_from(prompt_tokens, max_tokens, context_tokens, prompt, length, at_least)

    @property
    def is_hopeless(self) -> bool:
        """Whether no prompt would leave room for the reply."""
        return self.max_tokens > self.context_tokens

    def named(self, prompt: str, length: str) -> "PromptTooLong":
        """Return the error with other names of the parameters."""
        counts = (self.prompt_tokens, self.max_tokens, self.context_tokens)
        return PromptTooLong(*counts, prompt, length, self.at_least)


class TextTooLong(PromptTooLong):
    """A text that is to be embedded does not fit the base model's context; ``number`` counts from 0."""

    def __init__(self, number: int, tokens: int, context_tokens: int) -> None:
        super().__init__(tokens, 1, context_tokens)
        InvalidRequest.__init__(
            self,
            f"Text {number} has {tokens} tokens or more, and the base reads {context_tokens - 1} of a text. "
            "Divide it.",
            "input",
        )
        self._pickled_from(number, tokens, context_tokens)


class AdapterInvalid(InvalidRequest):
    """The files are not a LoRA adapter that Populace can serve."""

    code = "adapter_invalid"

    def __init__(self, reason: str) -> None:
        super().__init__(f"The adapter cannot be used: {reason}.", "adapter")
        self._pickled_from(reason)
        self.reason = reason


class AdapterMismatch(AdapterInvalid):
    """The adapter was made for another base model."""

    code = "adapter_mismatch"


class MemoryModuleInvalid(InvalidRequest):
    """The file is not a memory module that Populace can serve."""

    code = "memory_module_invalid"

    def __init__(self, reason: str) -> None:
        super().__init__(f"The memory module cannot be used: {reason}.", "memory_module")
        self._pickled_from(reason)
        self.reason = reason


class MemoryModuleMismatch(MemoryModuleInvalid):
    """The memory module was made for another base model."""

    code = "memory_module_mismatch"


class EpisodesInvalid(InvalidRequest):
    """A file of episodes cannot be read, or a line of it is not an episode."""

    code = "episodes_invalid"

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}.", "episodes")
        self._pickled_from(path, reason)


class TasksInvalid(InvalidRequest):
    """A file of tasks or queries cannot be read, or a line of it is not a task or query."""

    code = "tasks_invalid"

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}.", "tasks")
        self._pickled_from(path, reason)


class MemoryStateInvalid(PopulaceError):
    """A memory state is damaged, or holds NaN or infinity. It was not used, and none was stored."""

    code = "memory_state_invalid"
    template = "The memory state cannot be used: {reason}."

    reason: str


class MemoryStateMismatch(MemoryStateInvalid):
    """The memory state was written with another memory module, and perhaps of another base."""

    code = "memory_state_mismatch"


class Refused(PopulaceError):
    """A bounded resource is full. Nothing was started; try again after ``retry_after_s`` seconds.

    ``limit`` is how many requests may wait or run at once, where that is what was reached.
    """

    code = "overloaded"
    template = "{message}"

    message: str
    retry_after_s: float | None = 1.0
    limit: int | None = None


class MailboxFull(Refused):
    """Too many turns wait for this personal model."""

    code = "mailbox_full"


class HostOverloaded(Refused):
    """Every active model of the host is busy and the byte budget is spent."""

    code = "host_overloaded"


class EngineOverloaded(Refused):
    """The engine's request queue is full."""

    code = "engine_overloaded"


class ResponseNotFound(PopulaceError):
    """No turn of the tenant is this response: there was none, it was forgotten, or it left no trace."""

    code = "response_not_found"
    template = "There is no response {response:.200}. One of the base, or with `store: false`, is not kept."

    response: str


class ConversationNotFound(PopulaceError):
    """No conversation of the tenant has this id: it was never created, or it was deleted."""

    code = "conversation_not_found"
    template = "There is no conversation {conversation:.200}."

    conversation: str


class TurnExpired(PopulaceError, retry_after_s=0.0, logged=("reason",)):
    """The deadline passed, or the caller gave it up. An accepted message stays in the log."""

    code = "turn_expired"
    template = "`{model}` did not finish: {reason}. No reply was recorded."

    model: str
    reason: str


class HostUnavailable(PopulaceError, retry_after_s=1.0, logged=("host", "reason")):
    """The host of this model is restarting or unreachable."""

    code = "host_unavailable"
    template = "The host {host} is not available: {reason}. Retry with the same operation id."

    host: str
    reason: str


class EngineUnavailable(PopulaceError, retry_after_s=2.0):
    """The serving replica died or is not ready yet."""

    code = "engine_unavailable"
    template = "The serving engine is not available: {reason}."

    reason: str


class PopulationTooSmall(PopulaceError):
    """More members were asked for than take part."""

    code = "population_too_small"
    template = (
        "{wanted} members are to answer, and {members} take part. A model takes part once its owner "
        "says so: `populace model share NAME`."
    )

    wanted: int
    members: int


class NoMember(PopulaceError):
    """The model takes no part in answers of the population."""

    code = "no_member"
    template = "`{model}` takes no part; its owner can say so: `populace model share {model}`."

    model: str


class TrainingUnavailable(PopulaceError):
    """This Populace runs without a trainer: the job would never be started."""

    code = "training_unavailable"

    def __str__(self) -> str:
        return "This Populace runs without a trainer. Start it with POPULACE_TRAINING=asked, or auto."


class TrainingFailed(PopulaceError):
    """Training ended without a new revision. The model, its revisions and its cursor are as they were."""

    code = "training_failed"
    template = "The training of `{model}` ended without a revision: {reason}."

    model: str
    reason: str


class NothingToTrain(TrainingFailed, logged=("reason",)):
    """There is nothing that this method can learn from: no example, or no reply that teaches."""

    code = "nothing_to_train"


class TrainingDiverged(TrainingFailed, logged=("reason",)):
    """A loss or a gradient was NaN or infinite. ``step`` counts from 0."""

    code = "training_diverged"

    def __init__(self, model: str, step: int, reason: str) -> None:
        super().__init__(model, f"at step {step}, {reason}")
        self._pickled_from(model, step, reason)
        self.step = step


class TrainingStopped(TrainingFailed, logged=("reason",)):
    """Training was stopped before its last step. The session is where it was stopped."""

    code = "training_stopped"


class RewardFailed(TrainingFailed):
    """A reward function raised, or returned something other than a finite number."""

    code = "reward_failed"

    def __init__(self, model: str, reward: str, reason: str) -> None:
        super().__init__(model, f"the reward `{reward}` {reason}")
        self._pickled_from(model, reward, reason)
        self.reward = reward


class RolloutsStale(TrainingFailed):
    """Every sampled reply is of another revision than the one that learns."""

    code = "rollouts_stale"

    def __init__(self, model: str, revision: str, rollouts: int) -> None:
        super().__init__(
            model, f"all {rollouts} replies are of other revisions than {revision}, which learns"
        )
        self._pickled_from(model, revision, rollouts)
        self.revision = revision
        self.rollouts = rollouts


class ClusterNotFound(PopulaceError):
    """No running Populace was found at the address."""

    code = "cluster_not_found"
    template = "No running Populace found at {address}. {hint}"

    address: str
    hint: str


class StartFailed(PopulaceError, logged=("part",)):
    """A part of the population did not become healthy when it was started; ``reason`` is its own error."""

    code = "start_failed"
    template = "{part} did not start: {reason}"

    part: str
    reason: str
