"""Episodes as tokens: what is written, what is asked, and which tokens count.

The same template and the same rule of what is written as in serving: see ``BaseTokenizer.tokens_of``.

Shape suffixes: B = rows, T = tokens.
"""

from collections.abc import Container, Iterable, Mapping, Sequence
from typing import NamedTuple

import torch

from populace.actors.engine import Message
from populace.adapters.memory.layer import NOT_WRITTEN
from populace.engines.message_places import shared_beginning
from populace.engines.prompts import BaseTokenizer
from populace.module_training.episodes import Episode, Question

VALUE_WEIGHT = 1.0
FIRST_TOKENS = 3
FIRST_WEIGHT = 0.5
"""Of an answer's first tokens, which decide what kind of answer it is: "You live in", "You have not"."""

OTHER_WEIGHT = 0.1
"""Of the tokens of an answer that the question and the base suffice for."""

LENGTH_STEP = 32
"""Rows are filled up to a multiple: an allocator has the memory of sizes that come again at hand."""


class Target(NamedTuple):
    """A token of an answer: where it is in the question's tokens, and how much it counts."""

    position: int
    weight: float


class Link(NamedTuple):
    """A token of a value: where it was told, and where it is to be recalled (the position before it)."""

    told: int
    recalled: int


class Conversations(NamedTuple):
    """Conversations in one row of tokens, which share what comes before their first messages.

    ``branches`` says which conversation each token is of; 0: what all share. A token sees those before
    it that are shared or of its own conversation, and ``positions`` counts only these, so that each
    conversation is read as if it were alone.
    """

    ids: list[int]
    branches: list[int]
    positions: list[int]


class OwnReply(NamedTuple):
    """What the base says to a request by itself; not ``whole`` if it was cut where it was long enough."""

    text: str
    whole: bool


class EncodedEpisode(NamedTuple):
    """Token ids of what is told and of what is asked.

    ``written`` has for each told token the number of the message with which it goes into the memory, or
    ``NOT_WRITTEN``; ``asked_written`` is the same of what is asked. ``answers`` are the targets of each
    question, value tokens and others; ``links`` those of all.
    """

    told: Conversations
    written: list[int]
    asked: Conversations
    asked_written: list[int]
    answers: list[list[Target]]
    links: list[Link]


class EpisodeEncoder:
    """Encodes episodes for one base. ``own_replies`` has the base's answers to those that have none.

    For a ``gated`` module what its gates let through is encoded: of what is told the person's messages that
    tell something, each but its last token, and of the questions those about the person. Of others only
    those with an own reply are: a gate that opens for them should change nothing.
    """

    def __init__(
        self, tokenizer: BaseTokenizer, own_replies: Mapping[str, OwnReply], *, gated: bool = False
    ) -> None:
        self._tokenizer = tokenizer
        self._own_replies = own_replies
        self._gated = gated

    def encode(self, episode: Episode) -> EncodedEpisode:
        told, told_spans = self._conversations(episode.conversations())
        asking = [
            one
            for one in episode.questions
            if one.answer is not None or not self._gated or one.ask in self._own_replies
        ]
        questions = [(one, self._answer(one)) for one in asking]
        asked, asked_spans = self._conversations(
            [[Message("user", one.ask), Message("assistant", answer)] for one, answer in questions]
        )
        answers: list[list[Target]] = []
        links: list[Link] = []
        for number, (question, answer) in enumerate(questions):
            start, stop = asked_spans[2 * number + 1]
            value = self._value_tokens(asked.ids, start, stop, answer, question.value)
            # The end of the reply is one of its tokens, if it is where the base ended it.
            ends = question.answer is not None or self._own_replies[question.ask].whole
            places = range(start, stop + ends)
            answers.append([Target(place, _weight(place, start, value)) for place in places])
            links += self._links(episode, told.ids, told_spans, question, asked.ids, value)
        if self._gated:
            told_spans = [
                (start, stop - 1)
                for said, (start, stop) in zip(episode.messages, told_spans, strict=True)
                if said.role == "user" and said.tells
            ]
        asked_with_writes = episode.asked_with_writes and not self._gated
        return EncodedEpisode(
            told,
            _written(told, told_spans),
            asked,
            _written(asked, asked_spans if asked_with_writes else ()),
            answers,
            links,
        )

    def _answer(self, question: Question) -> str:
        return self._own_replies[question.ask].text if question.answer is None else question.answer

    def _conversations(
        self, conversations: Sequence[Sequence[Message]]
    ) -> tuple[Conversations, list[tuple[int, int]]]:
        """Lay conversations side by side, and say where each message is."""
        rendered = [self._conversation(messages) for messages in conversations]
        shared = shared_beginning(*(ids[: spans[0][0]] for ids, spans in rendered))
        ids = rendered[0][0][:shared]
        branches, positions = [0] * shared, list(range(shared))
        found: list[tuple[int, int]] = []
        for branch, (own, spans) in enumerate(rendered, start=1):
            moved = len(ids) - shared
            found += [(start + moved, stop + moved) for start, stop in spans]
            ids += own[shared:]
            branches += [branch] * (len(own) - shared)
            positions += range(shared, len(own))
        return Conversations(ids, branches, positions), found

    def _conversation(self, messages: Sequence[Message]) -> tuple[list[int], list[tuple[int, int]]]:
        """Render without the beginning of a next reply; a reply's span ends before its end token."""
        ids, spans = self._tokenizer.tokens_of(tuple(messages), 0)
        exact: list[tuple[int, int]] = []
        for message, (start, stop) in zip(messages, spans, strict=True):
            if message.role == "assistant":
                stop = self._tokenizer.reply_end(ids, start, stop)
            exact.append((start, stop))
        return ids[: exact[-1][1] + 1], exact

    def _links(
        self,
        episode: Episode,
        told: list[int],
        told_spans: Sequence[tuple[int, int]],
        question: Question,
        asked: list[int],
        value: list[int],
    ) -> list[Link]:
        """Pair the value's tokens where the user told it last with the answer's, if they are the same."""
        if question.value is None:
            return []
        for said, (start, stop) in zip(reversed(episode.messages), reversed(told_spans), strict=True):
            if said.role == "user" and question.value in said.content:
                places = self._value_tokens(told, start, stop, said.content, question.value)
                if [told[place] for place in places] == [asked[place] for place in value]:
                    return [Link(one, other - 1) for one, other in zip(places, value, strict=True)]
                return []
        return []

    def _value_tokens(self, ids: list[int], start: int, stop: int, text: str, value: str | None) -> list[int]:
        """The tokens of ``ids[start:stop]``, which read ``text``, that have a character of the value."""
        if value is None:
            return []
        first = text.rfind(value)
        found: list[int] = []
        before = 0
        for place in range(start, stop):
            after = len(self._tokenizer.text(ids[start : place + 1]))
            # A token begins with the space before its word, which is not of the value.
            if after > first and before < first + len(value):
                found.append(place)
            before = after
        return found


