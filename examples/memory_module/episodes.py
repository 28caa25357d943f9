"""Episodes, on which memory modules are trained: conversations, and questions that are asked after them.

A file of episodes has one JSON object a line::

    {"messages": [{"role": "user", "content": "My dog is called Bruno."}, ...],
     "questions": [{"ask": "Who is my dog?", "answer": "Your dog is called Bruno.", "value": "Bruno"}]}

The messages are written into an empty memory; a message with ``"fresh": true`` begins another conversation.
Then each question is asked in a new conversation, so that only the memory can answer it. An ``answer`` of
null stands for the base's own reply, which the memory must not change. With ``"asked_with_writes": true`` the
questions and answers are written into the memory too, as in a chat.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from populace.actors.engine import Message
from populace.actors.errors import EpisodesInvalid

Text = Annotated[str, Field(min_length=1)]


class _Line(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SaidMessage(_Line):
    """A message of a conversation; a ``fresh`` one begins a new conversation.

    A user's message with ``tells`` false says nothing about the person and is not written by a gated memory.
    """

    role: Literal["user", "assistant"]
    content: Text
    fresh: bool = False
    tells: bool = True

    @property
    def message(self) -> Message:
        """The message as an engine takes it."""
        return Message(self.role, self.content)


class Question(_Line):
    """A question and its answer, None for the base's own reply.

    ``value`` is the part of the answer that only the memory can know, None if there is no such part.
    """

    ask: Text
    answer: Text | None
    value: Text | None = None

    @model_validator(mode="after")
    def _value_is_in_the_answer(self) -> Self:
        if self.value is not None and (self.answer is None or self.value not in self.answer):
            raise ValueError("the value is not a part of the answer")
        return self


class Episode(_Line):
    """The messages and questions of one invented person.

    With ``asked_with_writes`` the questions and answers are written into the memory too, in order.
    """

    messages: Annotated[tuple[SaidMessage, ...], Field(min_length=1)]
    questions: Annotated[tuple[Question, ...], Field(min_length=1)]
    asked_with_writes: bool = False

    def conversations(self) -> list[list[Message]]:
        """Return the messages of each conversation, split before the fresh ones."""
        conversations: list[list[Message]] = []
        for said in self.messages:
            if said.fresh or not conversations:
                conversations.append([])
            conversations[-1].append(said.message)
        return conversations


def read_episodes(path: Path) -> tuple[Episode, ...]:
    """Read a file of episodes. Raises ``EpisodesInvalid``, which names the first invalid line."""
    episodes: list[Episode] = []
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                episodes.append(_episode(path, number, line))
    except (OSError, UnicodeDecodeError) as error:
        raise EpisodesInvalid(str(path), f"it cannot be read ({error})") from error
    if not episodes:
        raise EpisodesInvalid(str(path), "it is empty")
    return tuple(episodes)


def write_episodes(path: Path, episodes: Iterable[Episode]) -> int:
    """Write a file of episodes and return their number."""
    count = 0
    with path.open("w", encoding="utf-8") as file:
        for episode in episodes:
            file.write(episode.model_dump_json(exclude_none=False) + "\n")
            count += 1
    return count


def _episode(path: Path, number: int, line: str) -> Episode:
    try:
        return Episode.model_validate_json(line)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the line"
        raise EpisodesInvalid(str(path), f"line {number}, {where}: {first['msg']}") from error
