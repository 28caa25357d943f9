"""The values of one turn, in the order in which they are made.

``TurnRequest`` (what is asked) → ``TurnGrant`` (the model is yours until the deadline) →
``Reply`` (what the engine generated) → ``Interaction`` (what is in the log). All of them are plain
data and cross processes; a grant and a reply together are enough to commit the turn, so a
host that restarted in between can still record it.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from populace.actors.display import brief, table
from populace.actors.engine import AdapterRef, FinishReason, Message, Prompt, Sampling
from populace.actors.errors import InvalidRequest
from populace.actors.memory import BOTH, MemoryChoice, MemoryOutcome, MemoryTrace
from populace.actors.tool_calls import Said, ToolCall, calls_in, wire_message
from populace.policies.retrieval import Exchange, Retrieval
from populace.storage.records.errors import KEY_PREFIX

BASE_REVISION = "base"
"""The name of the revision of a model without an adapter, which replies with the base alone."""

RAW_ROLE = "text"
"""The role of a raw prompt, which the model reads as it is, and of its message in the log."""


FIRST = -1
"""What ``TurnRequest.follows`` is for a turn that follows none, and that others may follow."""


KEY_LENGTH_MAX = 255
"""The most characters of a caller's key."""

AUTO_PREFIX = "auto-"
"""What the operation id of a caller without a key begins with; one of a key begins with ``KEY_PREFIX``."""


class ModelId(NamedTuple):
    """A personal model's identity. The tenant comes from the API key, never from the request."""

    tenant: str
    name: str

    @property
    def owner(self) -> str:
        """The name of the model among those of all tenants; no part of it contains a slash."""
        return f"{self.tenant}/{self.name}"