class EncodedEpisodes:
    """Episodes that are encoded when they are first asked for: it takes 15 ms each, of thousands."""

    def __init__(self, encoder: EpisodeEncoder, episodes: Sequence[Episode]) -> None:
        self._encoder = encoder
        self._episodes = episodes
        self._encoded: dict[int, EncodedEpisode] = {}

    def __len__(self) -> int:
        return len(self._episodes)

    def __getitem__(self, index: int) -> EncodedEpisode:
        if index not in self._encoded:
            self._encoded[index] = self._encoder.encode(self._episodes[index])
        return self._encoded[index]


def _weight(place: int, start: int, value: Container[int]) -> float:
    if place in value:
        return VALUE_WEIGHT
    return FIRST_WEIGHT if place < start + FIRST_TOKENS else OTHER_WEIGHT


def _written(conversations: Conversations, spans: Iterable[tuple[int, int]]) -> list[int]:
    written = [NOT_WRITTEN] * len(conversations.ids)
    for message, (start, stop) in enumerate(spans):
        written[start:stop] = [message] * (stop - start)
    return written


class Rows(NamedTuple):
    """Conversations of many episodes, filled up on the right: what a base of transformers is called with.

    ``ids`` and ``positions`` int [B, T]; ``mask`` float [B, 1, T, T] is added to the attention's scores.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    mask: torch.Tensor


class Batch(NamedTuple):
    """Encoded episodes side by side.

    ``written`` and ``asked_written`` [B, T] are as in ``EncodedEpisode``. ``rows``, ``positions``,
    ``weights`` and ``groups`` (which answer) describe the target tokens.
    """

    told: Rows
    written: torch.Tensor
    asked: Rows
    asked_written: torch.Tensor
    rows: torch.Tensor
    positions: torch.Tensor
    weights: torch.Tensor
    groups: torch.Tensor


def batch_of(episodes: Sequence[EncodedEpisode]) -> Batch:
    flat = [
        (row, target.position, target.weight, group)
        for group, (row, targets) in enumerate(
            (row, targets) for row, one in enumerate(episodes) for targets in one.answers
        )
        for target in targets
    ]
    return Batch(
        _rows([one.told for one in episodes]),
        _padded([one.written for one in episodes], NOT_WRITTEN),
        _rows([one.asked for one in episodes]),
        _padded([one.asked_written for one in episodes], NOT_WRITTEN),
        torch.tensor([one[0] for one in flat]),
        torch.tensor([one[1] for one in flat]),
        torch.tensor([one[2] for one in flat]),
        torch.tensor([one[3] for one in flat]),
    )


def _rows(conversations: Sequence[Conversations]) -> Rows:
    branches_BT = _padded([one.branches for one in conversations], -1)
    tokens = branches_BT.shape[1]
    sees = branches_BT[:, :, None] == branches_BT[:, None, :]
    sees |= branches_BT[:, None, :] == 0
    sees &= torch.ones(tokens, tokens, dtype=torch.bool).tril()
    mask = torch.zeros(sees.shape).masked_fill(~sees, torch.finfo(torch.bfloat16).min)
    return Rows(
        _padded([one.ids for one in conversations], 0),
        _padded([one.positions for one in conversations], 0),
        mask[:, None],
    )


def _padded(rows: Sequence[Sequence[int]], filler: int) -> torch.Tensor:
    longest = -(-max(map(len, rows)) // LENGTH_STEP) * LENGTH_STEP
    filled = torch.full((len(rows), longest), filler)
    for index, row in enumerate(rows):
        filled[index, : len(row)] = torch.tensor(row)
    return filled
