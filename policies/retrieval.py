"""Decides which turns of a model's own log go into a prompt, how they are found, and in which form.

A turn is found by the words of its person and of the reply, or of its correction. A turn that was disliked
and not corrected is never retrieved, nor one that the prompt has already, nor one that is no conversation.
"""

import re
import unicodedata
from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

from populace.policies.common_words import is_content
from populace.policies.history import CHARACTERS_PER_TOKEN
from populace.policies.ingestion import RoleAndContent, turn_digest, turn_start, turns_in, was_added
from populace.policies.lessons import Judgement

RETRIEVED_MAX = 16
QUERY_WORDS_MAX = 256
"""If a message has more different words, the last ones count: a question stands after its subject."""
TURN_WORDS_MAX = 2048
"""A turn with more words is found by its beginning."""
WORD_CHARACTERS = 16
"""A text is read only up to this many characters for each word that counts: some texts are megabytes."""
TEXT_CHARACTERS_MAX = 600
"""A longer text is cut in the prompt: one pasted document must not be all that is retrieved."""
CONTEXT_SHARE = 4
"""One in this many of the context's tokens may be of retrieved turns; history may take half."""

HEADING = "What the user said to you before:"

# Scripts without spaces between words: each of their characters counts as a word.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\U00020000-\U0003ffff"
)
# Vowels of Indic scripts, which no form joins to their letters.
_MARKS = re.escape(
    "".join(chr(at) for at in range(0x300, 0x11FFF) if unicodedata.category(chr(at)) in ("Mn", "Mc"))
)
_LETTERS = rf"[^\W{_UNSPACED}]"
_WORD = re.compile(rf"[{_UNSPACED}]|{_LETTERS}+(?:[{_MARKS}]+{_LETTERS}*)*")
_SIGN = re.compile(r"[/%#&@\\]|-(?=\s?\d)|(?<=[\d\s)])\*(?=[\d\s(])|[^\w\s!-/:-@[-`{-~]|[+<=>$]")
"""May be a sign that says something, beside punctuation: "5 - 3" and "C++", but not "e-mail"."""
_OF_SIGNS = ("Sm", "Sc", "So")
_AT_EDGES = "+#%-−$€£¥"
"""Signs that belong to the first or the last word; a picture there goes with the whole message."""


@dataclass(frozen=True, slots=True)
class Retrieval:
    """A query of the log: up to ``count`` turns that fit the ``words``, but none of the ``known``.

    ``known`` are digests of turns that the request itself contains, see ``policies/ingestion.py``, and
    ``asked`` is the text whose words these are. With ``corrections`` the correction that applies to it is
    found too, see ``policies/corrections.py``, and with ``told``, if no turns are to be retrieved, the turn
    that tells its answer, see ``policies/tellings.py``.
    """

    words: tuple[str, ...]
    count: int
    known: frozenset[bytes] = frozenset()
    corrections: bool = False
    told: bool = False
    asked: str = ""

    @classmethod
    def of(
        cls, messages: Sequence[RoleAndContent], count: int, *, corrections: bool = False, told: bool = False
    ) -> Self | None:
        """The query of the user's last message; None if no turn can fit it.

        What was ``told`` is asked for by the last message of all.
        """
        told = told and bool(messages) and messages[-1][0] == "user"
        if count == 0 and not corrections and not told:
            return None
        asked = next((content for role, content in reversed(messages) if role == "user"), "")
        asked = end_of(asked)
        words = words_of(asked)
        distinct = tuple(dict.fromkeys(words))[-QUERY_WORDS_MAX:]
        if not distinct:
            return None
        return cls(distinct, count, turns_in(messages), corrections, told, asked)

    @property
    def about(self) -> tuple[str, ...]:
        """The words that a turn is found by: those that say what the message is about."""
        return tuple(word for word in self.words if is_content(word))


class Exchange(NamedTuple):
    """An earlier turn in the form for a prompt. ``turn`` is its digest, which finds it in a prompt.

    If it ``is_corrected``, ``answered`` is the correction.
    """

    position: int
    said: str
    answered: str
    turn: bytes
    is_corrected: bool = False

    @property
    def is_answered_whole(self) -> bool:
        """Whether ``answered`` is all of the reply, and not the beginning of a longer one."""
        return len(self.answered) <= TEXT_CHARACTERS_MAX


class Found(NamedTuple):
    """What was found in the log for a question: turns that fit it, best first; what corrects or tells it."""

    exchanges: tuple[Exchange, ...] = ()
    correction: Exchange | None = None
    telling: Exchange | None = None