def operation_of(key: str | None) -> str:
    """Return the operation id of a caller's key; without one a retry counts as another operation.

    Raises ``InvalidRequest`` for a key that is no text, or that a header of HTTP could not carry as it is:
    what takes effect once does so from Python and over HTTP alike.
    """
    if key is None:
        return f"{AUTO_PREFIX}{secrets.token_hex(16)}"
    if not isinstance(key, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidRequest(f"An operation id is a text, not {key!r:.80}.", "operation")
    check_unicode("An operation id", key, "operation")
    has_controls = any((sign < " " and sign != "\t") or sign == "\x7f" for sign in key)
    if not 0 < len(key) <= KEY_LENGTH_MAX or key != key.strip() or has_controls:
        raise InvalidRequest(
            f"An operation id has 1 to {KEY_LENGTH_MAX} characters on one line, without spaces around them.",
            "operation",
        )
    return f"{KEY_PREFIX}{key}"


def traced_operation(operation: str, traceparent: str) -> str:
    """Put a trace into the operation id of a caller without a key, so that the log names it; any other stays.

    That leaves the records of the log as they are.
    """
    return f"{operation}-{traceparent}" if operation.startswith(AUTO_PREFIX) else operation


def trace_of_operation(operation: str) -> str | None:
    """Return the ``traceparent`` that ``traced_operation`` put in, if it did."""
    prefix, _, rest = operation.partition("-")
    traceparent = rest.partition("-")[2]
    return traceparent if f"{prefix}-" == AUTO_PREFIX and traceparent else None


def check_unicode(what: str, text: str, parameter: str) -> None:
    """Raise ``InvalidRequest`` if ``text``, called ``what``, has a lone surrogate: it could not be stored."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidRequest(f"{what} must be valid Unicode: {error.reason}.", parameter) from None


@dataclass(frozen=True, slots=True)
class TurnRequest:
    """Ask for the next turn of a personal model.

    ``operation`` is the caller's idempotency key, ``body_hash`` a digest of everything that
    shapes the reply. ``history_of`` names a conversation whose earlier turns the grant carries;
    None for none. ``retrieval`` says which other turns of the log it carries. The turn ends by itself
    ``turn_seconds_max`` seconds after it was granted.

    ``follows`` is the position of the turn that this one goes on from, whatever was said since, and names the
    conversation itself; ``FIRST`` begins one. None: ``history_of`` says it all.
    """

    model: ModelId
    operation: str
    body_hash: bytes
    alias: str = "latest"
    history_of: str | None = None
    turn_seconds_max: float = 120.0
    retrieval: Retrieval | None = None
    follows: int | None = None


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A whole turn, prompt and sampling included.

    A single message of the role ``text`` is a raw prompt: the model reads it as it is, without the chat
    template and history. ``memory`` says whether the turn reads and writes the model's memory, if the base is
    served with a memory module.

    Of several ``choices``, the one of the number ``kept`` becomes the turn; with None, none does: nothing is
    recorded, nor remembered. ``prompts`` are read as they are, each for itself, instead of messages, of which
    there are none then; none of the replies is kept.

    ``template`` are further variables of the chat template. The log does not keep them, so a turn with any is
    not written into the memory, which has to come from the log alone.

    The first ``instructions`` of the messages are for this turn alone: they come before the history, and no
    later turn has them in its own. ``note`` is JSON that is kept in the log with the turn; the
    values of its ``metadata`` are searched like what was said.

    If the conversation does not fit the context, its oldest exchanges are left out, unless it is to be read
    ``whole``: then the request is refused.
    """

    turn: TurnRequest
    messages: tuple[Message, ...]
    sampling: Sampling
    memory: MemoryChoice = BOTH
    choices: int = 1
    kept: int | None = 0
    prompts: tuple[Prompt, ...] = ()
    template: Mapping[str, Any] = field(default_factory=dict[str, Any])
    instructions: int = 0
    note: str = ""
    whole: bool = False

    @property
    def raw_prompts(self) -> tuple[Prompt, ...]:
        """The prompts of a request that is no chat."""
        if self.prompts or self.messages[0].role != RAW_ROLE:
            return self.prompts
        return (self.messages[0].content,)


@dataclass(frozen=True, slots=True)
class TurnGrant:
    """The right to make the next turn, and what to make it with.

    ``adapter`` None means the model has no revision yet and answers with the base alone;
    ``revision`` is then ``base``. ``position`` is the log position that the turn will get.
    ``history`` holds earlier turns of the conversation, oldest first, each with its reply.
    ``created_ms`` distinguishes the model from a namesake that was created after it was deleted.
    ``memory`` is what the model keeps of its δ-mem, see ``Memory.pack``; None before it kept any.
    ``retrieved`` are the turns of its log that fit the request best, best first; some may be in the history.
    ``correction`` is the turn that corrects the reply, if one applies, else ``telling`` may be the one that
    tells what is asked for.
    ``forgotten`` are the digests of turns that must not come back with the request's own history.
    ``brought`` are the turns that it follows, if others were said in their conversation since: the turn
    begins a conversation of its own, ``history_of``, and has them in its messages, as a chat client would.
    ``goes_on``: the turn is in the log already, accepted by an earlier call and without a reply.
    """

    model: ModelId
    created_ms: int
    operation: str
    body_hash: bytes
    grant_id: str
    position: int
    revision: str
    adapter: AdapterRef | None
    base: str
    memory_version: int
    history: tuple[tuple[Message, ...], ...]
    history_of: str | None
    turn_seconds_max: float
    memory: bytes | None = None
    retrieved: tuple[Exchange, ...] = ()
    forgotten: frozenset[bytes] = frozenset()
    brought: tuple[tuple[Message, ...], ...] = ()
    correction: Exchange | None = None
    telling: Exchange | None = None
    goes_on: bool = False

    @property
    def request(self) -> TurnRequest:
        """The request for this turn again, without the retrieval that the grant carries already."""
        return TurnRequest(
            model=self.model,
            operation=self.operation,
            body_hash=self.body_hash,
            turn_seconds_max=self.turn_seconds_max,
        )


@dataclass(frozen=True, slots=True)
class Reply:
    """A complete reply, ready to be committed; without a ``finish_reason`` a message that has none yet.

    ``messages`` are the request's own; the model saw them after the ``history_turns`` newest turns of the
    grant's history. ``memory`` is the memory after the turn; None: it had none. ``retrieved`` are the
    positions of the retrieved turns that it saw, ``context_digest`` the digest of what it saw of them.
    """

    messages: tuple[Message, ...]
    text: str
    finish_reason: FinishReason | None
    prompt_tokens: int
    completion_tokens: int
    completion_id: str
    history_turns: int = 0
    memory: MemoryOutcome | None = None
    retrieved: tuple[int, ...] = ()
    context_digest: bytes = b""
    instructions: int = 0
    note: str = ""


@dataclass(frozen=True, slots=True)
class Interaction:
    """An acknowledged turn, as recorded in the log. ``replayed`` is true if an earlier call made it.

    One without a reply has an empty ``reply`` and no ``finish_reason``: its message was accepted, and its
    caller left, or the reply failed, or it is still being made.

    ``retrieved`` are the positions of the logged turns that its prompt had besides the conversation.
    ``forgotten``: the turn at this position was forgotten, and nothing of its words is left.
    ``instructions`` and ``note`` are those of ``ChatRequest``.
    """

    model: ModelId
    position: int
    operation: str
    completion_id: str
    messages: tuple[Message, ...]
    reply: str
    finish_reason: FinishReason | None
    prompt_tokens: int
    completion_tokens: int
    revision: str
    base: str
    memory_version: int
    created_ms: int
    conversation: str | None = None
    history_turns: int = 0
    replayed: bool = False
    memory: MemoryTrace | None = None
    retrieved: tuple[int, ...] = ()
    forgotten: bool = False
    instructions: int = 0
    note: str = ""

    def __str__(self) -> str:
        return self.reply

    def __repr__(self) -> str:
        said = "forgotten" if self.forgotten else f"{brief(self._asked)} → {brief(self.reply)}"
        return f"<turn {self.position} of {self.model.name}: {said}>"

    def _repr_html_(self) -> str:
        said = ("forgotten", "") if self.forgotten else (self._asked, self.reply)
        return table(("turn", "you", self.model.name), [(self.position, *said)])

    @property
    def _asked(self) -> str:
        return self.messages[-1].content if self.messages else ""

    @property
    def answer(self) -> str | None:
        """The reply; None if the turn has none."""
        return None if self.finish_reason is None else self.reply

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The tools' calls that the reply makes; none if it is a text, or was cut off."""
        return calls_in(self.reply, self.completion_id)[1]

    @property
    def message(self) -> dict[str, Any]:
        """The reply as a message of a later ``chat``, with its calls; OpenAI's shape."""
        return wire_message(Said("assistant", *calls_in(self.reply, self.completion_id)))
