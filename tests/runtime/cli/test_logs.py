"""``populace logs`` shows what an operator asks for."""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from populace.cli.main import app
from populace.settings.environment import process_environment
from populace.telemetry.options import LOGS_DIRECTORY
from tests.limits import HANG_SECONDS
from tests.runtime.telemetry.test_reading import Log


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("POPULACE_DATA", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "60")
    return tmp_path / LOGS_DIRECTORY


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ("logs", *arguments))


def test_lines_of_several_processes_are_shown_in_order_and_whole(directory: Path) -> None:
    host, gateway = Log(directory, "host-0"), Log(directory, "gateway-0")
    host.write(2, "[red]a long line[/] " + 20 * "word ", request_id="req_1")
    gateway.write(1, "the first")

    shown = run().stdout.splitlines()

    assert [line.split(" ", 2)[2] for line in shown] == [
        "info    gateway-0 : the first",
        f"info    host-0 : [red]a long line[/] {20 * 'word '} [req_1]",
    ]


def test_a_line_has_its_day(directory: Path) -> None:
    log = Log(directory, "host-0")
    log.write(0, "one")
    log.write(86_400, "a day later")

    days = [line.partition(" ")[0] for line in run().stdout.splitlines()]

    assert days == [time.strftime("%Y-%m-%d", time.localtime(at)) for at in (0, 86_400)]


def test_a_time_that_is_none_ends_nothing(directory: Path) -> None:
    log = Log(directory, "host-0")
    log.write(0, "one")
    with (directory / "host-0.jsonl").open("a") as file:
        file.write('{"ts": "2026-13-41T16:00:00.250000Z", "msg": "torn"}\n')
    log.write(1, "two")

    shown = run()

    assert shown.exit_code == 0, shown.output
    assert [line.rpartition(" ")[2] for line in shown.stdout.splitlines()] == ["one", "two"]


@pytest.mark.parametrize(("mode_of_folder", "mode_of_file"), [(0o700, 0o644), (0o755, 0o600)])
def test_logs_of_another_user_are_told_from_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode_of_folder: int, mode_of_file: int
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    # Of the temporary folder of tests, other users may not read anything.
    with tempfile.TemporaryDirectory() as place:
        data = Path(place)
        data.chmod(0o755)
        monkeypatch.setenv("POPULACE_DATA", place)
        directory = data / LOGS_DIRECTORY
        Log(directory, "host-0").write(0, "one")
        (directory / "host-0.jsonl").chmod(mode_of_file)
        directory.chmod(mode_of_folder)
        assert run().exit_code == 0  # which imports all that it takes
        os.seteuid(65534)
        try:
            refused = run()
        finally:
            os.seteuid(0)

    assert refused.exit_code == 1
    assert "cannot be read by you: it is root's" in refused.stderr


def test_json_lines_are_those_of_the_files(directory: Path) -> None:
    Log(directory, "host-0").write(0, "“one”", **{"error.code": "fenced"})

    shown = run("--json", "--process", "host", "--level", "info").stdout

    assert json.loads(shown) == json.loads((directory / "host-0.jsonl").read_text())
    assert "“one”" in shown


def test_since_is_a_time_or_a_while_ago(directory: Path) -> None:
    log = Log(directory, "host-0")
    now = int(time.time())
    log.write(now - 3600, "old")
    log.write(now, "new")
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(now - 60))

    for since in ("10m", "600s", moment):
        assert [json.loads(line)["msg"] for line in run("--json", "--since", since).stdout.splitlines()] == [
            "new"
        ]
    assert len(run("--since", "2h").stdout.splitlines()) == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--since", "yesterday"), "'yesterday' is neither a time"),
        (("--since", "999999d"), "'999999d' is neither a time"),
        (("--level", "loud"), "There is no level 'loud'; there are debug, info"),
        (("--process", "hosts"), "No process 'hosts' logs"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(
    directory: Path, arguments: tuple[str, ...], said: str
) -> None:
    Log(directory, "host-0").write(0, "one")

    refused = run(*arguments)

    assert refused.exit_code == 1
    assert said in " ".join(refused.stderr.split())


def test_without_logs_it_says_where_they_would_be(directory: Path) -> None:
    refused = run()

    assert refused.exit_code == 1
    assert str(directory) in refused.stderr.replace("\n", "")
    assert "`populace serve` writes them there" in " ".join(refused.stderr.split())


def test_a_request_without_lines_is_told_where_its_time_is_shown(directory: Path) -> None:
    Log(directory, "host-0").write(0, "one", request_id="req_1")

    found, none = run("--request", "req_1"), run("--request", "req_2")

    assert (found.stderr, none.stdout, none.exit_code) == ("", "", 0)
    assert "No line belongs to req_2." in " ".join(none.stderr.split())
    assert "`populace trace`" in " ".join(none.stderr.split())


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_half_a_character_is_shown_and_ends_nothing(directory: Path, form: tuple[str, ...]) -> None:
    log = Log(directory, "host-0")
    log.write(0, "opened /data/\udcff")
    log.write(1, "the next")

    shown = run(*form)

    assert shown.exit_code == 0
    assert "udcff" in shown.stdout
    assert "the next" in shown.stdout


def test_following_shows_what_comes_and_ends_quietly_at_ctrl_c(directory: Path) -> None:
    log = Log(directory, "host-0", bytes_max=300)
    log.write(0, "0")
    following = subprocess.Popen(
        [sys.executable, "-m", "populace", "logs", "-f", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Buffered, as it is for everybody who did not ask for something else.
        env=process_environment(POPULACE_DATA=str(directory.parent), PYTHONUNBUFFERED=""),
    )
    assert following.stdout is not None
    shown = [json.loads(following.stdout.readline())["msg"]]
    for second in range(1, 10):
        log.write(second, str(second))
        shown.append(json.loads(following.stdout.readline())["msg"])
    following.send_signal(2)
    _, complaint = following.communicate(timeout=HANG_SECONDS)

    assert shown == [str(second) for second in range(10)]
    assert (following.returncode, complaint) == (0, "")
