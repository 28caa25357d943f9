"""Which turns of a model's own log go into a prompt, what they are found by, and how they stand there.

Found by the words of its person and of the reply, or of what the reply should have been. A turn that was
disliked and not corrected never comes, nor one that the prompt has already, nor what is no conversation.
"""

import re
import unicodedata
from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

from populace.policies.history import CHARACTERS_PER_TOKEN
from populace.policies.ingestion import RoleAndContent, turn_digest, turn_start, turns_in
from populace.policies.lessons import Judgement, wanted_reply

RETRIEVED_MAX = 16
QUERY_WORDS_MAX = 256
"""Of a message with more different words the last ones count: a question stands behind what it is about."""
TURN_WORDS_MAX = 2048
"""A longer turn is found by its beginning."""
WORD_CHARACTERS = 16
"""A text is split no further than so many for each of the words that count: some are megabytes."""
TEXT_CHARACTERS_MAX = 600
"""Of a longer text a prompt has the beginning: one pasted document must not be all that is retrieved."""
CONTEXT_SHARE = 4
"""One in so many of the context's tokens may be retrieved ones; history may take half."""

HEADING = "What the user said to you before:"

# Scripts that put no space between words: each of their characters counts as a word.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\U00020000-\U0003ffff"
)
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+")


@dataclass(frozen=True, slots=True)
class Retrieval:
    """What a turn asks of the log: up to ``count`` turns that fit the ``words``, but none of the ``known``.

    ``known`` are digests of turns that the request itself holds, see ``policies/ingestion.py``.
    """

    words: tuple[str, ...]
    count: int
    known: frozenset[bytes] = frozenset()

    @classmethod
    def of(cls, messages: Sequence[RoleAndContent], count: int) -> Self | None:
        """What the last message of the user asks for; None if nothing can fit it."""
        if count == 0:
            return None
        asked = next((content for role, content in reversed(messages) if role == "user"), "")
        words = words_of(asked[-QUERY_WORDS_MAX * WORD_CHARACTERS :])
        distinct = tuple(dict.fromkeys(words))[-QUERY_WORDS_MAX:]
        return cls(distinct, count, turns_in(messages)) if distinct else None


class Exchange(NamedTuple):
    """An earlier turn as a prompt can have it. By ``turn``, its digest, one is seen to have it already."""

    position: int
    said: str
    answered: str
    turn: bytes


def words_of(text: str) -> list[str]:
    """Split into words: runs of letters and digits, case-folded, compatible forms as one.

    No list of words is left out and no ending is cut off, as both are of one language; BM25 gives a word
    that most turns have next to no weight.
    """
    return _WORD.findall(unicodedata.normalize("NFKC", text.casefold()))


def turn_words(messages: Sequence[RoleAndContent], reply: str, judged: Judgement) -> list[str]:
    """The words that a turn is found by; none if it is no conversation."""
    said = _said(messages)
    answered = reply if judged.correction is None else judged.correction
    text = f"{said}\n{answered}"[: TURN_WORDS_MAX * WORD_CHARACTERS]
    return words_of(text)[:TURN_WORDS_MAX] if said else []


def exchange_of(
    position: int, messages: Sequence[RoleAndContent], reply: str, judged: Judgement
) -> Exchange | None:
    """The turn as a prompt can have it, with its correction for its reply; None if it must not come."""
    said, answered = _said(messages), wanted_reply(reply, judged, unjudged=True)
    if not said or answered is None:
        return None
    return Exchange(position, _beginning(said), _beginning(answered), turn_digest(messages, reply))


def exchanges_that_fit(
    found: Sequence[Exchange], known: Container[bytes], *, count: int, tokens_max: int
) -> list[Exchange]:
    """Choose up to ``count`` of what was found, best first, that are not ``known`` and fit together.

    They are answered in the log's order: what was said later corrects what was said before. The estimate
    of tokens is that of ``turns_that_fit``; one that is too long makes way for the next.
    """
    budget = tokens_max * CHARACTERS_PER_TOKEN - len(HEADING)
    chosen: list[Exchange] = []
    for exchange in found:
        length = len(_shown(exchange))
        if len(chosen) < count and exchange.turn not in known and length <= budget:
            chosen.append(exchange)
            budget -= length
    return sorted(chosen)


def context_text(exchanges: Sequence[Exchange]) -> str:
    """What the prompt's system message says of them; empty without any."""
    return "".join([HEADING, *map(_shown, exchanges)]) if exchanges else ""


def _shown(exchange: Exchange) -> str:
    return f"\n\nThe user said: {exchange.said}\nYou answered: {exchange.answered}"


def _said(messages: Sequence[RoleAndContent]) -> str:
    """What the user said after the last reply before: a client may have sent the whole conversation."""
    return "\n".join(spoken_in(messages))


def spoken_in(messages: Sequence[RoleAndContent]) -> list[str]:
    """The user's messages of a turn, stripped, without empty ones."""
    spoken = [content.strip() for role, content in messages[turn_start(messages) :] if role == "user"]
    return [one for one in spoken if one]


def _beginning(text: str) -> str:
    text = text.strip()
    return text if len(text) <= TEXT_CHARACTERS_MAX else f"{text[:TEXT_CHARACTERS_MAX]} …"
