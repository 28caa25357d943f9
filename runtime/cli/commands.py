"""Makes the commands of the grammar: loaded on demand, with help, completion and suggestions."""

import gc
import inspect
import re
import shutil
import textwrap
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from populace.cli.grammar import POPULACE, RENAMED, SYNONYMS, Noun, Verb, paths

WIDTH_MAX = 100
NARROW = 60
"""In fewer columns than this a definition is below its term, and not beside it."""

EXAMPLES = "\n\nExamples:\n"
"""What the examples begin with that a command's docstring ends with, one a line."""

_TYPES = re.compile(r"(?<=<)(?:list\[)?(\w+)(?:\]| range)(?=>)")
"""Matches the types of options that say more than a person needs: ``<int range>``, ``<list[str]>``."""


class _Completion(NamedTuple):
    """A word that the shell completes; Typer reads these fields."""

    value: str
    help: str
    type: str = "plain"


class VerbCommand(TyperCommand):
    """A verb. Its docstring's examples are listed below its options, a line each, as they are typed."""

    words: tuple[str, ...] = ()

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        for argument in args:
            if argument == "--":
                break
            if now := RENAMED.get(" ".join([*self.words, argument.partition("=")[0]])):
                ctx.fail(f"There is no option `{argument}`. Did you mean `populace {now}`?")
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        gc.enable()
        return super().invoke(ctx)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        formatter.width = _width()
        super().format_help(ctx, formatter)

    def format_help_text(self, ctx: Any, formatter: Any) -> None:
        text, _, self.epilog = (self.help or "").partition(EXAMPLES)
        formatter.write_paragraph()
        formatter.indent()
        formatter.write_text(text)
        formatter.dedent()

    def format_options(self, ctx: Any, formatter: Any) -> None:
        _define_parameters(self, ctx, formatter)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        _write_examples(formatter, textwrap.dedent(self.epilog or "").strip().splitlines())


class NounGroup(TyperGroup):
    """A noun, or all of ``populace``: its verbs load when they are asked for."""

    noun: Noun = POPULACE
    words: tuple[str, ...] = ()

    def list_commands(self, ctx: Any) -> list[str]:
        return [*self.noun.verbs]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        entry = self.noun.verbs.get(cmd_name)
        return None if entry is None else _made((*self.words, cmd_name), entry)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        word = args[0]
        if not (word.startswith("-") or ctx.resilient_parsing or self.get_command(ctx, word)):
            ctx.fail(unknown(self.words, word))
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        # Typer would load the module of every verb for what the grammar says.
        if incomplete.startswith("-"):
            return super().shell_complete(ctx, incomplete)
        return [
            _Completion(name, entry.summary)
            for name, entry in self.noun.verbs.items()
            if name.startswith(incomplete)
        ]

    def format_help(self, ctx: Any, formatter: Any) -> None:
        formatter.width = _width()
        super().format_help(ctx, formatter)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        for title, verbs in self.noun.sections.items():
            _define(formatter, title, [(name, entry.summary) for name, entry in verbs.items()])
        _define_parameters(self, ctx, formatter)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        _write_examples(formatter, self.noun.examples)


def unknown(words: Sequence[str], word: str) -> str:
    """Say that there is no command of this name after these words, and which is nearest."""
    told = f"There is no command `{' '.join(['populace', *words, word])}`."
    meant = meant_by(tuple(words), word)
    if not meant:
        return f"{told} `{' '.join(['populace', *words, '--help'])}` lists those that there are."
    named = [f"`{' '.join(['populace', *path])}`" for path in meant]
    return f"{told} Did you mean {' or '.join(named)}?"


def meant_by(words: tuple[str, ...], word: str) -> list[tuple[str, ...]]:
    """Return the words of the commands that are nearest to an unknown one: here, or else at another noun."""
    asked = SYNONYMS.get(word, word)
    for name in (word, asked):
        if now := RENAMED.get(" ".join([*words, name])):
            return [tuple(now.split())]
    every = [*paths()]
    here = {path[len(words)]: path[: len(words) + 1] for path in every if path[: len(words)] == words}
    if near := _near(word, asked, here):
        return [here[name] for name in near]
    elsewhere = [path for path in every if path[-1] == asked]
    if not elsewhere:
        verbs = {path[-1]: path for path in reversed(every)}
        elsewhere = [verbs[name] for name in get_close_matches(word, verbs, n=1, cutoff=0.75)]
    return elsewhere[:2]


def _near(word: str, asked: str, names: Sequence[str] | dict[str, Any]) -> list[str]:
    return [asked] if asked in names else get_close_matches(word, names, n=2, cutoff=0.7)


def _made(words: tuple[str, ...], entry: Verb | Noun) -> Any:
    if isinstance(entry, Noun):
        group = NounGroup(name=words[-1], help=entry.summary, rich_markup_mode=None, no_args_is_help=True)
        group.noun, group.words = entry, words
        return group
    module, name = entry.place.split(":")
    found = getattr(import_module(f"populace.cli.{module}"), name)
    alone = typer.Typer(add_completion=False, rich_markup_mode=None)
    alone.command(words[-1], cls=VerbCommand, help=inspect.getdoc(found))(found)
    command: Any = get_command(alone)
    command.words = words
    return command


def _width() -> int:
    return min(shutil.get_terminal_size().columns, WIDTH_MAX)


def _define_parameters(command: Any, ctx: Any, formatter: Any) -> None:
    records = [(parameter, parameter.get_help_record(ctx)) for parameter in command.get_params(ctx)]
    for kind, title in (("argument", "Arguments"), ("option", "Options")):
        rows = [
            (_TYPES.sub(r"\1", row[0]) if kind == "option" else row[0].partition(" <")[0], row[1])
            for parameter, row in records
            if row is not None and parameter.param_type_name == kind
        ]
        _define(formatter, title, rows)


def _define(formatter: Any, title: str, rows: Sequence[tuple[str, str]]) -> None:
    """Write terms with their definitions, beside each other where there is room."""
    if not rows:
        return
    with formatter.section(title):
        if formatter.width >= NARROW:
            formatter.write_dl(rows, col_max=26)
            return
        for term, definition in rows:
            for text, indent in ((term, "  "), (definition, "    ")):
                wrapped = textwrap.wrap(
                    text, formatter.width, initial_indent=indent, subsequent_indent=indent
                )
                formatter.write("".join(f"{line}\n" for line in wrapped))


def _write_examples(formatter: Any, lines: Sequence[str]) -> None:
    if lines:
        with formatter.section("Examples"):
            # Never wrapped: a line is to be copied.
            formatter.write("".join(f"  {line.strip()}\n" for line in lines))
