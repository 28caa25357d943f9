"""What a process logs is in its file as JSON lines, whoever logs it, and costs nobody a wait."""

import io
import json
import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Generator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from populace.actors.errors import InvalidRequest
from populace.actors.turn import ModelId
from populace.storage.records.errors import Fenced
from populace.telemetry import queued
from populace.telemetry.calls import Caller, serving
from populace.telemetry.log_setup import LogFile, digest_of, log_setup, request_id_of_job
from tests.runtime.telemetry.test_calls import TRACE
from tests.runtime.telemetry.test_wording import hashed
from tests.runtime.telemetry.written import lines_of, options

logger = logging.getLogger("populace.hosting.anything")

Start = Callable[..., Callable[[], list[dict[str, Any]]]]


@pytest.fixture
def start(tmp_path: Path) -> Generator[Start]:
    """Start the log of ``host-1``; the result ends it and returns its lines but the first."""
    ends: list[Callable[[], None]] = []

    def start(**changes: Any) -> Callable[[], list[dict[str, Any]]]:
        end = log_setup(options(tmp_path / "logs", **changes), "host", 1)
        ends.append(end)

        def lines() -> list[dict[str, Any]]:
            end()
            return lines_of(tmp_path / "logs" / "host-1.jsonl")[1:]

        return lines

    yield start
    for end in ends:
        end()


def test_a_line_says_when_who_and_for_which_request(start: Start) -> None:
    lines = start()
    with serving(Caller("req_1", TRACE)):
        logger.warning("a turn of %s waits: %s", ModelId("acme", "ada"), Fenced(3, 1, 2))

    (line,) = lines()
    assert line.pop("ts").endswith("Z")
    assert line.pop("pid") > 0
    assert line == {
        "level": "warning",
        "logger": "populace.hosting.anything",
        "msg": f"a turn of {hashed('acme')}/{hashed('ada')} waits: "
        "Shard 3 moved to another host (held epoch 1, stored epoch 2).",
        "process": "host",
        "number": 1,
        "request_id": "req_1",
        "trace_id": "0af7651916cd43dd8448eb211c80319c",
        "span_id": "b7ad6b7169203331",
        "error.code": "fenced",
    }


def test_an_unexpected_error_has_its_stack_and_not_its_words(start: Start) -> None:
    lines = start()
    try:
        int("the secret")
    except ValueError:
        logger.exception("a call failed")

    (line,) = lines()
    assert line["exc"].endswith("ValueError")
    assert Path(__file__).name in line["exc"]
    assert "invalid literal" not in json.dumps(line)


@pytest.mark.parametrize(("level", "told"), [("debug", 3), ("info", 2), ("error", 1)])
def test_the_level_is_that_of_the_options(start: Start, tmp_path: Path, level: str, told: int) -> None:
    lines = start(log_level=level)
    logger.debug("one")
    logger.info("two")
    logger.error("three")
    lines()

    written = [line["msg"] for line in lines_of(tmp_path / "logs" / "host-1.jsonl")]
    assert written[-told:] == ["one", "two", "three"][-told:]
    assert "one" not in written or level == "debug"


def test_of_other_libraries_warnings_are_told_without_their_words(start: Start) -> None:
    lines = start()
    other = logging.getLogger("somebody.else")
    other.info("not told")
    other.warning("read %d bytes of %s", 7, "the secret")
    other.error("a task failed\nfuture: <Task exception=ValueError('the secret')>")
    logging.getLogger("ray.serve").warning("Ray's own")
    other.warning("slow: 7 requests wait")
    other.error(f"parsing failed: {ValueError('the secret')}", exc_info=ValueError("the secret"))

    assert [line["msg"] for line in lines()] == [
        "read 7 bytes of …",
        "a task failed",
        "slow: 7 requests wait",
        "parsing failed",
    ]


def test_what_cannot_be_formatted_is_told_as_it_stands(start: Start) -> None:
    lines = start()
    logging.getLogger("somebody.else").warning("%d bytes", Decimal(7))

    assert [line["msg"] for line in lines()] == ["%d bytes"]


def test_standard_error_gets_the_chosen_format(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    start(log_format="text")()
    written = capsys.readouterr().err
    start()()

    assert written.rstrip().endswith("info    host-1 telemetry.log_setup: host 1 begins")
    assert json.loads(capsys.readouterr().err)["msg"] == "host 1 begins"


def test_whoever_logs_does_not_wait_for_the_disk(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, emit = threading.Event(), LogFile.emit

    def slow(file: LogFile, record: logging.LogRecord) -> None:
        disk.wait()
        emit(file, record)

    monkeypatch.setattr(queued, "QUEUED_MAX", 10)
    monkeypatch.setattr(LogFile, "emit", slow)
    lines = start()
    for number in range(100):
        logger.info("line %d", number)
    disk.set()
    lines()

    written = lines_of(tmp_path / "logs" / "host-1.jsonl")
    assert 10 <= len(written) <= 12
    assert len(written) + sum(line.get("dropped", 0) for line in written) == 101


READER_LEAVES = """
import logging, sys
from pathlib import Path
from populace.telemetry.log_setup import log_setup
from populace.telemetry.options import TelemetryOptions
log_setup(TelemetryOptions(Path(sys.argv[1]), b"k" * 32, log_format="json"), "host", 1)
for number in range(3000):
    logging.getLogger("populace.anything").warning("line %d", number)
"""


def test_a_standard_error_that_is_not_read_stops_neither_the_file_nor_the_end(tmp_path: Path) -> None:
    """As of a ``populace serve 2>&1 | less`` that was scrolled back."""
    command = [sys.executable, "-c", READER_LEAVES, str(tmp_path)]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        assert process.wait(60) == 0

    assert len(lines_of(tmp_path / "host-1.jsonl")) == 3001


def test_what_ray_serve_logs_of_an_error_has_its_places_and_not_its_words(start: Start) -> None:
    start()
    written, serve = io.StringIO(), logging.getLogger("ray.serve")
    handler = logging.StreamHandler(written)
    serve.addHandler(handler)
    words = "what was said"
    try:
        try:
            int(words)
        except ValueError as error:
            raise InvalidRequest(words) from error
    except InvalidRequest:
        serve.exception("Request failed.")
    finally:
        serve.removeHandler(handler)

    assert "Request failed." in written.getvalue()
    assert written.getvalue().count(Path(__file__).name) == 2
    assert words not in written.getvalue()
    assert "invalid literal" not in written.getvalue()


def test_the_log_ends_once_and_leaves_the_loggers_as_they_were(tmp_path: Path) -> None:
    root, ours = logging.getLogger(), logging.getLogger("populace")
    before = list(root.handlers), ours.level
    end = log_setup(options(tmp_path), "host", 1)
    again = log_setup(options(tmp_path), "host", 2)
    assert len(root.handlers) == len(before[0]) + 1
    assert digest_of("ada") == hashed("ada")
    assert request_id_of_job(ModelId("acme", "ada"), 3) == f"job-{hashed('acme')}.{hashed('ada')}-3"
    end()
    again()
    again()

    assert (list(root.handlers), ours.level) == before
    assert digest_of("ada") is None
    assert request_id_of_job(ModelId("acme", "ada"), 3) is None


def test_without_options_nothing_is_set_up() -> None:
    before = list(logging.getLogger().handlers)

    log_setup(None, "host")()

    assert logging.getLogger().handlers == before
