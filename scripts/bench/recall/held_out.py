"""The hand-written held-out sets, on which no memory module is trained.

They are a directory of files with one JSON object per line; the ``README.md`` beside them describes each.
"""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

CHECKOUT = Path("tests") / "held_out"

Text = Annotated[str, Field(min_length=1)]
QuestionKind = Literal["named", "unnamed", "used"]
TellingKind = Literal["plain", "long", "several", "passing", "corrected", "negative", "relations"]
T = TypeVar("T")


class HeldOutInvalid(Exception):
    """A held-out set is missing or cannot be read; the message says which and why."""


class _Line(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Ask(_Line):
    """A request that needs no earlier message."""

    ask: Text


class Say(_Line):
    """A user's turn in a long chat that tells nothing about the user."""

    say: Text


class Question(_Line):
    """A question about what was told. ``value``, ``wrong`` and ``old`` are substrings of a reply.

    A right reply has one of ``value``, and none of ``wrong``, which the file calls ``not``. ``old`` are
    values that were corrected since.
    """

    ask: Text
    value: tuple[Text, ...]
    kind: QuestionKind
    wrong: tuple[Text, ...] = Field(default=(), alias="not")
    old: tuple[Text, ...] = ()

    @model_validator(mode="after")
    def _something_decides(self) -> "Question":
        if not (self.value or self.wrong):
            raise ValueError("a question needs at least one of value and not")
        return self


class Telling(_Line):
    """A person's messages in one conversation, and the questions of later conversations."""

    tell: Annotated[tuple[Text, ...], Field(min_length=1)]
    questions: Annotated[tuple[Question, ...], Field(min_length=1)]
    kind: TellingKind


class Check(_Line):
    """A condition on a reply; exactly one field is set."""

    contains: tuple[Text, ...] | None = None
    words: int | None = None
    words_max: int | None = None
    uppercase: Literal[True] | None = None
    lowercase: Literal[True] | None = None
    lines: int | None = None
    starts_with: Text | None = None
    ends_with: Text | None = None
    number: int | None = None
    is_json: Literal[True] | None = Field(default=None, alias="json")

    @model_validator(mode="after")
    def _one_is_set(self) -> "Check":
        if len(self.model_fields_set) != 1:
            raise ValueError("a check has exactly one condition")
        return self


class Instruction(_Line):
    """An instruction whose reply can be checked without a judge."""

    ask: Text
    check: Check


class HeldOut(NamedTuple):
    """The sets of a directory."""

    general: Sequence[Ask]
    chatter: Sequence[Say]
    tellings: Sequence[Telling]
    never_told: Sequence[Ask]
    instructions: Sequence[Instruction]


Line = TypeVar("Line", bound=_Line)


def find_held_out(named: Path | None, working_directory: Path) -> Path:
    """Return the directory that was named, else that of the checkout around the working directory.

    Raises:
        HeldOutInvalid: there is no such directory.
    """
    if named is not None:
        if not named.is_dir():
            raise HeldOutInvalid(f"There is no directory {named} with held-out sets (--held-out).")
        return named
    for directory in (working_directory, *working_directory.parents):
        if (directory / CHECKOUT).is_dir():
            return directory / CHECKOUT
    raise HeldOutInvalid(
        f"There are no held-out sets: {working_directory} is not in a checkout of Populace, whose {CHECKOUT} "
        "has them. Run it there, or name a directory with --held-out."
    )


def read_held_out(directory: Path) -> HeldOut:
    """Read all sets. Raises ``HeldOutInvalid``, which names the file and its first invalid line."""
    return HeldOut(
        _read(directory / "general.jsonl", Ask),
        _read(directory / "chatter.jsonl", Say),
        _read(directory / "tellings.jsonl", Telling),
        _read(directory / "never_told.jsonl", Ask),
        _read(directory / "instructions.jsonl", Instruction),
    )


def shuffled(lines: Sequence[T], name: str) -> list[T]:
    """Return the lines in an order that depends only on ``name``, so that a first part is a random sample."""
    return random.Random(name).sample(lines, len(lines))  # noqa: S311 - a sample, not a secret


def tellings_of_seed(tellings: Sequence[Telling], count: int, seed: int) -> list[Telling]:
    """Return the tellings of a seed, about equally many of each kind, and disjoint from those of other seeds.

    There are fewer than ``count`` once all are drawn: greedy replies to a telling are the same each time, so
    that a repetition measures nothing.
    """
    by_kind: dict[str, list[Telling]] = {}
    for telling in shuffled(tellings, "tellings"):
        by_kind.setdefault(telling.kind, []).append(telling)
    places = (
        (place / len(of_kind), kind, place)
        for kind, of_kind in by_kind.items()
        for place in range(len(of_kind))
    )
    order = [by_kind[kind][place] for _, kind, place in sorted(places)]
    return order[seed * count : (seed + 1) * count]


def _read(path: Path, kind: type[Line]) -> tuple[Line, ...]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise HeldOutInvalid(f"The held-out set {path} cannot be read: {error}.") from error
    parsed: list[Line] = []
    for number, line in enumerate(lines, start=1):
        try:
            parsed.append(kind.model_validate_json(line))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the line"
            raise HeldOutInvalid(f"{path}, line {number}, {where}: {first['msg']}.") from error
    if not parsed:
        raise HeldOutInvalid(f"The held-out set {path} is empty.")
    return tuple(parsed)
