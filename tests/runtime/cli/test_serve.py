"""What `populace serve` tells the person who started it."""

import json
import os
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner

from populace.cli.console import program
from populace.cli.gateway_client import GatewayError
from populace.cli.main import app
from populace.cli.serve import TALK, command_for, first_reply, join_hint, warn_of_unknown
from populace.settings.settings import Settings
from populace.settings.sources import PREFIX


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
    monkeypatch.delenv("POPULACE_DATA")
    file = tmp_path / "other.toml"
    file.write_text(f'config = "{tmp_path}"\n')
    assert command_for(Settings.from_environment(config_file=file)) == (
        f"POPULACE_CONFIG_FILE={file} {program()}"
    )


def test_the_command_that_it_names_to_talk_is_one() -> None:
    helped = CliRunner().invoke(app, [*TALK.split(), "--help"])

    assert helped.exit_code == 0, helped.output
    assert "Talk to a personal model" in helped.output


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


PARIS = {"choices": [{"message": {"content": "Paris."}}]}
AWAY = {"error": {"code": "engine_unavailable", "message": "No engine answers."}}
WRONG = {"error": {"code": "unauthorized", "message": "The API key is not valid."}}


@contextmanager
def answering(*answers: tuple[int, object] | None) -> Generator[str]:
    """Run a server that gives each answer once, and breaks the connection off for None."""
    left = iter(answers)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            answer = next(left)
            if answer is None:
                return
            self.send_response(answer[0])
            self.end_headers()
            self.wfile.write(json.dumps(answer[1]).encode())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class says so
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_first_reply_that_fails_while_a_process_is_replaced_is_asked_for_again() -> None:
    with answering((503, AWAY), None, (200, PARIS)) as url:
        assert first_reply(url, "key") == "Paris."


def test_a_first_reply_that_is_refused_for_good_is_not_asked_for_again() -> None:
    with answering((401, WRONG), (200, PARIS)) as url, pytest.raises(GatewayError, match="not valid"):
        first_reply(url, "key")


def test_who_serves_is_told_how_others_join_and_if_they_cannot() -> None:
    token = Path("/config/cluster-token")

    for address in ("10.0.0.1:6379", "[fd00::1]:6379", "first.example:6379"):
        assert join_hint(address, token).startswith(f"join with `populace node join {address}`")
    for address in ("127.0.0.1:6379", "[::1]:6379", "localhost:6379"):
        assert "--cluster-host" in join_hint(address, token)
