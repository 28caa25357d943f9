"""Encodes episodes as tokens, with the tokens that are written and the weights of the answers' tokens.

The chat template, and the rule by which tokens of a message are written, are those of serving
(``BaseTokenizer.tokens_of``).

Shape suffixes: B = rows, T = tokens.
"""

from collections.abc import Container, Iterable, Mapping, Sequence
from typing import NamedTuple

import torch

from examples.memory_module.episodes import Episode, Question
from populace.actors.engine import Message
from populace.adapters.memory.layer import NOT_WRITTEN
from populace.engines.prompts import BaseTokenizer, shared_beginning

VALUE_WEIGHT = 1.0
"""The weight in the loss of a token of a value, which only the memory can know."""

FIRST_TOKENS = 3
FIRST_WEIGHT = 0.5
"""The weight of an answer's first tokens, which decide its kind: "You live in", "You have not"."""

OTHER_WEIGHT = 0.1
"""The weight of an answer's other tokens, which the base predicts from the question."""

LENGTH_STEP = 32
"""Rows are padded to a multiple of this length, as allocators reuse memory of recurring sizes."""


class Target(NamedTuple):
    """A token of an answer: its position in the tokens of the questions, and its weight in the loss."""

    position: int
    weight: float


class Link(NamedTuple):
    """A token of a value: its position where it was told, and the position before it in the answer.

    At the latter the memory is to be read for it.
    """

    told: int
    recalled: int


class Conversations(NamedTuple):
    """Conversations in one row of tokens, which share the tokens before their first messages.

    ``branches`` has for each token the number of its conversation, from 1, or 0 for shared tokens. A token
    attends to the tokens before it that are shared or of its conversation, and ``positions`` counts only
    these, so that each conversation is computed as if it were alone.
    """

    ids: list[int]
    branches: list[int]
    positions: list[int]


class OwnReply(NamedTuple):
    """The base's own reply to a request; ``whole`` is false if it was cut at its token limit."""

    text: str
    whole: bool


class EncodedEpisode(NamedTuple):
    """The tokens of an episode: the conversations that are told, and the questions that are asked afterwards.

    ``written`` has for each told token the number of the message with which it is written, or
    ``NOT_WRITTEN``; ``asked_written`` has the same for the questions. ``answers`` has the targets of each
    question, ``links`` the value tokens of all questions.
    """

    told: Conversations
    written: list[int]
    asked: Conversations
    asked_written: list[int]
    answers: list[list[Target]]
    links: list[Link]


