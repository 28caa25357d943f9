"""What a service manager is told, and what processes that are started later know of it."""

import os
import socket
from pathlib import Path

import pytest

from populace.settings.service_manager import ADDRESS, ServiceManager


@pytest.mark.parametrize("named", ["path", "abstract"])
def test_a_manager_is_told_line_by_line_and_children_do_not_know_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    name = str(tmp_path / "notify") if named == "path" else f"@populace-test-{os.getpid()}"
    monkeypatch.setenv(ADDRESS, name)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(name.replace("@", "\0"))
        told = ServiceManager.of_this_process()
        told.status("Base model: fetching")
        told.ready("Serves")
        told.stopping("One line\nMAINPID=1")

        heard = [manager.recv(1000).decode() for _ in range(3)]

    assert heard == [
        "STATUS=Base model: fetching",
        "READY=1\nSTATUS=Serves",
        "STOPPING=1\nSTATUS=One line MAINPID=1",
    ]
    assert ADDRESS not in os.environ


def test_nothing_fails_without_a_manager_or_when_it_is_gone(tmp_path: Path) -> None:
    ServiceManager(None).ready("Serves")
    ServiceManager(str(tmp_path / "gone")).ready("Serves")
