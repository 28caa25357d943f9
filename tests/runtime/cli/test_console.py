"""What the command line prints where nobody watches a terminal."""

import pytest

from populace.cli.console import reporting


def test_without_a_terminal_each_new_step_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    with reporting() as report:
        for step, share in (
            ("Starting the engine", 0.0),
            ("General requests", 0.25),
            ("General requests", 0.5),
        ):
            report(step, share)

    lines = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
    assert [line.split(maxsplit=1)[1].strip() for line in lines] == [
        "0% Starting the engine",
        "25% General requests",
    ]
