"""What `populace serve` tells the person who started it."""

from pathlib import Path

import pytest

from populace.cli.console import program
from populace.cli.serve import command_for
from populace.settings.settings import Settings


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
