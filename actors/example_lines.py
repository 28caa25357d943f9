"""The lines of a training file: a JSON object each, in OpenAI's formats.

::

    {"messages": [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…", "weight": 1}]}
    {"input": {"messages": […]}, "preferred_output": [{…}], "non_preferred_output": [{…}]}
    {"messages": […], "answer": "…"}

They are for the methods sft, preference and rl. Of the first, each reply of the assistant to a user is
learned unless its ``weight`` is 0. Of the last, a grader is given all but the messages. Fields that a
client added to a recorded chat may be there if they are empty.
"""

from codecs import BOM_UTF8
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

from pydantic import BaseModel, Discriminator, Field, Tag, ValidationError, model_validator

from populace.actors.engine import Message
from populace.actors.errors import InvalidRequest
from populace.actors.reward_tasks import TASKS_MAX, RewardTask
from populace.actors.sent_back import SentBack, with_refusal_as_content

LINES_MIN = 10
"""The fewest lines to learn from, as with OpenAI: two of them may be held out."""

VALIDATION_LINES_MIN = 2
LINES_MAX = 50_000
REPLIES_MAX = 50_000
MESSAGES_MAX = 128
"""The limit of one line: each of its replies is learned with all that came before, so its cost is squared."""

FILE_BYTES_MAX = 32 * 2**20
"""The limit of a file to learn from: a trainer has the whole of it in memory, as tokens."""

EXAMPLE_CHARACTERS_MAX = 2 * FILE_BYTES_MAX
"""The limit of all replies to learn with all that came before each: a long chat is in memory many times."""

LINE_BYTES_MAX = 2**20

Words = Annotated[str, Field(min_length=1)]


class ExampleLine(NamedTuple):
    """One reply of line ``number``, from 1; ``rejected`` is the reply that it is preferred to, if any."""

    number: int
    prompt: tuple[Message, ...]
    reply: str
    rejected: str | None = None

    @property
    def characters(self) -> int:
        """The length of what is learned: each of its replies with the prompt."""
        replies = [reply for reply in (self.reply, self.rejected) if reply is not None]
        prompt = sum(len(message.content) for message in self.prompt)
        return sum(prompt + len(reply) for reply in replies)


class _Part(SentBack, extra="forbid"):
    type: Literal["text"]
    text: Words


def _branch(content: object) -> str | None:
    """Choose by the content's own type, so that an error is about what was meant."""
    if isinstance(content, str):
        return "text"
    return "parts" if isinstance(content, list) else None


Content = Annotated[
    Annotated[Words, Tag("text")] | Annotated[list[_Part], Field(min_length=1), Tag("parts")],
    Discriminator(
        _branch, custom_error_type="content", custom_error_message="It has to be a text or a list of texts"
    ),
]


# For pydantic, unlike for dataclasses, a frozen class may have a base that is not.
class _Said(SentBack, frozen=True, extra="forbid"):  # pyright: ignore[reportGeneralTypeIssues]
    role: Literal["system", "developer", "user", "assistant"]
    content: Content
    name: str | None = None
    weight: Literal[0, 1] | None = None

    @model_validator(mode="before")
    @classmethod
    def _with_refusal(cls, value: object) -> object:
        return with_refusal_as_content(value)

    @property
    def message(self) -> Message:
        parts = self.content
        text = parts if isinstance(parts, str) else "".join(part.text for part in parts)
        return Message("system" if self.role == "developer" else self.role, text)


class _Reply(_Said, frozen=True):
    role: Literal["assistant"]


Conversation = Annotated[list[_Said], Field(min_length=1, max_length=MESSAGES_MAX)]


class _Chat(SentBack, extra="forbid"):
    messages: Conversation
    parallel_tool_calls: bool | None = None
    """Says nothing of a line without tools, which is all that is read."""

    def lines(self, number: int) -> Iterator[ExampleLine]:
        said = [said.message for said in self.messages]
        for at, message in enumerate(said):
            answers = any(earlier.role == "user" for earlier in said[:at])
            if message.role == "assistant" and self.messages[at].weight != 0 and answers:
                yield ExampleLine(number, tuple(said[:at]), message.content)


class _Input(SentBack, extra="forbid"):
    messages: Conversation


class _Pair(SentBack, extra="forbid"):
    input: _Input
    preferred_output: Annotated[list[_Reply], Field(min_length=1, max_length=1)]
    non_preferred_output: Annotated[list[_Reply], Field(min_length=1, max_length=1)]

    def lines(self, number: int) -> Iterator[ExampleLine]:
        prompt = tuple(said.message for said in self.input.messages)
        reply, rejected = (
            self.preferred_output[0].message.content,
            self.non_preferred_output[0].message.content,
        )
        if prompt[-1].role == "user" and reply != rejected:
            yield ExampleLine(number, prompt, reply, rejected)


