"""Episodes as tokens: what is written, what is asked, and which tokens count.

The same template and the same rule of what is written as in serving: see ``BaseTokenizer.tokens_of``.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch

from populace.actors.engine import Message
from populace.engines.prompts import BaseTokenizer
from populace.learning.memory.episodes import Episode, Question

VALUE_WEIGHT = 1.0
OTHER_WEIGHT = 0.1
"""Of the tokens of an answer that the question and the base suffice for."""


class Target(NamedTuple):
    """A token of an answer: where it is in the question's tokens, and how much it counts."""

    position: int
    weight: float


class Link(NamedTuple):
    """A token of a value: where it was told, and where it is to be recalled (the position before it)."""

    told: int
    recalled: int


class EncodedEpisode(NamedTuple):
    """Token ids of what is told and of what is asked; ``written`` marks what goes into the memory.

    ``answers`` are the targets of each question, value tokens and others; ``links`` those of all.
    """

    told: list[int]
    written: list[bool]
    asked: list[int]
    answers: list[list[Target]]
    links: list[Link]


class EpisodeEncoder:
    """Encodes episodes for one base. ``own_replies`` has the base's answers to those that have none."""

    def __init__(self, tokenizer: BaseTokenizer, own_replies: Mapping[str, str]) -> None:
        self._tokenizer = tokenizer
        self._own_replies = own_replies

    def encode(self, episode: Episode) -> EncodedEpisode:
        told_messages = [said.message for said in episode.messages]
        told = self._conversation(told_messages)
        written = [False] * len(told.ids)
        for start, stop in told.spans:
            written[start:stop] = [True] * (stop - start)
        questions = [(one, self._answer(one)) for one in episode.questions]
        asked = self._conversation(
            [
                message
                for question, answer in questions
                for message in (Message("user", question.ask), Message("assistant", answer))
            ]
        )
        answers: list[list[Target]] = []
        links: list[Link] = []
        for number, (question, answer) in enumerate(questions):
            start, stop = asked.spans[2 * number + 1]
            value = self._value_tokens(asked.ids, start, stop, answer, question.value)
            answers.append(
                [
                    Target(place, VALUE_WEIGHT if place in value else OTHER_WEIGHT)
                    for place in range(start, stop + 1)  # the end of the reply is one of its tokens
                ]
            )
            links += self._links(told_messages, told, question, asked.ids, value)
        return EncodedEpisode(told.ids, written, asked.ids, answers, links)

    def _answer(self, question: Question) -> str:
        return self._own_replies[question.ask] if question.answer is None else question.answer

    def _conversation(self, messages: Sequence[Message]) -> "_Conversation":
        """Render without the beginning of a next reply; a reply's span ends before its end token."""
        ids, spans = self._tokenizer.tokens_of(tuple(messages), 0)
        exact: list[tuple[int, int]] = []
        for message, (start, stop) in zip(messages, spans, strict=True):
            if message.role == "assistant":
                ends = (place for place in range(start, stop) if ids[place] in self._tokenizer.eos_ids)
                stop = next(ends, stop - 1)
            exact.append((start, stop))
        return _Conversation(ids[: exact[-1][1] + 1], exact)

    def _links(
        self,
        messages: Sequence[Message],
        told: "_Conversation",
        question: Question,
        asked: list[int],
        value: list[int],
    ) -> list[Link]:
        """Pair the value's tokens where it was told last with those of the answer, if they are the same."""
        if question.value is None:
            return []
        for index in reversed(range(len(messages))):
            if question.value in messages[index].content:
                start, stop = told.spans[index]
                places = self._value_tokens(told.ids, start, stop, messages[index].content, question.value)
                if [told.ids[place] for place in places] == [asked[place] for place in value]:
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


class _Conversation(NamedTuple):
    ids: list[int]
    spans: list[tuple[int, int]]


class Batch(NamedTuple):
    """Encoded episodes side by side, filled up on the right. Shapes [B, T]; targets are flat.

    ``rows``, ``positions``, ``weights`` and ``groups`` (which answer) describe the target tokens.
    """

    told: torch.Tensor
    told_mask: torch.Tensor
    written: torch.Tensor
    asked: torch.Tensor
    asked_mask: torch.Tensor
    rows: torch.Tensor
    positions: torch.Tensor
    weights: torch.Tensor
    groups: torch.Tensor

    @property
    def tokens(self) -> int:
        return int(self.told_mask.sum() + self.asked_mask.sum())


def batch_of(episodes: Sequence[EncodedEpisode]) -> Batch:
    told, told_mask = _padded([one.told for one in episodes])
    written, _ = _padded([[int(flag) for flag in one.written] for one in episodes])
    asked, asked_mask = _padded([one.asked for one in episodes])
    flat = [
        (row, target.position, target.weight, group)
        for group, (row, target) in enumerate(
            (row, targets) for row, one in enumerate(episodes) for targets in one.answers
        )
        for target in target
    ]
    return Batch(
        told,
        told_mask,
        written.bool(),
        asked,
        asked_mask,
        torch.tensor([one[0] for one in flat]),
        torch.tensor([one[1] for one in flat]),
        torch.tensor([one[2] for one in flat]),
        torch.tensor([one[3] for one in flat]),
    )


def _padded(rows: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    longest = max(map(len, rows))
    filled = torch.zeros(len(rows), longest, dtype=torch.long)
    mask = torch.zeros(len(rows), longest, dtype=torch.long)
    for index, row in enumerate(rows):
        filled[index, : len(row)] = torch.tensor(row)
        mask[index, : len(row)] = 1
    return filled, mask