class EpisodeEncoder:
    """Encodes episodes for one base. ``own_replies`` has the base's replies to questions without an answer.

    For a ``gated`` module only what its gates should let through is encoded: the person's messages that tell
    something, without their last tokens, and the questions about the person. Questions about other things are
    included only if ``own_replies`` has them: for these the module must change nothing though its gate opens.
    """

    def __init__(
        self, tokenizer: BaseTokenizer, own_replies: Mapping[str, OwnReply], *, gated: bool = False
    ) -> None:
        self._tokenizer = tokenizer
        self._own_replies = own_replies
        self._gated = gated

    def encode(self, episode: Episode) -> EncodedEpisode:
        """Encode one episode."""
        told, told_spans = self._conversations(episode.conversations())
        asking = [
            question
            for question in episode.questions
            if question.answer is not None or not self._gated or question.ask in self._own_replies
        ]
        questions = [(question, self._answer(question)) for question in asking]
        asked, asked_spans = self._conversations(
            [[Message("user", question.ask), Message("assistant", answer)] for question, answer in questions]
        )
        answers: list[list[Target]] = []
        links: list[Link] = []
        for number, (question, answer) in enumerate(questions):
            start, stop = asked_spans[2 * number + 1]
            value = self._value_tokens(asked.ids, start, stop, answer, question.value)
            # The end token is learned too, except after a reply that was cut at its limit.
            ends = question.answer is not None or self._own_replies[question.ask].whole
            places = range(start, stop + ends)
            answers.append([Target(place, _weight(place, start, value)) for place in places])
            links += self._links(episode, told.ids, told_spans, question, asked.ids, value)
        if self._gated:
            told_spans = [
                (start, stop - 1)
                for message, (start, stop) in zip(episode.messages, told_spans, strict=True)
                if message.role == "user" and message.tells
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
        """Put conversations into one row, and return with it the spans of all messages."""
        rendered = [self._conversation(messages) for messages in conversations]
        shared = shared_beginning(*(ids[: spans[0][0]] for ids, spans in rendered))
        ids = rendered[0][0][:shared]
        branches, positions = [0] * shared, list(range(shared))
        moved_spans: list[tuple[int, int]] = []
        for branch, (own, spans) in enumerate(rendered, start=1):
            moved = len(ids) - shared
            moved_spans += [(start + moved, stop + moved) for start, stop in spans]
            ids += own[shared:]
            branches += [branch] * (len(own) - shared)
            positions += range(shared, len(own))
        return Conversations(ids, branches, positions), moved_spans

    def _conversation(self, messages: Sequence[Message]) -> tuple[list[int], list[tuple[int, int]]]:
        """Render without a generation prompt; the span of a reply ends before its end token."""
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
        """Pair the value's tokens in the last message that tells it with the answer's, if they are equal."""
        if question.value is None:
            return []
        for message, (start, stop) in zip(reversed(episode.messages), reversed(told_spans), strict=True):
            if message.role == "user" and question.value in message.content:
                places = self._value_tokens(told, start, stop, message.content, question.value)
                if [told[place] for place in places] == [asked[place] for place in value]:
                    return [Link(place, answered - 1) for place, answered in zip(places, value, strict=True)]
                return []
        return []

    def _value_tokens(self, ids: list[int], start: int, stop: int, text: str, value: str | None) -> list[int]:
        """Return the places in ``ids[start:stop]``, the tokens of ``text``, that overlap the value."""
        if value is None:
            return []
        first = text.rfind(value)
        places: list[int] = []
        before = 0
        for place in range(start, stop):
            after = len(self._tokenizer.text(ids[start : place + 1]))
            # A token often begins with the space before its word, which is not part of the value.
            if after > first and before < first + len(value):
                places.append(place)
            before = after
        return places


class EncodedEpisodes:
    """A sequence of episodes that are encoded on first access, since each of thousands takes 15 ms."""

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
    """The arguments of a transformers model: conversations of many episodes, padded on the right.

    ``ids`` and ``positions`` are int [B, T]; ``mask``, float [B, 1, T, T], is added to the attention scores.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    mask: torch.Tensor


class Batch(NamedTuple):
    """A padded batch of encoded episodes.

    ``written`` and ``asked_written`` [B, T] are as in ``EncodedEpisode``. ``rows``, ``positions``,
    ``weights`` and ``groups`` have one element for each target token; ``groups`` numbers the answers of the
    batch.
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
    """Make a batch of episodes, at least one of which has an answer."""
    targets = [
        (row, target.position, target.weight, group)
        for group, (row, answer) in enumerate(
            (row, answer) for row, episode in enumerate(episodes) for answer in episode.answers
        )
        for target in answer
    ]
    return Batch(
        _rows([episode.told for episode in episodes]),
        _padded([episode.written for episode in episodes], NOT_WRITTEN),
        _rows([episode.asked for episode in episodes]),
        _padded([episode.asked_written for episode in episodes], NOT_WRITTEN),
        torch.tensor([row for row, _, _, _ in targets]),
        torch.tensor([position for _, position, _, _ in targets]),
        torch.tensor([weight for _, _, weight, _ in targets]),
        torch.tensor([group for _, _, _, group in targets]),
    )


def _rows(conversations: Sequence[Conversations]) -> Rows:
    branches_BT = _padded([row.branches for row in conversations], -1)
    tokens = branches_BT.shape[1]
    sees = branches_BT[:, :, None] == branches_BT[:, None, :]
    sees |= branches_BT[:, None, :] == 0
    sees &= torch.ones(tokens, tokens, dtype=torch.bool).tril()
    mask = torch.zeros(sees.shape).masked_fill(~sees, torch.finfo(torch.bfloat16).min)
    return Rows(
        _padded([row.ids for row in conversations], 0),
        _padded([row.positions for row in conversations], 0),
        mask[:, None],
    )


def _padded(rows: Sequence[Sequence[int]], filler: int) -> torch.Tensor:
    longest = -(-max(map(len, rows)) // LENGTH_STEP) * LENGTH_STEP
    filled = torch.full((len(rows), longest), filler)
    for index, row in enumerate(rows):
        filled[index, : len(row)] = torch.tensor(row)
    return filled
