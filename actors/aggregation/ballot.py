"""Asks all members at once, and yields each member's vote as it comes.

Members answer with their adapters alone: what a personal model remembers, or has in its log, belongs to its
person. The member records nothing of the question or of its reply.
"""

import asyncio
import secrets
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Literal, NamedTuple

from populace.actors.aggregation.question import Question
from populace.actors.clock import Clock
from populace.actors.engine import AdapterRef, Delta, Engine, GenerateRequest, Sampling, joined
from populace.actors.owner import Owner, Rank
from populace.policies.diversity.answers import extractor
from populace.policies.diversity.disclosure import Sharing
from populace.storage.records.errors import PopulaceError

MEMBERS = ":population"
"""Stands for a model, of which it is no name: no prefix of a question is found in a person's cache, nor the
reverse."""

VoteState = Literal["asked", "voted", "abstained", "late", "failed", "gone"]


class Member(NamedTuple):
    """A personal model that takes part. ``adapter`` None is the base; ``accuracy`` is that on the probes."""

    name: str
    adapter: AdapterRef | None
    sharing: Sharing
    accuracy: float | None = None


class Vote(NamedTuple):
    """One member's vote. ``place`` is its own among the chosen; ``text`` is its whole reply, which has
    ``tokens`` tokens.

    ``answer`` is what the reply votes for, or the reply itself if the question wants text. It is None if the
    member did not vote, and ``reason`` says why.
    """

    place: int
    state: VoteState
    answer: str | None = None
    text: str = ""
    reason: str = ""
    seconds: float = 0.0
    prompt_tokens: int = 0
    reply_tokens: int = 0


class Ballot:
    """Asks on one engine, which runs the members' requests in one batch as far as it has room."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    async def votes(self, tenant: str, question: Question, members: Sequence[Member]) -> AsyncGenerator[Vote]:
        """Yield a vote of each of the tenant's members; those that miss the deadline come last.

        All have the same deadline, at which those replies end that are still running, whether or not the
        votes are read. Closing this generator cancels them earlier.
        """
        came: asyncio.Queue[Vote | None] = asyncio.Queue()
        kind = question.vote_kind
        read = _whole if kind is None else extractor(kind, question.choices)

        async def ask(place: int) -> None:
            came.put_nowait(await self._vote(tenant, question, place, members[place], read))

        asking = [asyncio.create_task(ask(place)) for place in range(len(members))]

        def end() -> None:
            for task in asking:
                task.cancel()
            came.put_nowait(None)

        timer = self._clock.call_later(question.seconds_max, end)
        left = set(range(len(members)))
        try:
            while left:
                vote = await came.get()
                if vote is None:
                    break
                left.discard(vote.place)
                yield vote
            for place in sorted(left):
                reason = f"it has not answered after {question.seconds_max:g} s"
                yield Vote(place, "late", reason=reason, seconds=question.seconds_max)
        finally:
            timer.cancel()
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)

    async def _vote(
        self, tenant: str, question: Question, place: int, member: Member, read: Callable[[str], str | None]
    ) -> Vote:
        began = self._clock.monotonic()
        try:
            reply = await self._reply(tenant, question, place, member)
        except PopulaceError as error:
            return Vote(place, "failed", reason=str(error), seconds=self._clock.monotonic() - began)
        seconds = self._clock.monotonic() - began
        answer = read(reply.text)
        reason = "its reply names no answer" if answer is None else ""
        state = "abstained" if answer is None else "voted"
        tokens = len(reply.token_ids)
        return Vote(place, state, answer, reply.text, reason, seconds, reply.prompt_tokens, tokens)

    async def _reply(self, tenant: str, question: Question, place: int, member: Member) -> Delta:
        sampling = Sampling(
            max_tokens=question.reply_tokens,
            temperature=question.temperature,
            # Two members with the same adapter still draw differently.
            seed=(question.seed + place) % 2**63,
        )
        request = GenerateRequest(
            f"ask-{secrets.token_hex(8)}",
            question.prompt,
            sampling,
            adapter=member.adapter,
            stream=False,
            owner=Owner(tenant, MEMBERS, Rank.POPULATION),
        )
        async with aclosing(self._engine.generate(request)) as generated:
            return joined([delta async for delta in generated])


def _whole(reply: str) -> str | None:
    """Return the reply as it is; None if it is nothing but space."""
    return reply.strip() or None
