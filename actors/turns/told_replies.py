"""Answers a question with what its person told in an earlier turn, if that can be read off there.

The memory holds a few facts, and the log holds all. So where a question asks for what an earlier turn tells,
that turn is read first, greedily and without the memory. What comes of it is the reply only if it is an
answer made of the words of both and nothing else (``policies/told_answers.py``). If the model's own weights
give none, the base reads it: one that learned to say "You have not told me your blood type." may say so of
what it was told. If neither does, the reply is made as ever.
"""

from contextlib import aclosing
from dataclasses import replace

from populace.actors.context import reading_prompt
from populace.actors.engine import Delta, Engine, GenerateRequest, Sampling, joined
from populace.actors.owner import Owner
from populace.actors.turn import ChatRequest, TurnGrant
from populace.policies.retrieval import Exchange
from populace.policies.tellings import ASKED_SHARE, Tellings
from populace.policies.told_answers import is_answer
from populace.policies.whole_replies import ends_open

REPLY_TOKENS = 64
"""An answer to a question about one turn is short; one that is longer is not taken."""

FREE = Sampling()


async def told_reply(
    engine: Engine, request: ChatRequest, grant: TurnGrant, telling: Exchange
) -> Delta | None:
    """Return the whole reply as its last delta, or None if the request or the answer is not made for it.

    Its prompt has nothing of the conversation. Raises what ``engine.generate`` raises.
    """
    if not may_be_told(request) or _tells_itself(request, telling):
        return None
    asked = request.messages[-1]
    most = min(REPLY_TOKENS, request.sampling.max_tokens or REPLY_TOKENS)
    generate = GenerateRequest(
        request_id=f"{grant.grant_id}:told",
        prompt=reading_prompt((asked,), telling.said),
        sampling=Sampling(most, temperature=0.0),
        adapter=grant.adapter,
        stream=False,
        owner=Owner(*grant.model),
    )
    of_base = replace(generate, request_id=f"{grant.grant_id}:told:base", adapter=None)
    for reading in (generate,) if grant.adapter is None else (generate, of_base):
        async with aclosing(engine.generate(reading)) as deltas:
            reply = joined([delta async for delta in deltas])
        is_whole = reply.finish_reason == "stop" and not ends_open(reply.text)
        if is_whole and is_answer(telling.said, asked.content, reply.text):
            return reply
    return None


def may_be_told(request: ChatRequest) -> bool:
    """Return whether a request is one for a plain reply: one choice of free text, of which no more is asked.

    What only says how to draw among likely tokens does not count. Instructions may ask for another form or
    language than that in which a telling is read.
    """
    sampling = request.sampling
    drawn = replace(
        sampling,
        max_tokens=FREE.max_tokens,
        temperature=FREE.temperature,
        top_p=FREE.top_p,
        top_k=FREE.top_k,
        min_p=FREE.min_p,
        seed=FREE.seed,
        frequency_penalty=FREE.frequency_penalty,
        presence_penalty=FREE.presence_penalty,
        repetition_penalty=FREE.repetition_penalty,
        own_words_penalty=FREE.own_words_penalty,
        repetition_detection=FREE.repetition_detection,
        ends_degenerate=FREE.ends_degenerate,
    )
    is_one = request.choices == 1 and not request.raw_prompts and not request.template
    is_plain = is_one and not request.whole and drawn == FREE
    return (
        is_plain
        and {message.role for message in request.messages} <= {"user", "assistant"}
        and (request.messages[-1].role == "user")
    )


def _tells_itself(request: ChatRequest, telling: Exchange) -> bool:
    """Return whether the request's own conversation tells what it asks for, besides what the turn told."""
    *earlier, asked = request.messages
    said = [one.content for one in earlier if one.role == "user" and one.content != telling.said]
    fitting = Tellings(list(enumerate(said))).fitting(asked.content)
    return max(fitting.values(), default=0.0) >= ASKED_SHARE
