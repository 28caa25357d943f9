"""The one way from a caller's arguments to the request of a turn, over HTTP and from Python alike."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from populace.actors.engine import NO_VARIABLES, Message, Prompt, Sampling
from populace.actors.errors import InvalidRequest
from populace.actors.memory import BOTH, MemoryChoice
from populace.actors.tool_calls import TOOL_ROLE
from populace.actors.turn import RAW_ROLE, ChatRequest, ModelId, TurnRequest, operation_of
from populace.policies.retrieval import Retrieval

CONVERSATION_CHARACTERS_MAX = 512
FREE = Sampling()
FIRST_PARAMETERS = frozenset(
    {
        *("max_tokens", "temperature", "top_p", "top_k", "seed", "stop", "logprobs"),
        *("frequency_penalty", "presence_penalty", "ignore_eos"),
    }
)
"""The parameters of the first releases, which compared them at their defaults too."""


def make_request(
    model: ModelId,
    messages: tuple[Message, ...],
    sampling: Sampling,
    *,
    alias: str = "latest",
    operation: str | None = None,
    conversation: str | None = None,
    memory: MemoryChoice = BOTH,
    retrieved: int = 0,
    corrections: bool = True,
    told: bool = True,
    choices: int = 1,
    kept: int | None = 0,
    prompts: tuple[Prompt, ...] = (),
    template: Mapping[str, Any] = NO_VARIABLES,
    follows: int | None = None,
    instructions: int = 0,
    note: str = "",
    whole: bool = False,
    turn_seconds_max: float,
) -> ChatRequest:
    """Make the request of one turn.

    ``operation`` is the caller's idempotency key, ``conversation`` the one whose earlier turns are read, and
    ``retrieved`` how many turns of the log are retrieved; with ``corrections`` the reply keeps to the one
    that applies to the last message, and with ``told`` a question is answered with what an earlier turn
    tells. The same operation may be sent again over HTTP or from Python: the resolved values are compared,
    so a default that is given explicitly is no other request.

    ``prompts`` stand instead of messages, and ``template`` keeps the turn out of the memory, see
    ``ChatRequest``, also for ``instructions``, ``note``, ``whole``; ``follows`` is that of ``TurnRequest``.

    Raises ``InvalidRequest`` if all messages are empty, for an operation with several choices or one that
    cannot be encoded, and for a long name of a conversation.
    """
    if prompts:
        assert not messages
        assert kept is None
    else:
        check_messages(messages)
    if conversation is not None and len(conversation) > CONVERSATION_CHARACTERS_MAX:
        raise InvalidRequest(
            f"The name of a conversation has {len(conversation)} characters, more than "
            f"{CONVERSATION_CHARACTERS_MAX}.",
            "conversation",
        )
    if template:
        memory = memory._replace(write=False)
    if operation is not None and choices > 1:
        raise InvalidRequest(
            f"Of {choices} choices the log keeps one at most, and a retry could not have the others: "
            "leave out the operation (over HTTP the Idempotency-Key), or ask for one choice.",
            "n",
        )
    shaping = (messages, _shaping(sampling), alias, conversation, memory, retrieved, choices, kept)
    if prompts or template:
        shaping += (prompts, dict(template))
    if follows is not None:
        shaping += (follows, instructions)
    if whole:
        shaping += ("whole",)
    if not corrections and Retrieval.of(messages, 1) is not None:
        shaping += ("no corrections",)
    if not told and Retrieval.of(messages, 0, told=True) is not None:
        shaping += ("not told",)
    turn = TurnRequest(
        model=model,
        operation=operation_of(operation),
        body_hash=hashlib.sha256(json.dumps(shaping, sort_keys=True).encode()).digest(),
        alias=alias,
        history_of=conversation,
        turn_seconds_max=turn_seconds_max,
        retrieval=Retrieval.of(messages, retrieved, corrections=corrections, told=told),
        follows=follows,
    )
    return ChatRequest(
        turn, messages, sampling, memory, choices, kept, prompts, template, instructions, note, whole
    )


def _shaping(sampling: Sampling) -> dict[str, object]:
    """Return what shapes the reply.

    Without parameters that older releases lacked, unless they are used: turns of theirs may be retried.
    """
    return {
        name: value
        for name, value in asdict(sampling).items()
        if name in FIRST_PARAMETERS or value != getattr(FREE, name)
    }


def check_messages(messages: tuple[Message, ...], parameter: str = "messages") -> None:
    """Raise ``InvalidRequest`` if there is nothing to reply to, for a model or the base alike."""
    spoken = [message for message in messages if message.role != "system"] or messages
    # A prompt that is no chat may be white space, which is text to go on with; a tool may return nothing.
    if not any(
        said.role == TOOL_ROLE or (said.content if said.role == RAW_ROLE else said.content.strip())
        for said in spoken
    ):
        raise InvalidRequest("There is nothing to answer: the message is empty.", parameter)
