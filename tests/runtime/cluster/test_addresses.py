"""A start waits for the port of a Populace that was killed, and for nobody else's."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from populace.cluster.addresses import http_url, wait_for_port
from populace.settings.errors import SettingsError
from populace.settings.running import Running, write_running
from populace.settings.settings import Settings
from scripts.bench.ports import free_port
from tests.limits import HANG_SECONDS


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


@pytest.fixture
def settings(listener: socket.socket, tmp_path: Path) -> Settings:
    return Settings(data=tmp_path, port=listener.getsockname()[1])


@pytest.fixture
def gone() -> int:
    """Return the id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_the_port_of_a_populace_that_was_killed_is_waited_for(
    settings: Settings, listener: socket.socket, gone: int
) -> None:
    write_running(settings.data, Running("ray", http_url(settings), gone, "store"))
    reported: list[str] = []

    def report(step: str) -> None:
        reported.append(step)
        listener.close()

    wait_for_port(settings, report, seconds_max=HANG_SECONDS)
    assert reported == ["Waiting for the Populace that was killed to leave the port"]


def test_a_port_that_is_never_left_is_refused(settings: Settings, gone: int) -> None:
    write_running(settings.data, Running("ray", http_url(settings), gone, "store"))
    with pytest.raises(SettingsError, match="--port"):
        wait_for_port(settings, lambda _: None, seconds_max=0.5)


@pytest.mark.parametrize("note", ["none", "still runs", "another address"])
def test_a_port_that_is_another_programs_is_refused_at_once(settings: Settings, gone: int, note: str) -> None:
    url = "http://127.0.0.1:1" if note == "another address" else http_url(settings)
    if note != "none":
        pid = os.getpid() if note == "still runs" else gone
        write_running(settings.data, Running("ray", url, pid, "store"))

    def report(step: str) -> None:
        pytest.fail(f"waited: {step}")

    with pytest.raises(SettingsError, match="--port"):
        wait_for_port(settings, report, seconds_max=HANG_SECONDS)


def test_the_port_of_the_metrics_is_one_of_its_own_that_is_free(
    listener: socket.socket, tmp_path: Path
) -> None:
    taken, free = listener.getsockname()[1], free_port()

    with pytest.raises(SettingsError, match="POPULACE_METRICS_PORT"):
        wait_for_port(Settings(data=tmp_path, port=free, metrics_port=taken), lambda _: None)
    with pytest.raises(SettingsError, match="another port than POPULACE_PORT"):
        wait_for_port(Settings(data=tmp_path, port=free, metrics_port=free), lambda _: None)
    wait_for_port(Settings(data=tmp_path, port=free, metrics_port=free_port()), lambda _: None)


def test_ports_between_processes_have_to_be_enough_and_free(listener: socket.socket, tmp_path: Path) -> None:
    taken = listener.getsockname()[1]
    settings = Settings(data=tmp_path, port=free_port(), hosts=2)

    def start(first: int, last: int, **changes: object) -> None:
        wait_for_port(
            settings.model_copy(update={"stream_ports": f"{first}-{last}", **changes}), lambda _: None
        )

    with pytest.raises(SettingsError, match=r"these are 5 ports, and 6 are needed: two for each host"):
        start(7100, 7104)
    with pytest.raises(SettingsError, match=r"POPULACE_PORT is \d+, which is one of them"):
        start(settings.port, settings.port + 10)
    with pytest.raises(SettingsError, match="POPULACE_CLUSTER_PORT is 7103, which is one of them"):
        start(7100, 7110, cluster_port=7103)
    with pytest.raises(SettingsError, match="only 0 of these ports are free, and 1 are needed"):
        start(taken, taken, hosts=0, training="off")
    lone = free_port()
    start(lone, lone, hosts=0, training="off")
