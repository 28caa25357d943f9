"""The ``Engine`` protocol, a language model as actors need it, and the values that cross it.

The engines themselves live in ``runtime/engines``; nothing here imports one. Values are
frozen dataclasses of plain data so that they cross Ray processes cheaply.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol, cast, get_args

from populace.actors.engine_work import EngineWork
from populace.actors.owner import NO_OWNER, Owner
from populace.actors.process_use import ProcessUse
from populace.policies.degeneration import Degeneration
from populace.storage.records.durations import DurationCounts

EngineKind = Literal["vllm", "torch"]
"""The engines that a replica can run; ``start_engine`` starts each of them."""

FinishReason = Literal["stop", "length", Degeneration]
"""Why a reply ended. One that is no more than a loop, or noise, is ended there by the engine."""


def finish_reason_in(text: str) -> FinishReason:
    """Read one that was stored; what a newer version may have written is ``stop``."""
    return cast("FinishReason", text) if text in get_args(FinishReason) else "stop"


class Message(NamedTuple):
    """One chat message. ``role`` is ``system``, ``user`` or ``assistant``."""

    role: str
    content: str


NO_VARIABLES: Mapping[str, Any] = {}
"""A chat template's own variables alone. It must not be changed."""

Prompt = tuple[Message, ...] | str | tuple[int, ...]
"""Chat messages (rendered with the base's chat template), raw text, or token ids."""


