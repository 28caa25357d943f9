"""The network of the bench of failovers: machines reach each other, and its links are slow and break."""

import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager

import pytest

from scripts.bench.failover.network import Network, network, why_not

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(why_not() is not None, reason=f"no network namespaces: {why_not()}"),
]

PORT = 9000
ANSWER = """
import socket, sys
listener = socket.create_server((sys.argv[1], int(sys.argv[2])))
print("ready", flush=True)
while True:
    caller, _ = listener.accept()
    caller.sendall(b"here")
    caller.close()
"""
ASK = """
import socket, sys
caller = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=2)
caller.settimeout(None)
assert caller.recv(4) == b"here"
"""
DELAY_SECONDS = 0.1


@contextmanager
def answering(net: Network, name: str) -> Generator[None]:
    command = net.command(name, sys.executable, "-c", ANSWER, net.address(name), str(PORT))
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"ready\n"
            yield
        finally:
            process.kill()


def reaches(net: Network, name: str, other: str) -> bool:
    command = net.command(name, sys.executable, "-c", ASK, net.address(other), str(PORT))
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_a_machine_that_is_cut_off_is_reached_by_no_other_until_it_is_not() -> None:
    with network(("head", "one", "two")) as net, answering(net, "one"), answering(net, "two"):
        assert reaches(net, "head", "one")
        net.cut("one")
        assert not reaches(net, "head", "one")
        assert not reaches(net, "one", "two")
        assert reaches(net, "head", "two")
        net.cut()
        # What was not reached is not looked for anew at once.
        while not reaches(net, "one", "two"):
            pass


def test_packets_are_late_and_lost_and_connections_bear_it() -> None:
    with network(("head", "one")) as net, answering(net, "one"):
        net.delay_s = DELAY_SECONDS
        begun_s = time.monotonic()
        assert reaches(net, "head", "one")
        assert time.monotonic() - begun_s >= 3 * DELAY_SECONDS, (
            "there and back for the first, there for the second"
        )
        net.delay_s = 0.0
        net.loss = 1.0
        assert not reaches(net, "head", "one")