def words_of(text: str) -> list[str]:
    """Split into words: runs of letters and digits, case-folded, with compatible forms unified.

    There are no stop words and no stemming, as both depend on the language; BM25 gives a word that most
    turns have next to no weight.
    """
    return _WORD.findall(unicodedata.normalize("NFKC", text.casefold()))


def end_of(text: str) -> str:
    """Return the end of a message, in which what it asks for stands; all of it unless it is long."""
    return text[-QUERY_WORDS_MAX * WORD_CHARACTERS :]


def text_key(text: str) -> str:
    """Return what two texts have in common that differ only in case, spaces and marks."""
    return " ".join([*words_of(text), *signs_of(text)]) or text


def signs_of(text: str) -> list[str]:
    """Return the signs between the words that are no punctuation, such as the + of "5 + 3"."""
    text = unicodedata.normalize("NFKC", text)
    words = list(_WORD.finditer(text))
    if not words:
        return []
    begin, end = words[0].start(), words[-1].end()
    begin = len(text[:begin].rstrip(_AT_EDGES))
    end = len(text) - len(text[end:].lstrip(_AT_EDGES))
    return [
        sign
        for sign in _SIGN.findall(text, begin, end)
        if sign.isascii() or unicodedata.category(sign) in _OF_SIGNS
    ]


def turn_words(messages: Sequence[RoleAndContent], reply: str, judged: Judgement) -> list[str]:
    """The words that a turn is found by; none if it is no conversation."""
    said = _said(messages)
    answered = reply if judged.correction is None else judged.correction
    text = f"{said}\n{answered}"[: TURN_WORDS_MAX * WORD_CHARACTERS]
    return words_of(text)[:TURN_WORDS_MAX] if said else []


def exchange_of(
    position: int, messages: Sequence[RoleAndContent], reply: str, judged: Judgement
) -> Exchange | None:
    """The turn in the form for a prompt, with a correction as its reply; None if it is no conversation."""
    said, answered = _said(messages), reply if judged.correction is None else judged.correction
    if not said:
        return None
    digest = turn_digest(messages, reply)
    return Exchange(position, _beginning(said), _beginning(answered), digest, judged.correction is not None)


def exchanges_that_fit(
    found: Sequence[Exchange],
    known: Container[bytes],
    *,
    count: int,
    tokens_max: int,
    correction: Exchange | None = None,
) -> list[Exchange]:
    """Choose up to ``count`` of the turns, given best first, that are not ``known`` and fit together.

    A ``correction`` comes before them, also if its turn is known: the prompt has that with the reply that was
    corrected. They are returned in the log's order, since later turns correct earlier ones. Tokens are
    estimated as in ``turns_that_fit``; a turn that is too long is skipped.
    """
    budget = tokens_max * CHARACTERS_PER_TOKEN - len(HEADING)
    chosen: list[Exchange] = []
    for exchange in found if correction is None else (correction, *found):
        length = len(_shown(exchange))
        is_new = exchange is correction or (exchange.turn not in known and exchange not in chosen)
        if len(chosen) < count and is_new and length <= budget:
            chosen.append(exchange)
            budget -= length
    return sorted(chosen)


def context_text(exchanges: Sequence[Exchange]) -> str:
    """The text of the exchanges for the prompt's system message; empty without any."""
    return "".join([HEADING, *map(_shown, exchanges)]) if exchanges else ""


def _shown(exchange: Exchange) -> str:
    # Shown its own replies, a small base goes on with more of them in this form.
    if not exchange.is_corrected:
        return f"\n- {exchange.said}"
    return f"\n\nThe user said: {exchange.said}\nYou answered: {exchange.answered}"


def _said(messages: Sequence[RoleAndContent]) -> str:
    """The user's text since the previous reply: a client may have sent the whole conversation."""
    return "\n".join(spoken_in(messages))


def spoken_in(messages: Sequence[RoleAndContent]) -> list[str]:
    """The user's messages of a turn, stripped, without empty ones; none if they were added by hand."""
    if messages and was_added(messages):
        return []
    spoken = [content.strip() for role, content in messages[turn_start(messages) :] if role == "user"]
    return [text for text in spoken if text]


def _beginning(text: str) -> str:
    text = text.strip()
    return text if len(text) <= TEXT_CHARACTERS_MAX else f"{text[:TEXT_CHARACTERS_MAX]} …"