class RepetitionDetection(NamedTuple):
    """When a reply ends because it repeats itself: with one pattern of tokens, ``min_count`` times in a row.

    A pattern has ``min_pattern_size`` to ``max_pattern_size`` tokens. Rule and names are vLLM's.
    """

    max_pattern_size: int
    min_count: int
    min_pattern_size: int = 1

    def finds(self, token_ids: Sequence[int]) -> bool:
        """Whether a reply of these tokens ends here."""
        for size in range(self.min_pattern_size, self.max_pattern_size + 1):
            length = size * self.min_count
            if length > len(token_ids):
                return False
            tail = token_ids[-length:]
            if tail[size:] == tail[:-size]:
                return True
        return False


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to sample a reply.

    ``temperature`` 0 is greedy. ``top_k`` 0 means no limit. ``max_tokens`` None means up to the
    end of the context. ``logprobs`` None returns none, 0 only the chosen token's, k also the k
    most likely alternatives. A stop string or token ends the reply and is no part of its text unless
    ``include_stop``. ``repetition_penalty`` counts the prompt too, the other penalties the reply alone.
    ``own_words_penalty`` is like it, and counts the chat's earlier replies and the reply, once there is one.

    ``min_p`` leaves out tokens less likely than this share of the likeliest one. ``logit_bias`` adds to the
    logits of token ids; with ``allowed_token_ids`` no others are chosen; ``bad_words`` are never completed.
    Before ``min_tokens`` nothing ends the reply. With ``ends_degenerate`` a chat's reply ends where it is no
    more than a loop or noise (``policies/degeneration.py``), with ``repetition_detection`` where the same
    tokens have come again, unless it is held to a schema or may call tools: such JSON has to be whole.
    ``prompt_logprobs`` is like ``logprobs``, of the prompt; that or ``returns_prompt`` puts the prompt into
    the first delta.

    With ``response_schema``, the text of a JSON schema, a reply that ends by itself is JSON of that schema;
    with ``response_pattern``, a regular expression, it matches that from beginning to end. Log probabilities
    are those among the tokens that either permits. At most one of the two is given.
    """

    max_tokens: int | None = None
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    logprobs: int | None = None
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    ignore_eos: bool = False
    repetition_penalty: float = 1.0
    own_words_penalty: float = 1.0
    min_p: float = 0.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    allowed_token_ids: tuple[int, ...] = ()
    bad_words: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    min_tokens: int = 0
    include_stop: bool = False
    skip_special_tokens: bool = True
    prompt_logprobs: int | None = None
    returns_prompt: bool = False
    response_schema: str | None = None
    response_pattern: str | None = None
    repetition_detection: RepetitionDetection | None = None
    ends_degenerate: bool = False

    @property
    def wants_prompt(self) -> bool:
        return self.returns_prompt or self.prompt_logprobs is not None

    @property
    def is_held(self) -> bool:
        """Whether the reply is held to a schema or to a pattern."""
        return self.response_schema is not None or self.response_pattern is not None

    @property
    def repetition_that_ends(self) -> RepetitionDetection | None:
        return None if self.is_held else self.repetition_detection


class AdapterRef(NamedTuple):
    """An immutable adapter revision: its digest, which alone is its identity, and its file or directory.

    The path is one of the store's machine. A machine that does not have it finds the adapter by its digest.
    """

    digest: str
    path: str


class MemoryUse(NamedTuple):
    """The memory state that a request reads, and which of its messages write it.

    ``state`` is what an earlier reply's ``Delta.memory`` gave, None the empty state. Messages before
    ``new_from`` were written in earlier turns: they read ``state`` as it is. Those from ``new_from``
    on, and the reply, write; system messages among them do not. None writes nothing. With ``read``
    False nothing that the memory holds changes the reply, but new messages are written all the same.
    A prompt that is no chat counts as one message.
    """

    state: bytes | None = None
    read: bool = True
    new_from: int | None = 0

    def after(self, messages: int) -> "MemoryUse":
        """The same use for a prompt that has this many more messages at its beginning."""
        return self if self.new_from is None else self._replace(new_from=self.new_from + messages)


@dataclass(frozen=True, slots=True)
class GenerateRequest:
    """One reply to generate. ``adapter`` None asks the base model, ``memory`` None no memory.

    ``owner`` says whose request it is, and how urgent.
    ``stream`` False allows the engine to reply with a single delta. With ``reply_ids`` the reply is
    not sampled but replayed, token by token: its memory state is wanted, not its text.
    ``template`` are further variables of the chat template, by name. ``keeps_to`` is the text that the reply
    is drawn towards, token by token, where it has begun to say it: a correction of the person's. It draws
    replies to chats alone, and none that has a form, may call a tool or is replayed.
    """

    request_id: str
    prompt: Prompt
    sampling: Sampling
    adapter: AdapterRef | None = None
    stream: bool = True
    memory: MemoryUse | None = None
    reply_ids: tuple[int, ...] | None = None
    owner: Owner = NO_OWNER
    template: Mapping[str, Any] = field(default_factory=dict[str, Any])
    keeps_to: str = ""


class PromptRead(NamedTuple):
    """A prompt as the engine read it: its token ids, their text, and if asked their log probabilities.

    ``logprobs`` has a row for each token but the first, which follows nothing; ``first`` is the text of that
    one. It is None if no log probabilities were asked for.
    """

    ids: tuple[int, ...]
    text: str
    first: str | None = None
    logprobs: "tuple[TokenLogprob, ...]" = ()


class TokenLogprob(NamedTuple):
    """A chosen token with its natural-log probability and the most likely alternatives."""

    token_id: int
    text: str
    logprob: float
    top: tuple[tuple[int, str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Delta:
    """What one engine step added to a reply.

    ``text`` may be empty while a multi-byte character or a possible stop string is incomplete.
    The last delta, and only it, has a ``finish_reason``. ``prompt_tokens`` is the same in each.
    ``memory`` is in the last one, if the request wrote: the state after all of the reply's tokens but
    the last one, which the model chose and never read. ``choice`` numbers the replies to one prompt, or
    to several in turn. ``prompt`` is in the first one, if it was asked for.
    """

    text: str
    token_ids: tuple[int, ...]
    prompt_tokens: int
    logprobs: tuple[TokenLogprob, ...] = ()
    finish_reason: FinishReason | None = None
    memory: bytes | None = None
    choice: int = 0
    prompt: PromptRead | None = None


def joined(deltas: Sequence[Delta]) -> Delta:
    """Join all deltas of a reply into one; there must be at least one."""
    return Delta(
        text="".join(delta.text for delta in deltas),
        token_ids=tuple(token for delta in deltas for token in delta.token_ids),
        prompt_tokens=deltas[-1].prompt_tokens,
        logprobs=tuple(row for delta in deltas for row in delta.logprobs),
        finish_reason=deltas[-1].finish_reason,
        memory=deltas[-1].memory,
        choice=deltas[-1].choice,
        prompt=deltas[0].prompt,
    )


TEMPERATURE_DEFAULT = 0.2
"""Temperature of a request that does not say it, on a base that recommends none.

