"""On one machine no process of a Populace answers others, but those of Ray Serve, which want the token."""

import socket

import psutil
import pytest

from populace.cluster.joining.driver import answers_without_token
from populace.settings.running import find_running
from tests.end_to_end.served import Served

pytestmark = [pytest.mark.engine, pytest.mark.ray]


def address_of_machine() -> str:
    """The address that others would use. No packet is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        return probe.getsockname()[0]


def answers(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=2).close()
    except OSError:
        return False
    return True


OF_SERVE = "ray::ServeReplica:"
"""Ray Serve's replicas listen for each other at all interfaces (no setting), and ask for the token."""


def test_no_port_of_any_process_answers_from_another_address(served: Served) -> None:
    ports = {
        connection.laddr.port: f"{process.name()} at {connection.laddr.ip}"
        for process in served.family()
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    }
    elsewhere = address_of_machine()

    assert int(served.url.rpartition(":")[2]) in ports
    assert elsewhere != "127.0.0.1"
    assert {port: name for port, name in ports.items() if not answers("127.0.0.1", port)} == {}
    reached = {port: name for port, name in ports.items() if answers(elsewhere, port)}
    assert [name for name in reached.values() if not name.startswith(OF_SERVE)] == []


def test_its_ray_answers_nobody_without_the_token(served: Served) -> None:
    assert not answers_without_token(find_running(served.data).ray_address)
