"""What `populace serve` tells the person who started it."""

import os
from pathlib import Path

import pytest

from populace.cli.console import program
from populace.cli.serve import command_for, warn_of_unknown
from populace.settings.settings import PREFIX, Settings


def test_the_command_for_another_terminal_names_a_data_directory_that_is_not_the_default(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("POPULACE_DATA", raising=False)
    elsewhere = tmp_path / "my data"

    assert command_for(Settings.from_environment()) == program()
    assert (
        command_for(Settings.from_environment(data=elsewhere)) == f"POPULACE_DATA='{elsewhere}' {program()}"
    )
    monkeypatch.setenv("POPULACE_DATA", str(tmp_path))
    assert command_for(Settings.from_environment()) == f"POPULACE_DATA={tmp_path} {program()}"


def test_a_variable_that_is_no_setting_is_named_with_the_nearest_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("POPULACE_PORT", "9000")
    monkeypatch.setenv("POPULACE_TRAINING_NIGHTS", "1")
    monkeypatch.setenv("POPULACE_XYZZY", "1")

    warn_of_unknown()

    nights, xyzzy = capsys.readouterr().err.splitlines()
    nearest = "the nearest is POPULACE_TRAINING_THREADS."
    assert nights == f"POPULACE_TRAINING_NIGHTS is no setting and changes nothing; {nearest}"
    assert xyzzy == "POPULACE_XYZZY is no setting and changes nothing."