class _Task(BaseModel, extra="allow"):
    messages: Conversation

    @property
    def item(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


Format = TypeVar("Format", bound=BaseModel)

LINES_OF_METHOD: dict[str, type[_Chat] | type[_Pair]] = {"sft": _Chat, "preference": _Pair}
NOTHING_IN_LINE = {
    "sft": "no reply to learn is in it: a message of the assistant after one of a user, without weight 0",
    "preference": "its input has to end with a user's message, and its two outputs to differ",
}


def read_examples(
    content: Iterable[bytes], method: str, parameter: str, *, least: int = LINES_MIN
) -> list[ExampleLine]:
    """Read the lines of a file for sft or preference, which has at least ``least``.

    Raises ``InvalidRequest`` for ``parameter``, which names the first line that is wrong by its number.
    """
    found: list[ExampleLine] = []
    count = characters = 0
    for number, line in _read_lines(content, LINES_OF_METHOD[method], parameter):
        count += 1
        examples = list(line.lines(number))
        if not examples:
            raise _wrong(number, NOTHING_IN_LINE[method], parameter)
        found += examples
        characters += sum(example.characters for example in examples)
        if characters > EXAMPLE_CHARACTERS_MAX:
            raise InvalidRequest(
                f"The replies to learn, each with all that came before it, have more than the "
                f"{EXAMPLE_CHARACTERS_MAX:,} characters that one training learns from: shorten the chats, or "
                f"give earlier replies the weight 0.",
                parameter,
            )
        if len(found) > REPLIES_MAX:
            raise InvalidRequest(f"The file has more than {REPLIES_MAX:,} replies to learn.", parameter)
    if count < least:
        raise InvalidRequest(f"The file has {count} lines, and at least {least} are needed.", parameter)
    return found


def read_tasks(
    content: Iterable[bytes], parameter: str, check: Callable[[Mapping[str, Any]], object] = bool
) -> list[RewardTask]:
    """Read the lines of a file for rl; what a task knows is its ``item``.

    ``check`` raises ``ValueError`` for an item that cannot be graded. Raises as ``read_examples``.
    """
    found: list[RewardTask] = []
    for number, line in _read_lines(content, _Task, parameter):
        prompt = tuple(said.message for said in line.messages)
        if prompt[-1].role != "user":
            raise _wrong(number, "its messages have to end with a user's", parameter)
        try:
            check(line.item)
        except ValueError as error:
            raise _wrong(number, str(error), parameter) from error
        found.append(RewardTask(prompt, {"item": line.item}))
        if len(found) > TASKS_MAX:
            raise InvalidRequest(f"The file has more than {TASKS_MAX:,} lines of this method.", parameter)
    if len(found) < LINES_MIN:
        raise InvalidRequest(
            f"The file has {len(found)} lines, and {LINES_MIN} to {TASKS_MAX:,} are learned from.", parameter
        )
    return found


def _read_lines(content: Iterable[bytes], kind: type[Format], parameter: str) -> Iterator[tuple[int, Format]]:
    """Validate line by line; blank lines are skipped, and count."""
    for number, line in enumerate(_split(content, parameter), start=1):
        line = line.removeprefix(BOM_UTF8) if number == 1 else line
        if number > LINES_MAX:
            raise InvalidRequest(f"The file has more than {LINES_MAX:,} lines.", parameter)
        if not line.strip():
            continue
        try:
            yield number, kind.model_validate_json(line)
        except ValidationError as error:
            raise _wrong(number, _described(error), parameter) from error


def _split(content: Iterable[bytes], parameter: str) -> Iterator[bytes]:
    read, rest, number = 0, b"", 1
    for piece in content:
        read += len(piece)
        if read > FILE_BYTES_MAX:
            raise InvalidRequest(
                f"The file has more than the {FILE_BYTES_MAX:,} bytes that one training learns from.",
                parameter,
            )
        *lines, rest = (rest + piece).split(b"\n")
        yield from lines
        number += len(lines)
        if len(rest) > LINE_BYTES_MAX:
            raise _wrong(number, f"it has more than {LINE_BYTES_MAX:,} bytes", parameter)
    yield rest


def _described(error: ValidationError) -> str:
    problem = error.errors(include_url=False)[0]
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in problem["loc"]).lstrip(
        "."
    )
    message = problem["msg"].removeprefix("Value error, ")
    return f"`{place[:200]}`: {message[:300]}" if place else message[:300]


def _wrong(number: int, reason: str, parameter: str) -> InvalidRequest:
    return InvalidRequest(f"Line {number} of the file: {reason}.", parameter)
