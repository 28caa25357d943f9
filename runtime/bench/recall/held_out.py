"""The held-out sets: what was written by hand, and no memory module was trained on.

A directory of files with one JSON object a line; ``README.md`` beside them describes each.
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
    """A held-out set is not there or cannot be read; says which and why."""


class _Line(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Ask(_Line):
    """A request that stands for itself."""

    ask: Text


class Say(_Line):
    """A user's turn in a long chat, which tells nothing lasting."""

    say: Text


class Question(_Line):
    """What is asked of what was told. ``value``, ``wrong`` and ``old`` are substrings of a reply.

    ``wrong`` is ``not`` in the file: a reply that has one of them is wrong. ``old`` are values that were
    corrected since.
    """

    ask: Text
    value: tuple[Text, ...]
    kind: QuestionKind
    wrong: tuple[Text, ...] = Field(default=(), alias="not")
    old: tuple[Text, ...] = ()

    @model_validator(mode="after")
    def _something_decides(self) -> "Question":
        if not (self.value or self.wrong):
            raise ValueError("a question needs a value or a not")
        return self


class Telling(_Line):
    """What somebody tells in one conversation, message by message, and what they ask in later ones."""

    tell: Annotated[tuple[Text, ...], Field(min_length=1)]
    questions: Annotated[tuple[Question, ...], Field(min_length=1)]
    kind: TellingKind


class Check(_Line):
    """What a reply has to be; just one of these is set."""

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
            raise ValueError("a check is one thing")
        return self


class Instruction(_Line):
    ask: Text
    check: Check


class HeldOut(NamedTuple):
    """All sets of a directory."""

    general: Sequence[Ask]
    chatter: Sequence[Say]
    tellings: Sequence[Telling]
    never_told: Sequence[Ask]
    instructions: Sequence[Instruction]


Line = TypeVar("Line", bound=_Line)


def find_held_out(named: Path | None, working_directory: Path) -> Path:
    """Return the directory that was named, else that of the checkout around the working directory.

    Raises:
        HeldOutInvalid: there is none.
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
    """Read every set. Raises ``HeldOutInvalid``, which names the file and its first wrong line."""
    return HeldOut(
        _read(directory / "general.jsonl", Ask),
        _read(directory / "chatter.jsonl", Say),
        _read(directory / "tellings.jsonl", Telling),
        _read(directory / "never_told.jsonl", Ask),
        _read(directory / "instructions.jsonl", Instruction),
    )


def shuffled(lines: Sequence[T], name: str) -> list[T]:
    """The lines in an order that depends on nothing but the name: the first so many are a fair sample."""
    return random.Random(name).sample(lines, len(lines))  # noqa: S311 - a sample, not a secret


def tellings_of_seed(tellings: Sequence[Telling], count: int, seed: int) -> list[Telling]:
    """The part of the tellings that a seed draws, of every kind about as many. No two seeds share one.

    A greedy reply to what was told before is the same again, so there is nothing to be learned from telling
    it twice: when all are drawn there are no more.
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
    found: list[Line] = []
    for number, line in enumerate(lines, start=1):
        try:
            found.append(kind.model_validate_json(line))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the line"
            raise HeldOutInvalid(f"{path}, line {number}, {where}: {first['msg']}.") from error
    if not found:
        raise HeldOutInvalid(f"The held-out set {path} is empty.")
    return tuple(found)
