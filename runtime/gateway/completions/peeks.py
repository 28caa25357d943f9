"""Decides whether a request is a turn or a peek, which leaves no trace; see ``actors/peek.py``.

A caller asks for a peek by the model id ``name:peek``, the header ``X-Populace-Peek`` or the field ``peek``.
A front end that can set none of them is recognised by its prompt, and a revision that only ``base`` or a
digest names is only looked at: what a person says belongs to the revision that an alias names.
"""

import re

from fastapi import Request

from populace.actors.engine import Message
from populace.actors.errors import InvalidRequest
from populace.actors.turn import BASE_REVISION
from populace.gateway.completions.schema import ChatBody
from populace.gateway.completions.text_schema import CompletionBody
from populace.gateway.http.context import Gateway
from populace.gateway.http.idempotency import IDEMPOTENCY_KEY
from populace.gateway.http.target import Target
from populace.policies.task_prompts import task_of

PEEK_HEADER = "X-Populace-Peek"

ASKED = "asked"
"""Why a reply is a peek: its caller said so."""

REVISION = "revision"
"""Why a reply is a peek: no alias names its revision."""

DIGEST_BEGINNING = re.compile(r"[0-9a-f]{6,64}")
"""What may be a digest's beginning in a model id. A shorter one is taken for a missing alias."""


async def reason_to_peek(
    request: Request,
    gateway: Gateway,
    target: Target,
    body: ChatBody | CompletionBody,
    messages: tuple[Message, ...],
) -> str | None:
    """Return why the request is a peek: ``asked``, ``revision``, or the name of a front end's task.

    None is a turn, or a request to the base, which never leaves a trace. Raises ``InvalidRequest`` for a peek
    with a parameter that only a turn has, and if the caller asks both for a peek and for a turn.
    """
    asked = _asked(request, target, body)
    if target.model is None:
        return ASKED if asked else None
    if asked is False:
        return None
    only_of_turn = _only_of_turn(request, body)
    if asked or await _is_fixed(gateway, target):
        if only_of_turn is not None:
            raise InvalidRequest(
                f"A peek leaves no trace, so it has no `{only_of_turn}`: leave that out, or make a turn.",
                only_of_turn,
            )
        return ASKED if asked else REVISION
    # A parameter that only a turn has says that this is one, however its messages look.
    if only_of_turn is None and gateway.recognises_tasks and isinstance(body, ChatBody):
        return task_of(messages)
    return None


def _asked(request: Request, target: Target, body: ChatBody | CompletionBody) -> bool | None:
    """Return whether the caller asks for a peek (True) or for a turn (False); None: it does not say."""
    header = request.headers.get(PEEK_HEADER)
    if header is not None and header.lower() not in ("true", "false"):
        raise InvalidRequest(f"{PEEK_HEADER} is true or false, not {header[:80]!r}.", PEEK_HEADER)
    answers = {
        "model": True if target.peek else None,
        PEEK_HEADER: None if header is None else header.lower() == "true",
        "peek": body.peek,
    }
    given = {name: answer for name, answer in answers.items() if answer is not None}
    if len(set(given.values())) > 1:
        names = " and ".join(f"`{name}`" for name in given)
        raise InvalidRequest(f"{names} disagree on whether this is a peek.", list(given)[-1])
    return next(iter(given.values()), None)


def _only_of_turn(request: Request, body: ChatBody | CompletionBody) -> str | None:
    """Return the name of a parameter that changes what is recorded, if the request has one."""
    if IDEMPOTENCY_KEY in request.headers:
        return IDEMPOTENCY_KEY
    if body.keep is not None:
        return "keep"
    memory = body.memory
    if memory is not None and memory.write and "write" in memory.model_fields_set:
        return "memory.write"
    return None


async def _is_fixed(gateway: Gateway, target: Target) -> bool:
    """Return whether the target names a revision that no alias names."""
    if target.model is None or target.alias == BASE_REVISION:
        return target.alias == BASE_REVISION
    if DIGEST_BEGINNING.fullmatch(target.alias) is None:
        return False
    return target.alias not in (await gateway.hosts.show_model(target.model)).aliases
