"""The words of the command line: all that is listed can be typed, all that is written is listed."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from populace.cli.commands import meant_by
from populace.cli.grammar import POPULACE, RENAMED, Noun, Verb, paths
from populace.cli.main import app
from tests.house.source_tree import ROOT

VERBS = [*paths()]
WRITTEN = re.compile(
    r"(?<![\w./=-])(?<!-[ng] )(?<!exec )(?<!b\")(?<!NAME, \")populace ([a-z][a-z-]*(?: [a-z][a-z-]*){0,2})"
)
TOLD_IN = (
    "*.md",
    "docs/*.md",
    "ops/**/*",
    "runtime/**/*.py",
    "runtime/**/*.mjs",
    "actors/**/*.py",
    "storage/**/*.py",
)
FORMER = ("runtime/cli/grammar.py", "CHANGELOG.md")
PROSE = {
    "bench",
    "is",
    "as",
    "and",
    "can",
    "has",
    "in",
    "of",
    "population",
    "with",
    "the",
    "it",
    "or",
    "to",
    "api",
    "memory",
}
"""Words after the project's name in sentences and other programs' arguments, and what only a checkout has."""


def entry_of(words: list[str]) -> Verb | Noun | None:
    """Return what the first words name: a verb, or a noun of which no verb follows; None for no command."""
    entry: Verb | Noun = POPULACE
    for word in words:
        if isinstance(entry, Verb):
            return entry
        if (found := entry.verbs.get(word)) is None:
            return None
        entry = found
    return entry


@pytest.mark.parametrize("words", VERBS, ids=" ".join)
def test_every_help_has_an_example_that_names_the_command_and_fits_forty_columns(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")

    shown = CliRunner().invoke(app, [*words, "--help"])

    assert shown.exit_code == 0, shown.output
    text, _, examples = shown.stdout.partition("\nExamples:\n")
    named = " ".join(words).replace("model chat", "run")
    assert f"populace {named}" in examples, shown.stdout
    assert [line for line in text.splitlines() if len(line) > 40] == []


@pytest.mark.parametrize("noun", [(), *sorted({words[:-1] for words in VERBS if words[1:]})], ids=" ".join)
def test_a_noun_lists_its_verbs_in_forty_columns(
    noun: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")

    shown = CliRunner().invoke(app, [*noun, "--help"]).stdout

    listed = {words[len(noun)] for words in VERBS if words[: len(noun)] == noun}
    assert listed <= {
        line.split()[0] for line in shown.splitlines() if line.startswith("  ") and line.strip()
    }
    assert "bench" not in shown
    text = shown.partition("\nExamples:\n")[0]
    assert [line for line in text.splitlines() if len(line) > 40] == []


def test_benches_are_not_listed_and_can_be_run() -> None:
    assert CliRunner().invoke(app, ["bench", "store", "--help"]).exit_code == 0


@pytest.mark.parametrize("former", sorted(RENAMED))
def test_a_former_name_leads_to_a_command_that_there_is(former: str) -> None:
    typed = former.split()
    noun = entry_of(typed)

    refused = CliRunner().invoke(app, ["run", "ada", "-m", "hi"] if typed == ["run", "-m"] else typed)

    assert noun is None or "-" in former, "it is a command again"
    assert refused.exit_code == 2
    assert f"Did you mean `populace {RENAMED[former]}`?" in refused.output
    assert entry_of([word for word in RENAMED[former].split() if word.islower()]) is not None


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("model list", ["model ls"]),
        ("model remove", ["model rm"]),
        ("model trian", ["model train"]),
        ("modle", ["model"]),
        ("rollback", ["model rollback"]),
        ("ls", ["model ls", "population ls"]),
        ("key erase", ["key revoke"]),
        ("memory empty", ["memory clear"]),
        ("sevre", ["serve"]),
        ("frobnicate", []),
    ],
)
def test_an_unknown_word_names_the_nearest_command(typed: str, meant: list[str]) -> None:
    *noun, word = typed.split()

    assert [" ".join(path) for path in meant_by(tuple(noun), word)] == meant
    refused = CliRunner().invoke(app, typed.split())
    assert refused.exit_code == 2
    assert f"There is no command `populace {typed}`." in refused.output


def test_every_command_that_is_written_anywhere_is_one() -> None:
    unknown: list[str] = []
    for pattern in TOLD_IN:
        for path in sorted(ROOT.glob(pattern)):
            name = path.relative_to(ROOT).as_posix()
            if not path.is_file() or name in FORMER or "vendor" in name:
                continue
            for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
                for found in WRITTEN.finditer(line):
                    words = found[1].split()
                    if words[0] not in PROSE and entry_of(words) is None:
                        unknown.append(f"{name}:{number}: populace {found[1]}")

    assert unknown == []


def test_a_help_page_loads_no_client_and_no_settings() -> None:
    asked = "import sys; from populace.cli.main import app; app(['model', '--help'], standalone_mode=False)"
    heavy = ("rich", "httpx", "ray", "populace.settings")
    looked = f"{asked}; print(*(name for name in {heavy} if name in sys.modules))"

    done = subprocess.run([sys.executable, "-c", looked], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines()[-1] == ""


COMPLETED = {
    "populace mo": ["model"],
    "populace model r": ["revisions", "rm", "rollback", "rebuild"],
    "populace node ": ["ls", "join", "drain"],
}


@pytest.mark.slow
@pytest.mark.parametrize("line", COMPLETED)
def test_bash_completes_what_is_typed(line: str, tmp_path: Path) -> None:
    """The script that ``--install-completion`` writes, sourced by a shell, as Tab calls it."""
    bash, program = shutil.which("bash"), Path(sys.executable).with_name("populace")
    assert bash is not None
    environment = {**os.environ, "HOME": str(tmp_path), "PATH": f"{program.parent}:{os.environ['PATH']}"}
    script = f"""
        populace --install-completion >&2 && . "$HOME/.bashrc"
        COMP_WORDS=({line}{' ""' if line.endswith(" ") else ""}) ; COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
        _populace_completion populace
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """

    done = subprocess.run([bash, "-c", script], env=environment, capture_output=True, text=True, check=False)

    assert sorted(done.stdout.split()) == sorted(COMPLETED[line]), done.stderr


@pytest.mark.slow
def test_a_shell_without_completion_gets_one_clear_line(tmp_path: Path) -> None:
    shell = tmp_path / "tcsh"
    shell.symlink_to("/bin/dash" if Path("/bin/dash").exists() else "/bin/sh")

    done = subprocess.run(
        [shell, "-c", f"{sys.executable} -m populace --install-completion; exit $?"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.startswith("There is completion for bash, zsh, fish and PowerShell, and not for ")