At 1.0 a small base, such as the default one, talks nonsense.
"""


OWN_WORDS_PENALTY_DEFAULT = 1.1
"""That of a base that recommends no sampling; measured: docs/front-ends.md."""


class SamplingDefaults(NamedTuple):
    """The fields of ``Sampling`` that a base recommends, for requests that do not say them.

    ``ends_degenerate`` is for chats alone, and not for those that ignore the base's own end of a reply or say
    ``repetition_detection`` themselves; ``own_words_penalty`` is not for those that say
    ``repetition_penalty`` themselves.
    """

    temperature: float = TEMPERATURE_DEFAULT
    top_p: float = 1.0
    top_k: int = 0
    repetition_penalty: float = 1.0
    ends_degenerate: bool = False
    min_p: float = 0.0
    own_words_penalty: float = 1.0

    def own_words(self, given: float | None, repetition_penalty: float | None) -> float:
        """Return the penalty on own words of a request that gives these, None for what it does not say."""
        if given is not None:
            return given
        return self.own_words_penalty if repetition_penalty is None else 1.0


class BaseInfo(NamedTuple):
    """The frozen base model that an engine serves, and the digest of its memory module, if it has one.

    With a ``tool_parser``, vLLM's name of it, the model may choose to call tools.
    """

    name: str
    fingerprint: str
    context_tokens: int
    memory_module: str | None = None
    sampling: SamplingDefaults = SamplingDefaults()
    tool_parser: str | None = None


class TierStatistics(NamedTuple):
    """What a tier of adapters did since it started, and what it holds.

    ``loads`` counts adapters that had to be loaded, which have ``loaded_bytes`` together; ``load`` counts how
    long each took. ``bytes_max`` None: the tier is not bounded by bytes.
    """

    hits: int
    loads: int
    loaded_bytes: int
    evictions: int
    adapters: int
    bytes: int
    bytes_max: int | None
    load: DurationCounts


@dataclass(frozen=True, slots=True)
class EngineStatistics:
    """A snapshot of one engine. ``adapters_hot`` counts adapters that hold an engine slot.

    ``hot`` is the tier that the engine reads, ``warm`` the one in host memory; None if it has no such tier.
    ``work`` is what it computed and ``process`` what its process takes; None in the parts that do not know.
    """

    running: int
    waiting: int
    adapters_hot: int
    adapter_slots: int
    hot: TierStatistics | None = None
    warm: TierStatistics | None = None
    work: EngineWork | None = None
    process: ProcessUse | None = None


class EngineReport(NamedTuple):
    """Statistics by replica number, and how many replicas there should be."""

    replicas: Mapping[int, EngineStatistics]
    wanted: int | None = None


class HeldAdapters(NamedTuple):
    """Digests of the adapters that an engine need not load: ``hot`` in the engine, ``warm`` in host memory.

    Each begins with the adapters that will stay longest. A hot adapter may be among the warm ones too.
    """

    hot: tuple[str, ...]
    warm: tuple[str, ...] = ()


class Engine(Protocol):
    """Generates replies from the base, with or without an adapter and a memory state.

    ``generate`` raises ``PromptTooLong``, ``AdapterInvalid``, ``MemoryStateInvalid`` or ``EngineOverloaded``
    before its first delta, and ``MemoryStateInvalid`` instead of the last one if the reply left a state with
    NaN or infinity. Closing the generator (or cancelling the task that reads it) frees the engine's slot at
    once. Replies of one engine may interleave; each request receives its own deltas in order.
    """

    @property
    def base(self) -> BaseInfo: ...

    async def prepare(self, adapter: AdapterRef, replaces: AdapterRef | None = None) -> None:
        """Check the adapter and load it into memory, so that its first request need not wait for that.

        If the adapter that it ``replaces`` is loaded, it is loaded as well, and the replaced one is the next
        to be evicted. Adapters that requests need come first. Raises ``AdapterInvalid``, ``AdapterMismatch``,
        ``EngineUnavailable`` and ``EngineOverloaded``.
        """
        ...

    async def forget(self, adapter: AdapterRef) -> None:
        """Drop an adapter that will not be asked for again from the engine and from host memory.

        An adapter in use stays until others need its room. Raises ``EngineUnavailable``.
        """
        ...

    def generate(self, request: GenerateRequest) -> AsyncGenerator[Delta, None]: ...


class Embedding(NamedTuple):
    """The mean of a prompt's last hidden states in the base, of length 1, and the prompt's tokens."""

    values: tuple[float, ...]
    tokens: int


class Embedder(Protocol):
    """Embeds prompts by the base, without adapters and memories, so that all embeddings compare."""

    async def embed(self, prompts: Sequence[Prompt], owner: Owner = NO_OWNER) -> list[Embedding]:
        """Return an embedding of each prompt.

        Cancellation ends it in the engine too. Raises ``InvalidRequest``, ``PromptTooLong``,
        ``EngineOverloaded`` and ``EngineUnavailable``.
        """
        ...


class OwnedEngine(Engine, Embedder, Protocol):
    """An engine as seen by its process. It ``has`` what is in memory, is coming there, or a request uses."""

    def statistics(self) -> EngineStatistics: ...

    def held(self) -> HeldAdapters:
        """Return which adapters are loaded, or being loaded, now."""
        ...

    def has(self, digest: str) -> bool: ...

    def check_integrity(self) -> None:
        """Raise ``AssertionError`` if the engine's books do not balance."""
        ...

    async def close(self) -> None:
        """Stop the engine; requests in flight end with ``EngineUnavailable``. Safe to call twice."""
        ...
