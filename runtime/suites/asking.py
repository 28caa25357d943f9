"""Asks a personal model its suite as it is served, in peeks: nothing is logged, remembered or learned."""

import asyncio
from typing import Protocol

from populace.actors.errors import InvalidRequest, PromptTooLong
from populace.actors.peek import Peek
from populace.actors.suites import SAMPLING, Suite, SuiteQuestion, SuiteResult, SuiteRow
from populace.actors.turn import BASE_REVISION, ChatRequest, ModelId
from populace.actors.turns.requests import make_request
from populace.storage.records.errors import RevisionNotFound
from populace.storage.records.keys import alias_problem, is_digest
from populace.suites.checking import passed

ASKED_TOGETHER = 8


class PeekingHosts(Protocol):
    """The part of ``Hosts`` that asks without a trace."""

    async def peek(self, request: ChatRequest) -> Peek: ...


async def ask_suite(
    hosts: PeekingHosts, model: ModelId, suite: Suite, *, revision: str, turn_seconds_max: float
) -> SuiteResult:
    """Ask every question as a chat that begins with it is asked by default, and check the replies.

    So they read the memory, keep to the corrections that apply and are told from earlier turns, as what the
    person gets. ``revision`` is an alias, a digest or its beginning, or ``base`` for the base without
    adapter, memory and log. An alias that moves meanwhile changes nothing: all replies are of one revision.
    Raises ``ModelNotFound``, ``RevisionNotFound``, ``InvalidRequest``, which names the line of a question
    that is too long for the context, and what ``Hosts.peek`` raises.
    """

    if not isinstance(revision, str) or (alias_problem(revision) and not is_digest(revision)):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise RevisionNotFound(model.name, f"{revision!s:.128}")

    async def ask(question: SuiteQuestion, alias: str) -> Peek:
        request = make_request(
            model, question.prompt, SAMPLING, alias=alias, turn_seconds_max=turn_seconds_max
        )
        try:
            return await hosts.peek(request)
        except PromptTooLong as error:
            number = suite.index(question) + 1
            reason = (
                f"Line {number} of the suite is too long: as it is asked it has at least "
                f"{error.prompt_tokens:,} tokens, and the context holds {error.context_tokens:,} with the "
                f"{error.max_tokens:,} of a reply. Shorten it."
            )
            raise InvalidRequest(reason, f"questions[{number - 1}]") from error

    first = await ask(suite[0], revision)
    # The base by name reads no memory, so a model without an adapter is asked as before.
    alias = revision if first.revision == BASE_REVISION else first.revision
    few = asyncio.Semaphore(ASKED_TOGETHER)

    async def ask_in_turn(question: SuiteQuestion) -> Peek:
        async with few:
            return await ask(question, alias)

    asking = [asyncio.ensure_future(ask_in_turn(question)) for question in suite[1:]]
    try:
        peeks = [first, *await asyncio.gather(*asking)]
    finally:
        for task in asking:
            task.cancel()
    replies = [peek.reply for peek in peeks]
    checked = await asyncio.to_thread(passed, suite, replies)
    rows = [
        SuiteRow.of(question, reply, passed=is_right)
        for question, reply, is_right in zip(suite, replies, checked, strict=True)
    ]
    return SuiteResult(model, first.revision, tuple(rows))
